package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

func TestGreylistCommands(t *testing.T) {
	d, _ := daemontest.StartWithSocket(t, nil, "")
	if out := d.MustRun(t, "greylist", "list"); !strings.Contains(out, "no triplets") {
		t.Errorf("an empty list: %q", out)
	}
	if list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, "greylist", "list"); len(list) != 0 {
		t.Errorf("an empty list: %v", list)
	}
	if s := daemontest.DecodeJSON[daemontest.GreylistSelection](t, d, "greylist", "show", "mx.test"); len(s.Triplets)+len(s.Clients) != 0 {
		t.Errorf("nothing to show: %v", s)
	}
	const from, other = "192.0.2.9", "198.51.100.9"
	d.MustMail(t, from, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted", "")
	d.MustMail(t, from, daemontest.GoodSender, "bob@mx.test", "451 4.7.1 greylisted", "")
	d.MustMail(t, other, "a@none.test", "alice@mx.test", "451 4.7.1 greylisted", "")

	table := d.MustRun(t, "greylist", "list")
	daemontest.WantRow(t, table, "STATE", "CLIENT", "FROM", "TO", "SUSPICION")
	daemontest.WantRow(t, table, "waiting", "192.0.2.0/24", from, "<"+daemontest.GoodSender+">", "<bob@mx.test>", "1", "rdns-missing")
	list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, "greylist", "list", "a@none.test")
	if len(list) != 1 {
		t.Fatalf("list of one mailbox: %v", list)
	}
	got := list[0]
	if since := time.Since(got.First); since < 0 || since > time.Minute || got.Until.Sub(got.First) != 48*time.Hour {
		t.Errorf("times of %+v", got)
	}
	got.First, got.Last, got.Until = time.Time{}, time.Time{}, time.Time{}
	want := daemontest.Triplet{Identity: "198.51.100.0/24", From: "a@none.test", To: "alice@mx.test", Client: other, Suspicion: "rdns-missing", State: "waiting", Attempts: 1}
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
		if list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, words...); len(list) != n {
			t.Errorf("greylist list %q: %d triplets, want %d", what, len(list), n)
		}
	}
	if list := daemontest.DecodeJSON[[]daemontest.Triplet](t, d, "greylist", "list", "--max", "2"); len(list) != 2 {
		t.Errorf("--max 2: %d triplets", len(list))
	}

	// Who is allowed waits no more, the other one does.
	daemontest.WantRow(t, d.MustRun(t, "greylist", "allow", "192.0.2.0/24"), "192.0.2.0/24", "0", "yes")
	d.MustMail(t, from, daemontest.GoodSender, "alice@mx.test", "", "")
	d.MustMail(t, "192.0.2.77", "new@none.test", "bob@mx.test", "", "")
	d.MustMail(t, other, "a@none.test", "alice@mx.test", "451 4.7.1 greylisted", "")
	shown := d.MustRun(t, "greylist", "show", from)
	daemontest.WantRow(t, shown, "passed", "192.0.2.0/24", from, "<alice@mx.test>")
	daemontest.WantRow(t, shown, "waiting", "192.0.2.0/24", from, "<bob@mx.test>")
	s := daemontest.DecodeJSON[daemontest.GreylistSelection](t, d, "greylist", "show", "192.0.2.0/24")
	if len(s.Triplets) != 3 || len(s.Clients) != 1 || !s.Clients[0].Allowed || s.Clients[0].Identity != "192.0.2.0/24" {
		t.Errorf("greylist show: %+v", s)
	}
	if c := daemontest.DecodeJSON[daemontest.GreylistClient](t, d, "greylist", "allow", other); c.Identity != other || !c.Allowed {
		t.Errorf("greylist allow: %+v", c)
	}
	d.MustMail(t, other, "a@none.test", "alice@mx.test", "", "")

	// What is forgotten begins anew.
	if out := d.MustRun(t, "greylist", "forget", "192.0.2.0/24"); out != "4 records forgotten\n" {
		t.Errorf("forget: %q", out)
	}
	d.MustMail(t, from, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 180 s more", "")
	if n := daemontest.DecodeJSON[int](t, d, "greylist", "forget", "nobody@mx.test"); n != 0 {
		t.Errorf("forgot %d records of nobody", n)
	}
	d.MustMail(t, other, "a@none.test", "alice@mx.test", "", "")
}

func TestBlockCommands(t *testing.T) {
	d, _ := daemontest.StartWithSocket(t, nil, "")
	if out := d.MustRun(t, "block", "list"); out != "nobody is blocked\n" {
		t.Errorf("an empty list: %q", out)
	}
	if list := daemontest.DecodeJSON[[]daemontest.BlockedClient](t, d, "block", "list"); len(list) != 0 {
		t.Errorf("an empty list: %v", list)
	}
	d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "", "")
	added := d.MustRun(t, "block", "add", daemontest.GoodClient, "--for", "2h", "--why", "the spam run of today")
	daemontest.WantRow(t, added, daemontest.GoodClient+"/32", "by", "hand", "yes", "the", "spam", "run", "of", "today")
	r := d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until 20", "for the spam run of today")
	m := daemontest.BlockedUntil.FindStringSubmatch(r)
	if until, err := time.Parse("2006-01-02 15:04 MST", m[1]); err != nil || time.Until(until).Round(10*time.Minute) != 2*time.Hour {
		t.Errorf("%q, want two hours: %v", r, err)
	}
	d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "postmaster@mx.test", "", "")

	// One that passes a limit is in the list too.
	if r := d.GuessRecipients(t, "192.0.2.9", daemontest.Limit+1); !strings.HasPrefix(r, "450 4.7.1 192.0.2.9 named too many") {
		t.Errorf("who guesses gets %q", r)
	}
	six := daemontest.DecodeJSON[daemontest.BlockedClient](t, d, "block", "add", "2001:db8::7")
	if six.Client.String() != "2001:db8::/64" || !six.InForce || six.Level != 0 || six.Why == "" || six.Until.Sub(six.Since) != time.Hour {
		t.Errorf("block of an IPv6 address: %+v", six)
	}
	d.MustMail(t, "2001:db8::99", "a@six.test", "alice@mx.test", "450 4.7.1 2001:db8::/64 is blocked until", "")
	list := daemontest.DecodeJSON[[]daemontest.BlockedClient](t, d, "block", "list")
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
	daemontest.WantRow(t, d.MustRun(t, "block", "list"), "192.0.2.9/32", "1", "yes", "too", "many", "unknown", "recipients")

	// Removing is for good.
	if out := d.MustRun(t, "block", "remove", daemontest.GoodClient); out != daemontest.GoodClient+" is free\n" {
		t.Errorf("block remove: %q", out)
	}
	if r := d.Command(t, "block", "remove", daemontest.GoodClient); r.Code == 0 || !strings.Contains(r.Stderr, daemontest.GoodClient+" was not blocked") {
		t.Errorf("block remove, again: %+v", r)
	}
	if was := daemontest.DecodeJSON[bool](t, d, "block", "remove", "2001:db8::1234"); !was {
		t.Error("block remove found no block of the /64")
	}
	d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "", "")
	d.MustMail(t, "2001:db8::7", "a@six.test", "alice@mx.test", "", "")
}

func TestStatusCommand(t *testing.T) {
	d, _ := daemontest.StartWithSocket(t, nil, fmt.Sprintf("store: {driver: embedded, path: %q}\n", filepath.Join(daemontest.SocketDir(t), "state")))
	c, err := d.Connect(daemontest.GoodClient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := d.MustRun(t, "status")
	daemontest.WantRow(t, table, "version", runtime.Version())
	daemontest.WantRow(t, table, "profile", "safe")
	daemontest.WantRow(t, table, "connections", "1")
	daemontest.WantRow(t, table, "store", "embedded", "well", "since")
	s := daemontest.DecodeJSON[struct {
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
	d, _ := daemontest.StartWithSocket(t, nil, "checks: {dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}}\n")
	condition := func() checks.Condition {
		list := daemontest.DecodeJSON[struct{ Checks []checks.Condition }](t, d, "status").Checks
		i := slices.IndexFunc(list, func(c checks.Condition) bool { return c.Check == "dnsbl" })
		if i < 0 || list[i].State != "on" {
			t.Fatalf("got %+v", list)
		}
		return list[i]
	}
	before, mark := condition(), d.Mark()
	d.Signal(t, syscall.SIGHUP)
	d.AwaitEntry(t, mark, daemontest.Entry{"msg": "configuration reloaded"})
	if after := condition(); !after.Since.Equal(before.Since) {
		t.Errorf("on since %v, before the reload since %v", after.Since, before.Since)
	}
}

// TestRetryReport has one who comes back and some who do not, whose window is soon over.
func TestRetryReport(t *testing.T) {
	d, _ := daemontest.StartWithSocket(t, nil, "checks: {greylist: {delay: 1s, window: 2s}}\n")
	type counts struct{ Held, Passed, Waiting, Gone, Early int }
	report := func() (n counts, noRetry []string) {
		r := daemontest.DecodeJSON[struct {
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
			Delay    int                  `json:"delay_seconds"`
			Examples []daemontest.Triplet `json:"examples"`
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
		d.MustMail(t, daemontest.GoodClient, fmt.Sprintf("list-%c@fail.test", 'a'+i), "alice@mx.test", "451 4.7.1 greylisted", "")
	}
	miltertest.Eventually(t, "a retry passes", func() bool {
		r, err := d.Mail("192.0.2.9", daemontest.GoodSender, "bob@mx.test")
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
	table := d.MustRun(t, "report", "retry")
	daemontest.WantRow(t, table, "4", "triplets", "held,", "1", "passed,")
	daemontest.WantRow(t, table, "client.test", "3", "0", "0", "3")
	daemontest.WantRow(t, table, ".client.test", "held,", "none")
}

// TestWrongCommands shows that mistakes are told, fail, and change nothing.
func TestWrongCommands(t *testing.T) {
	d, _ := daemontest.StartWithSocket(t, nil, "")
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
		"block add 192.0.2.9 --for soon":      `--for: "soon" is not a duration`,
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
		if r := d.Command(t, words...); r.Code != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "milterd: ") || !strings.Contains(r.Stderr, want) {
			t.Errorf("milterd %s: exit %d, printed %q, said %q; want %q", line, r.Code, r.Stdout, r.Stderr, want)
		}
	}
	if out := d.MustRun(t, "block", "list"); out != "nobody is blocked\n" {
		t.Errorf("after nothing but mistakes: %s", out)
	}
}

// TestCommandsWithoutDaemon asks one that has ended, was killed, or has no socket.
func TestCommandsWithoutDaemon(t *testing.T) {
	asked := [][]string{{"status"}, {"greylist", "list"}, {"block", "add", "192.0.2.9", "--json"}, {"report", "retry"}}
	for name, end := range map[string]func(*daemontest.Daemon){
		"ended":  func(d *daemontest.Daemon) { d.Stop(t) },
		"killed": func(d *daemontest.Daemon) { d.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			d, socket := daemontest.StartWithSocket(t, nil, "")
			d.MustRun(t, "status")
			end(d)
			_, err := os.Lstat(socket)
			if gone := errors.Is(err, fs.ErrNotExist); gone != (name == "ended") {
				t.Errorf("the socket: %v", err)
			}
			for _, words := range asked {
				r := d.Command(t, words...)
				if r.Code != 1 || r.Stdout != "" || r.Stderr != "milterd: no daemon answers at "+socket+": is milterd running, with the same admin.socket?\n" {
					t.Errorf("milterd %v: exit %d, printed %q, said %q", words, r.Code, r.Stdout, r.Stderr)
				}
			}
		})
	}
	t.Run("without a socket", func(t *testing.T) {
		d := daemontest.Start(t, daemontest.Config{DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "safe"})
		if r := d.Command(t, "status"); r.Code != 1 || !strings.Contains(r.Stderr, "admin.socket") || strings.Contains(r.Stderr, "dial") {
			t.Errorf("exit %d, said %q", r.Code, r.Stderr)
		}
	})
}

// TestAdminSocket shows who may ask: the owner and the group of the socket, and nobody else.
func TestAdminSocket(t *testing.T) {
	d, socket := daemontest.StartWithSocket(t, nil, "")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode.Type() != fs.ModeSocket || mode.Perm() != daemontest.SocketMode {
		t.Errorf("mode %v, want %v", mode, daemontest.SocketMode)
	}
	// A second daemon does not take the socket of the first.
	text, err := os.ReadFile(d.File)
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(filepath.Dir(socket), "second.yaml")
	listen := "listen: [\"inet:7525@" + miltertest.Loopback() + "\"]\n"
	if err := os.WriteFile(second, []byte(listen+string(text[bytes.IndexByte(text, '\n')+1:])), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(daemontest.Binary(t), "serve", "-c", second).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another program listens on "+socket) {
		t.Errorf("a second daemon with the same socket: %v\n%s", err, out)
	}
	d.MustRun(t, "status")

	if os.Geteuid() != 0 {
		if os.Getenv("MILTERD_TEST_REAL") == "1" {
			t.Fatal("MILTERD_TEST_REAL=1 needs root")
		}
		t.Skip("only root can be somebody else")
	}
	const nobody = 65534
	program := copyProgram(t, filepath.Dir(socket))
	ask := func(gid uint32) daemontest.Result {
		return daemontest.CommandAs(t, program, &syscall.Credential{Uid: nobody, Gid: gid}, "status", "--socket", socket)
	}
	if r := ask(nobody); r.Code != 1 || r.Stdout != "" || r.Stderr != "milterd: "+socket+": permission denied: run the command as root or as a member of the group of the socket\n" {
		t.Errorf("somebody: exit %d, printed %q, said %q", r.Code, r.Stdout, r.Stderr)
	}
	if r := ask(info.Sys().(*syscall.Stat_t).Gid); r.Code != 0 || !strings.Contains(r.Stdout, "profile") {
		t.Errorf("somebody of the group: exit %d, said %q", r.Code, r.Stderr)
	}
}

// copyProgram copies milterd to a folder that every user may enter, unlike the build cache.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(daemontest.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "milterd")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
