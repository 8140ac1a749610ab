package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// caller is one SMTP connection of a client, as a mail server tells a daemon of it.
type caller struct{ *miltertest.Conn }

// call begins a connection of a client, which says HELO with a good name.
func call(d *daemon, client string) (caller, error) { return callAs(d, client, goodHelo) }

func callAs(d *daemon, client, helo string) (caller, error) {
	network, addr := miltertest.SplitListener(d.listener)
	conn, err := miltertest.Dial(network, addr, miltertest.WaitTimeout)
	if err != nil {
		return caller{}, err
	}
	ip, err := netip.ParseAddr(client)
	if err == nil {
		_, err = conn.Connect("["+client+"]", netip.AddrPortFrom(ip, 12345), map[string]string{"j": "mx.test", "{client_addr}": client})
	}
	if err == nil {
		_, err = conn.Helo(helo, map[string]string{})
	}
	if err != nil {
		conn.Close()
	}
	return caller{conn}, err
}

// envelope begins a transaction, and returns the answer to its recipient: "" or a reply in one line.
func (c caller) envelope(from, to string) (string, error) {
	if r, err := c.Mail("<"+from+">", map[string]string{"i": "Q1"}); err != nil || r.Action != 0 {
		return answer(r), err
	}
	return c.rcpt(to)
}

// rcpt names a recipient whom the mail server knows.
func (c caller) rcpt(to string) (string, error) {
	r, err := c.Rcpt("<"+to+">", map[string]string{"i": "Q1", "{rcpt_mailer}": "local", "{rcpt_host}": "", "{rcpt_addr}": to})
	return answer(r), err
}

// unknown names a recipient that the mail server refuses.
func (c caller) unknown(to string) error {
	_, err := c.Rcpt("<"+to+">", map[string]string{"{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1", "{rcpt_addr}": "550 5.1.1 User unknown"})
	return err
}

// message is a good message after an envelope, with the answer to it.
func (c caller) message() (string, error) {
	for _, f := range goodHeader() {
		if r, err := c.Header(f[0], " "+f[1]); err != nil || r.Action != 0 {
			return answer(r), err
		}
	}
	if r, err := c.EndOfHeader(nil); err != nil || r.Action != 0 {
		return answer(r), err
	}
	r, err := c.EndOfMessage(nil)
	return answer(r), err
}

func answer(r miltertest.Response) string {
	if r.Action == 0 || r.Action == gomilter.ActContinue {
		return ""
	}
	return strings.Join(r.Lines, " ")
}

// mail is a whole connection with one message, if its recipient is accepted. It returns the first refusal.
func (d *daemon) mail(client, from, to string) (string, error) {
	c, err := call(d, client)
	if err != nil {
		return "", err
	}
	defer c.Close()
	r, err := c.envelope(from, to)
	if r != "" || err != nil {
		return r, err
	}
	return c.message()
}

// mustMail is mail, whose answer must begin with some text and contain another; an empty one: it is accepted.
func (d *daemon) mustMail(t *testing.T, client, from, to, codes, saying string) string {
	t.Helper()
	r, err := d.mail(client, from, to)
	if err != nil {
		t.Fatalf("mail from %s: %v\n%s", client, err, d.Output())
	}
	if codes == "" && r != "" || !strings.HasPrefix(r, codes) || !strings.Contains(r, saying) {
		t.Fatalf("mail of %s from <%s> to <%s> got %q, want %q, naming %q", client, from, to, r, codes, saying)
	}
	return r
}

// guess has a client name so many unknown recipients, which all but one it then passes a limit with.
func (d *daemon) guess(t *testing.T, client string, times int) string {
	t.Helper()
	c, err := call(d, client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Mail("<"+goodSender+">", map[string]string{"i": "Q1"}); err != nil {
		t.Fatal(err)
	}
	for i := range times {
		if err := c.unknown(fmt.Sprintf("guess%d@mx.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Rcpt("<alice@mx.test>", map[string]string{"{rcpt_mailer}": "local", "{rcpt_host}": "", "{rcpt_addr}": "alice@mx.test"})
	if err != nil {
		t.Fatal(err)
	}
	return answer(r)
}

// folder is a new one that every user may look into, with a path short enough for a socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "milterd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// administered is a daemon that commands can ask. It has greylisted, passed and blocked nobody yet.
func administered(t *testing.T, more string) (*daemon, string) {
	t.Helper()
	return administeredWith(t, nil, more)
}

// administeredWith is one with actions of its own.
func administeredWith(t *testing.T, actions map[string]string, more string) (*daemon, string) {
	t.Helper()
	socket := filepath.Join(folder(t), "admin.sock")
	d := startDaemon(t, config{
		dns: dnstest.Start(t, world).Addr, profile: "safe", actions: actions,
		more: fmt.Sprintf("admin: {listen: \"\", socket: %q}\n%s", socket, more),
	})
	return d, socket
}

// result is what a command has said.
type result struct {
	out, err string
	code     int
}

// command runs milterd with the daemon's configuration.
func (d *daemon) command(t *testing.T, words ...string) result {
	t.Helper()
	return command(t, nil, append([]string{"-c", d.file}, words...)...)
}

// command runs milterd, as somebody else if there is a credential.
func command(t *testing.T, as *syscall.Credential, words ...string) result {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(bin, words...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // a program with the race detector waits a second before it ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that succeeds and says nothing of errors.
func (d *daemon) must(t *testing.T, words ...string) string {
	t.Helper()
	r := d.command(t, words...)
	if r.code != 0 || r.err != "" {
		t.Fatalf("milterd %v: exit %d, %q", words, r.code, r.err)
	}
	return r.out
}

// decode runs a command with --json.
func decode[T any](t *testing.T, d *daemon, words ...string) (value T) {
	t.Helper()
	out := d.must(t, append(words, "--json")...)
	if strings.Contains(out, "null") {
		t.Errorf("milterd %v: %s: want [] rather than null", words, out)
	}
	if err := json.Unmarshal([]byte(out), &value); err != nil {
		t.Fatalf("milterd %v: %v\n%s", words, err, out)
	}
	return value
}

// The JSON of the commands, as a program of somebody else reads it.
type (
	triplet struct {
		Identity  string    `json:"identity"`
		From      string    `json:"from"`
		To        string    `json:"to"`
		Client    string    `json:"client"`
		Suspicion string    `json:"suspicion"`
		State     string    `json:"state"`
		Attempts  int       `json:"attempts"`
		First     time.Time `json:"first"`
		Last      time.Time `json:"last"`
		Back      time.Time `json:"back"`
		Passed    time.Time `json:"passed"`
		Until     time.Time `json:"until"`
	}
	greylistClient struct {
		Identity string    `json:"identity"`
		Passes   int       `json:"passes"`
		Counted  time.Time `json:"counted"`
		Used     time.Time `json:"used"`
		Client   string    `json:"client"`
		Allowed  bool      `json:"allowed"`
	}
	selection struct {
		Triplets []triplet        `json:"triplets"`
		Clients  []greylistClient `json:"clients"`
	}
	blockedClient struct {
		Client  netip.Prefix `json:"client"`
		Since   time.Time    `json:"since"`
		Until   time.Time    `json:"until"`
		Level   int          `json:"level"`
		Why     string       `json:"why"`
		InForce bool         `json:"in_force"`
	}
)

// wantRow looks for a line of a table that has all the words, one after the other.
func wantRow(t *testing.T, table string, words ...string) {
	t.Helper()
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		for _, w := range words {
			i := slices.Index(fields, w)
			if i < 0 {
				fields = nil
				break
			}
			fields = fields[i+1:]
		}
		if fields != nil {
			return
		}
	}
	t.Errorf("no line with %q in\n%s", words, table)
}

func TestGreylistCommands(t *testing.T) {
	d, _ := administered(t, "")
	if out := d.must(t, "greylist", "list"); !strings.Contains(out, "no triplets") {
		t.Errorf("an empty list: %q", out)
	}
	if list := decode[[]triplet](t, d, "greylist", "list"); len(list) != 0 {
		t.Errorf("an empty list: %v", list)
	}
	if s := decode[selection](t, d, "greylist", "show", "mx.test"); len(s.Triplets)+len(s.Clients) != 0 {
		t.Errorf("nothing to show: %v", s)
	}
	const from, other = "192.0.2.9", "198.51.100.9"
	d.mustMail(t, from, goodSender, "alice@mx.test", "451 4.7.1 greylisted", "")
	d.mustMail(t, from, goodSender, "bob@mx.test", "451 4.7.1 greylisted", "")
	d.mustMail(t, other, "a@none.test", "alice@mx.test", "451 4.7.1 greylisted", "")

	table := d.must(t, "greylist", "list")
	wantRow(t, table, "STATE", "CLIENT", "FROM", "TO", "SUSPICION")
	wantRow(t, table, "waiting", "192.0.2.0/24", from, "<"+goodSender+">", "<bob@mx.test>", "1", "rdns-missing")
	list := decode[[]triplet](t, d, "greylist", "list", "a@none.test")
	if len(list) != 1 {
		t.Fatalf("list of one mailbox: %v", list)
	}
	got := list[0]
	if since := time.Since(got.First); since < 0 || since > time.Minute || got.Until.Sub(got.First) != 48*time.Hour {
		t.Errorf("times of %+v", got)
	}
	got.First, got.Last, got.Until = time.Time{}, time.Time{}, time.Time{}
	want := triplet{Identity: "198.51.100.0/24", From: "a@none.test", To: "alice@mx.test", Client: other, Suspicion: "rdns-missing", State: "waiting", Attempts: 1}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for what, n := range map[string]int{
		"": 3, from: 2, "192.0.2.0/25": 2, "none.test": 1, "test": 3, "alice@mx.test": 2, "A@NONE.test": 1, "nobody@mx.test": 0,
	} {
		words := []string{"greylist", "list"}
		if what != "" {
			words = append(words, what)
		}
		if list := decode[[]triplet](t, d, words...); len(list) != n {
			t.Errorf("greylist list %q: %d triplets, want %d", what, len(list), n)
		}
	}
	if list := decode[[]triplet](t, d, "greylist", "list", "--max", "2"); len(list) != 2 {
		t.Errorf("--max 2: %d triplets", len(list))
	}

	// Who is allowed waits no more, the other one does.
	wantRow(t, d.must(t, "greylist", "allow", "192.0.2.0/24"), "192.0.2.0/24", "0", "yes")
	d.mustMail(t, from, goodSender, "alice@mx.test", "", "")
	d.mustMail(t, "192.0.2.77", "new@none.test", "bob@mx.test", "", "")
	d.mustMail(t, other, "a@none.test", "alice@mx.test", "451 4.7.1 greylisted", "")
	shown := d.must(t, "greylist", "show", from)
	wantRow(t, shown, "passed", "192.0.2.0/24", from, "<alice@mx.test>")
	wantRow(t, shown, "waiting", "192.0.2.0/24", from, "<bob@mx.test>")
	s := decode[selection](t, d, "greylist", "show", "192.0.2.0/24")
	if len(s.Triplets) != 3 || len(s.Clients) != 1 || !s.Clients[0].Allowed || s.Clients[0].Identity != "192.0.2.0/24" {
		t.Errorf("greylist show: %+v", s)
	}
	if c := decode[greylistClient](t, d, "greylist", "allow", other); c.Identity != other || !c.Allowed {
		t.Errorf("greylist allow: %+v", c)
	}
	d.mustMail(t, other, "a@none.test", "alice@mx.test", "", "")

	// What is forgotten begins anew.
	if out := d.must(t, "greylist", "forget", "192.0.2.0/24"); out != "4 records forgotten\n" {
		t.Errorf("forget: %q", out)
	}
	d.mustMail(t, from, goodSender, "alice@mx.test", "451 4.7.1 greylisted for 180 s more", "")
	if n := decode[int](t, d, "greylist", "forget", "nobody@mx.test"); n != 0 {
		t.Errorf("forgot %d records of nobody", n)
	}
	d.mustMail(t, other, "a@none.test", "alice@mx.test", "", "")
}

func TestBlockCommands(t *testing.T) {
	d, _ := administered(t, "")
	if out := d.must(t, "block", "list"); out != "nobody is blocked\n" {
		t.Errorf("an empty list: %q", out)
	}
	if list := decode[[]blockedClient](t, d, "block", "list"); len(list) != 0 {
		t.Errorf("an empty list: %v", list)
	}
	d.mustMail(t, goodClient, goodSender, "alice@mx.test", "", "")
	added := d.must(t, "block", "add", goodClient, "--for", "2h", "--why", "the spam run of today")
	wantRow(t, added, goodClient+"/32", "by", "hand", "yes", "the", "spam", "run", "of", "today")
	r := d.mustMail(t, goodClient, goodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until 20", "for the spam run of today")
	m := blockedUntil.FindStringSubmatch(r)
	if until, err := time.Parse("2006-01-02 15:04 MST", m[1]); err != nil || time.Until(until).Round(10*time.Minute) != 2*time.Hour {
		t.Errorf("%q, want two hours: %v", r, err)
	}
	d.mustMail(t, goodClient, goodSender, "postmaster@mx.test", "", "")

	// One that passes a limit is in the list too.
	if r := d.guess(t, "192.0.2.9", limit+1); !strings.HasPrefix(r, "450 4.7.1 192.0.2.9 named too many") {
		t.Errorf("who guesses gets %q", r)
	}
	six := decode[blockedClient](t, d, "block", "add", "2001:db8::7")
	if six.Client.String() != "2001:db8::/64" || !six.InForce || six.Level != 0 || six.Why == "" || six.Until.Sub(six.Since) != time.Hour {
		t.Errorf("block of an IPv6 address: %+v", six)
	}
	d.mustMail(t, "2001:db8::99", "a@six.test", "alice@mx.test", "450 4.7.1 2001:db8::/64 is blocked until", "")
	list := decode[[]blockedClient](t, d, "block", "list")
	var names []string
	for _, b := range list {
		names = append(names, fmt.Sprintf("%s %d %s", b.Client, b.Level, b.Why))
	}
	slices.Sort(names)
	if want := []string{
		"127.0.0.10/32 0 the spam run of today", "192.0.2.9/32 1 too many unknown recipients", "2001:db8::/64 0 administrative reasons",
	}; !slices.Equal(names, want) {
		t.Errorf("block list: %q, want %q", names, want)
	}
	wantRow(t, d.must(t, "block", "list"), "192.0.2.9/32", "1", "yes", "too", "many", "unknown", "recipients")

	// Removing is for good.
	if out := d.must(t, "block", "remove", goodClient); out != goodClient+" is free\n" {
		t.Errorf("block remove: %q", out)
	}
	if r := d.command(t, "block", "remove", goodClient); r.code == 0 || !strings.Contains(r.err, goodClient+" was not blocked") {
		t.Errorf("block remove, again: %+v", r)
	}
	if was := decode[bool](t, d, "block", "remove", "2001:db8::1234"); !was {
		t.Error("block remove found no block of the /64")
	}
	d.mustMail(t, goodClient, goodSender, "alice@mx.test", "", "")
	d.mustMail(t, "2001:db8::7", "a@six.test", "alice@mx.test", "", "")
}

func TestStatusCommand(t *testing.T) {
	d, _ := administered(t, fmt.Sprintf("store: {driver: embedded, path: %q}\n", filepath.Join(folder(t), "state")))
	c, err := call(d, goodClient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := d.must(t, "status")
	wantRow(t, table, "version", runtime.Version())
	wantRow(t, table, "profile", "safe")
	wantRow(t, table, "connections", "1")
	wantRow(t, table, "store", "embedded", "well", "since")
	s := decode[struct {
		Version     string         `json:"version"`
		Started     time.Time      `json:"started"`
		Profile     string         `json:"profile"`
		Connections int            `json:"connections"`
		LogDropped  int            `json:"log_dropped"`
		Store       map[string]any `json:"store"`
		DNS         map[string]any `json:"dns"`
	}](t, d, "status")
	if s.Version == "" || time.Since(s.Started) > time.Minute || s.Profile != "safe" || s.Connections != 1 || len(s.Store) == 0 || len(s.DNS) == 0 {
		t.Errorf("status: %+v", s)
	}
	if s.Store["driver"] != "embedded" || s.Store["ok"] != true || s.DNS["queries"] == nil || s.DNS["servfail"] == nil {
		t.Errorf("status: %v, %v", s.Store, s.DNS)
	}
	for key := range s.Store {
		if key != strings.ToLower(key) {
			t.Errorf("the key %s of the store", key)
		}
	}
	for key := range s.DNS {
		if key != strings.ToLower(key) {
			t.Errorf("the key %s of the DNS", key)
		}
	}
}

// TestAReloadKeepsWhatIsKnown: a DNS list that was in use is so still, and since then.
func TestAReloadKeepsWhatIsKnown(t *testing.T) {
	d, _ := administered(t, "checks: {dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}}\n")
	condition := func() checks.Condition {
		list := decode[struct{ Checks []checks.Condition }](t, d, "status").Checks
		i := slices.IndexFunc(list, func(c checks.Condition) bool { return c.Check == "dnsbl" })
		if i < 0 || list[i].State != "on" {
			t.Fatalf("got %+v", list)
		}
		return list[i]
	}
	before, mark := condition(), d.mark()
	d.Signal(t, syscall.SIGHUP)
	d.awaitEntry(t, mark, entry{"msg": "configuration reloaded"})
	if after := condition(); !after.Since.Equal(before.Since) {
		t.Errorf("on since %v, before the reload since %v", after.Since, before.Since)
	}
}

// TestRetryReport has one who comes back and some who do not, whose window is soon over.
func TestRetryReport(t *testing.T) {
	d, _ := administered(t, "checks: {greylist: {delay: 1s, window: 2s}}\n")
	type counts struct{ Held, Passed, Waiting, Gone, Early int }
	report := func() (n counts, noRetry []string) {
		r := decode[struct {
			Since   time.Time         `json:"since"`
			Until   time.Time         `json:"until"`
			Held    int               `json:"held"`
			Passed  int               `json:"passed"`
			Waiting int               `json:"waiting"`
			Gone    int               `json:"gone"`
			Early   int               `json:"early"`
			Moved   int               `json:"moved"`
			Took    map[string]any    `json:"took"`
			Groups  []json.RawMessage `json:"groups"`
			NoRetry []struct {
				Sender, Date, Evidence string
			} `json:"no_retry"`
			Delay    int       `json:"delay_seconds"`
			Examples []triplet `json:"examples"`
		}](t, d, "report", "retry")
		for _, e := range r.NoRetry {
			noRetry = append(noRetry, e.Sender)
		}
		if r.Until.Sub(r.Since) != 7*24*time.Hour {
			t.Errorf("report from %s to %s", r.Since, r.Until)
		}
		return counts{r.Held, r.Passed, r.Waiting, r.Gone, r.Early}, noRetry
	}
	if n, _ := report(); n != (counts{}) {
		t.Errorf("the first report: %+v", n)
	}
	// What this client sends is known by the domain of its name.
	const lost = 3
	for i := range lost {
		d.mustMail(t, goodClient, fmt.Sprintf("list-%c@fail.test", 'a'+i), "alice@mx.test", "451 4.7.1 greylisted", "")
	}
	miltertest.Eventually(t, "a retry passes", func() bool {
		r, err := d.mail("192.0.2.9", goodSender, "bob@mx.test")
		if err != nil {
			t.Fatal(err)
		}
		return r == ""
	})
	miltertest.Eventually(t, "the window of the others is over", func() bool {
		n, _ := report()
		return n.Gone == lost
	})
	n, noRetry := report()
	if want := (counts{Held: lost + 1, Passed: 1, Gone: lost}); n != want {
		t.Errorf("report: %+v, want %+v", n, want)
	}
	if !slices.Equal(noRetry, []string{".client.test"}) {
		t.Errorf("candidates: %q, want the domain of who never came back", noRetry)
	}
	table := d.must(t, "report", "retry")
	wantRow(t, table, "4", "triplets", "held,", "1", "passed,")
	wantRow(t, table, "client.test", "3", "0", "0", "3")
	wantRow(t, table, ".client.test", "held,", "none")
}

// TestWrongCommands shows that mistakes are told, fail, and change nothing.
func TestWrongCommands(t *testing.T) {
	d, _ := administered(t, "")
	for line, want := range map[string]string{
		"greylist":                            "greylist what?",
		"greylist lst":                        `unknown command "lst"; did you mean list?`,
		"greylist list a b":                   "accepts at most 1 arg",
		"greylist list --max x":               `invalid argument "x" for "--max"`,
		"greylist show":                       "greylist show WHAT",
		"greylist allow":                      "greylist allow CLIENT",
		"greylist allow 192.0.2.0/20":         "clients are known by their /24",
		"greylist allow nonsense":             `"nonsense" is no address, network or domain`,
		"greylist forget":                     "greylist forget WHAT",
		"greylist forget ":                    "forget what?",
		"block":                               "block what?",
		"block ad 192.0.2.9":                  `unknown command "ad"; did you mean add?`,
		"block add":                           "block add CLIENT",
		"block add 192.0.2.0/24":              "192.0.2.0/24 is not one client",
		"block add mail.example.net":          `"mail.example.net" is no address`,
		"block add 192.0.2.9 --for soon":      "--for: want a duration",
		"block add 192.0.2.9 --for 0s":        "want a duration over 0",
		"block add 192.0.2.9 --whi x":         "unknown flag: --whi",
		"block remove":                        "block remove CLIENT",
		"block remove 2001:db8::/32":          "is not one client",
		"block list all":                      `unknown command "all"`,
		"status now":                          `unknown command "now"`,
		"report":                              "report what?",
		"report retries":                      `unknown command "retries"`,
		"report retry --socket /nowhere/sock": "no daemon answers at /nowhere/sock",
	} {
		words := strings.Split(line, " ")
		if r := d.command(t, words...); r.code != 1 || r.out != "" || !strings.HasPrefix(r.err, "milterd: ") || !strings.Contains(r.err, want) {
			t.Errorf("milterd %s: exit %d, printed %q, said %q; want %q", line, r.code, r.out, r.err, want)
		}
	}
	if out := d.must(t, "block", "list"); out != "nobody is blocked\n" {
		t.Errorf("after nothing but mistakes: %s", out)
	}
}

// TestCommandsWithoutDaemon asks one that has ended, was killed, or has no socket.
func TestCommandsWithoutDaemon(t *testing.T) {
	asked := [][]string{{"status"}, {"greylist", "list"}, {"block", "add", "192.0.2.9", "--json"}, {"report", "retry"}}
	for name, end := range map[string]func(*daemon){
		"ended":  func(d *daemon) { d.stop(t) },
		"killed": func(d *daemon) { d.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			d, socket := administered(t, "")
			d.must(t, "status")
			end(d)
			_, err := os.Lstat(socket)
			if gone := errors.Is(err, fs.ErrNotExist); gone != (name == "ended") {
				t.Errorf("the socket: %v", err)
			}
			for _, words := range asked {
				r := d.command(t, words...)
				if r.code != 1 || r.out != "" || r.err != "milterd: no daemon answers at "+socket+": is milterd running, with the same admin.socket?\n" {
					t.Errorf("milterd %v: exit %d, printed %q, said %q", words, r.code, r.out, r.err)
				}
			}
		})
	}
	t.Run("without a socket", func(t *testing.T) {
		d := startDaemon(t, config{dns: dnstest.Start(t, world).Addr, profile: "safe"})
		if r := d.command(t, "status"); r.code != 1 || !strings.Contains(r.err, "admin.socket") || strings.Contains(r.err, "dial") {
			t.Errorf("exit %d, said %q", r.code, r.err)
		}
	})
}

// TestAdminSocket shows who may ask: the owner and the group of the socket, and nobody else.
func TestAdminSocket(t *testing.T) {
	d, socket := administered(t, "")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode.Type() != fs.ModeSocket || mode.Perm() != socketMode {
		t.Errorf("mode %v, want %v", mode, socketMode)
	}
	// A second daemon does not take the socket of the first.
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(filepath.Dir(socket), "second.yaml")
	listen := "listen: [\"inet:7525@" + miltertest.Loopback() + "\"]\n"
	if err := os.WriteFile(second, []byte(listen+string(text[bytes.IndexByte(text, '\n')+1:])), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "serve", "-c", second).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another program listens on "+socket) {
		t.Errorf("a second daemon with the same socket: %v\n%s", err, out)
	}
	d.must(t, "status")

	if os.Geteuid() != 0 {
		if os.Getenv("MILTERD_TEST_REAL") == "1" {
			t.Fatal("MILTERD_TEST_REAL=1 needs root")
		}
		t.Skip("only root can be somebody else")
	}
	const nobody = 65534
	ask := func(gid uint32) result {
		return command(t, &syscall.Credential{Uid: nobody, Gid: gid, NoSetGroups: false}, "status", "--socket", socket)
	}
	if r := ask(nobody); r.code != 1 || r.out != "" || r.err != "milterd: "+socket+": permission denied: root and the socket's group may ask the daemon\n" {
		t.Errorf("somebody: exit %d, printed %q, said %q", r.code, r.out, r.err)
	}
	if r := ask(info.Sys().(*syscall.Stat_t).Gid); r.code != 0 || !strings.Contains(r.out, "profile") {
		t.Errorf("somebody of the group: exit %d, said %q", r.code, r.err)
	}
}
