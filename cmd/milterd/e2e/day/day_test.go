// Package day plays a day in the life of an operator, through a real Postfix: what goes wrong, what the operator runs, and what the
// commands say. Read TestDay from top to bottom; each step is a function below it.
package day

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/cmd/milterd/doc"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// The clients of the day, beside daemontest.GoodClient.
const (
	nameless = "127.0.0.13" // has no reverse DNS name
	guesser  = "127.0.0.14" // names recipients that do not exist
)

// networks is the number of networks after which a list that lists all of them is taken to list the world.
const networks = 12

// day is a site with a Postfix and a daemon, and its operator.
type day struct {
	*daemontest.MailServer
	t      *testing.T
	config daemontest.Config
	pages  string            // URL of the operator's pages
	guide  map[string]string // the guides, by the names of their files
}

func TestDay(t *testing.T) {
	miltertest.Require(t)
	d := begin(t)
	d.watch()
	d.mistake()
	d.reload()
	d.complaint()
	d.stolenPassword()
	d.quarantine()
	d.deadList()
	d.morning()
	d.promotion()
}

// begin starts Postfix, and a daemon that only watches.
func begin(t *testing.T) *day {
	zone := daemontest.World
	for i := range networks {
		zone += fmt.Sprintf("9.0.%d.11.bl.test. A 127.0.0.2\n", 100+i)
	}
	site := miltertest.NewSite(t, zone)
	d := &day{t: t, pages: miltertest.Loopback() + ":8893", guide: map[string]string{}}
	paths, err := filepath.Glob("../../doc/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d guides, %v", len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d.guide[filepath.Base(path)] = string(text)
	}
	d.config = daemontest.Config{DNS: site.DNS.Addr, Profile: "watch", Actions: map[string]string{}, Extra: fmt.Sprintf(`
admin: {listen: %q, socket: %q, password: secret}
checks:
  rate: {user: 5/h}
  counters: {bad_recipients: 3}
  dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}
`, d.pages, filepath.Join(daemontest.SocketDir(t), "admin.sock"))}
	postfix := site.Postfix(t)
	d.MailServer = &daemontest.MailServer{MTA: postfix, Site: site, Daemon: daemontest.StartInSite(t, site, d.config, postfix)}
	return d
}

// run runs a command of the operator, which must succeed, and whose output must be as in the guide.
func (d *day) run(words ...string) string {
	d.t.Helper()
	r := d.Daemon.Command(d.t, words...)
	if r.Code != 0 {
		d.t.Fatalf("milterd %s: exit %d\n%s%s", strings.Join(words, " "), r.Code, r.Stdout, r.Stderr)
	}
	d.asGuide(r.Stdout, words...)
	return r.Stdout
}

// wants fails the test unless the output of a command has all the texts.
func (d *day) wants(out string, texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			d.t.Errorf("no %q in\n%s", text, out)
		}
	}
}

// eventually waits until a command says a text, and returns its output.
func (d *day) eventually(text string, words ...string) (out string) {
	d.t.Helper()
	miltertest.Eventually(d.t, "milterd "+strings.Join(words, " ")+" says "+text, func() bool {
		out = d.Daemon.Command(d.t, words...).Stdout
		return strings.Contains(out, text)
	})
	d.asGuide(out, words...)
	return out
}

// asGuide fails the test unless the output of a command has the headings of the output that the guides show for it.
// TestDocuments compares all of what they show with another daemon.
func (d *day) asGuide(out string, words ...string) {
	d.t.Helper()
	command := "$ milterd " + words[0]
	if words[0] == "access" || words[0] == "report" {
		command += " " + words[1]
	}
	shown := 0
	for page, text := range d.guide {
		for _, b := range doc.Parse(text) {
			_, rest, found := strings.Cut(b.Text, command)
			if b.Lang != "console" || !found {
				continue
			}
			shown++
			_, rest, _ = strings.Cut(rest, "\n")
			rest, _, _ = strings.Cut(rest, "\n$ ")
			want, has := headings(rest), headings(out)
			if len(want) == 0 || slices.ContainsFunc(want, func(h string) bool { return !slices.Contains(has, h) }) {
				d.t.Errorf("milterd %s has the headings %q, in %s %q", strings.Join(words, " "), has, page, want)
			}
		}
	}
	if shown == 0 {
		d.t.Errorf("no guide shows %s", command)
	}
}

var (
	columns = regexp.MustCompile(`^[A-Z]+( +[A-Z]+)+$`)
	place   = regexp.MustCompile(`^\S+: `)
)

// headings returns the lines of an output that head a table or a section, or else the names of its rows, or else its text without
// the path at its beginning.
func headings(out string) (list []string) {
	var rows []string
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		name, _, isRow := strings.Cut(line, "  ")
		switch {
		case columns.MatchString(line), i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") && !isRow && !strings.HasPrefix(line, " "):
			list = append(list, strings.Join(strings.Fields(line), " "))
		case isRow && name != "" && name != "warning" && len(rows) < fixedRows:
			rows = append(rows, name)
		}
	}
	switch {
	case len(list) > 0:
		return list
	case len(rows) > 0:
		return rows
	default:
		return []string{place.ReplaceAllString(lines[0], "")}
	}
}

// fixedRows is the number of rows of the command status before those of the checks.
const fixedRows = 8

// inGuide fails the test unless the guide tells the operator to run a command.
func (d *day) inGuide(page, command string) {
	d.t.Helper()
	if !strings.Contains(d.guide[page], command) {
		d.t.Errorf("the guide %s does not name %q", page, command)
	}
}

// deliver sends a message to alice and returns the reply that refuses it. changes are those of the header.
func (d *day) deliver(client, from string, changes ...daemontest.Field) miltertest.Reply {
	d.t.Helper()
	c := d.Connect(d.t, client, daemontest.GoodHelo)
	defer c.Close()
	c.Must("2", "MAIL FROM:<"+from+">")
	if r := c.Cmd("RCPT TO:<alice@mx.test>"); r.Code != "250" {
		return r
	}
	_, message := daemontest.UniqueMessage(changes...)
	return c.Data(message)
}

// watch: on the first day nothing is refused, and the report says what would have been.
func (d *day) watch() {
	mark := d.Daemon.Mark()
	if r := d.deliver(nameless, "a@none.test"); r.Code != "250" {
		d.t.Fatalf("in the profile watch: %s", r)
	}
	e := d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "accept", "client": nameless})
	d.wants(e["watched"], "rdns-missing")
	out := d.eventually("rdns-missing", "report", "watch")
	d.wants(out, "The profile safe would have refused 0 of 1 messages, and greylisted 1 (rdns-missing 1).", "The profile strict would have refused 1 of 1")
	d.inGuide("rollout.md", "milterd report watch")
}

// configure writes the configuration, with a change to its text, and reloads it.
func (d *day) configure(old, new string) {
	d.t.Helper()
	d.config.Syslog, d.config.Listen = "mail", d.Daemon.Listen
	d.Daemon.Configure(d.t, d.config)
	text, err := os.ReadFile(d.Daemon.File)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.Daemon.File, []byte(strings.Replace(string(text), old, new, 1)), 0o640); err != nil {
		d.t.Fatal(err)
	}
	d.Daemon.Signal(d.t, syscall.SIGHUP)
}

// mistake: a mistyped key. The old configuration stays in force, and the daemon says so until it is mended.
func (d *day) mistake() {
	d.configure("profile: watch", "profil: safe")
	r := d.Daemon.Command(d.t, "check-config")
	if r.Code != 1 {
		d.t.Errorf("check-config: %+v", r)
	}
	d.wants(r.Stdout+r.Stderr, d.Daemon.File+":", `unknown key "profil"; did you mean "profile"?`)
	d.wants(d.eventually("warning", "status"), `did you mean "profile"?`, "profile      watch")
	if r := d.deliver(nameless, "a@none.test"); r.Code != "250" {
		d.t.Errorf("after the mistake: %s", r)
	}
}

// reload: some reasons are enforced.
func (d *day) reload() {
	for reason, action := range map[string]string{
		"client-blocked": "tempfail", "too-many-bad-recipients": "tempfail", "user-rate": "tempfail", "msgid-missing": "quarantine", "helo-bare-ip": "reject",
	} {
		d.config.Actions[reason] = action
	}
	mark := d.Daemon.Mark()
	d.configure("", "")
	d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "configuration reloaded"})
	if out := d.run("status"); strings.Contains(out, "warning") {
		d.t.Errorf("the warning stays: %s", out)
	}
	d.run("check-config")
	c := d.Connect(d.t, daemontest.GoodClient, daemontest.GoodClient)
	c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(d.t, c.Cmd("RCPT TO:<alice@mx.test>"), "501 5.5.2", "is an IP address")
	c.Close()
	d.eventually("helo-bare-ip", "log", "--reason", "helo-bare-ip")
}

// complaint: a client is blocked, and its postmaster calls. The operator finds out why, and lets it in until Friday.
func (d *day) complaint() {
	c := d.Connect(d.t, guesser, daemontest.GoodHelo)
	c.Must("2", "MAIL FROM:<carol@none.test>")
	for i := range 5 {
		c.Cmd(fmt.Sprintf("RCPT TO:<guess%d@mx.test>", i))
	}
	c.Close()
	miltertest.Eventually(d.t, "the client is blocked", func() bool { return d.deliver(guesser, "carol@none.test").Code == "450" })
	daemontest.WantReply(d.t, d.deliver(guesser, "carol@none.test"), "450 4.7.1", "is blocked until")

	out := d.eventually("client-blocked", "why", "carol@none.test", "alice@mx.test")
	daemontest.WantRow(d.t, out, "block", guesser, "unknown", "recipients", "milterd", "block", "remove", guesser)
	daemontest.WantRow(d.t, out, "reply", "450", "4.7.1", "blocked", "until")
	d.wants(out, "To answer the sender: ")
	d.inGuide("log.md", "milterd why")
	d.inGuide("lists.md", "--until")
	out = d.run("access", "allow", guesser, "--until", "friday", "--why", "asked by phone")
	daemontest.WantRow(d.t, out, "allow", guesser, "store", "asked", "by", "phone")
	if r := d.deliver(guesser, "carol@none.test"); r.Code != "250" {
		d.t.Errorf("after access allow: %s", r)
	}
	out = d.eventually("allowed by milterd access", "why", "carol@none.test", "alice@mx.test")
	daemontest.WantRow(d.t, out, "list", "allow", guesser, "milterd", "access", "remove", guesser)
}

// stolenPassword: somebody sends with the password of a user. The limit stops it and names the user.
func (d *day) stolenPassword() {
	mark := d.Daemon.Mark()
	c := miltertest.DialSMTP(d.t, d.Addr, "127.0.0.1")
	user := d.Authenticate(c, d.Site)
	c.Must("2", "MAIL FROM:<alice@mx.test>")
	for range 5 {
		c.Must("2", "RCPT TO:<bob@mx.test>")
	}
	daemontest.WantReply(d.t, c.Cmd("RCPT TO:<bob@mx.test>"), "451 4.7.28", "the user "+user+" has reached the limit of 5 recipients in an hour")
	c.Close()
	e := d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "tempfail", "reason": "user-rate"})
	if e["user"] != user {
		d.t.Errorf("log: %v", e)
	}
	daemontest.WantRow(d.t, d.run("status"), "rate", user, "over", "change", "the", "password")
	out := d.eventually("user-rate", "why", user)
	daemontest.WantRow(d.t, out, "rate", user, "has", "sent", "to", "checks.rate.users,")
	daemontest.WantRow(d.t, out, "tempfail", "user-rate", "127.0.0.1") // where it came from
}

// quarantine: a message is set aside. The operator finds it and releases it with the command that milterd shows.
func (d *day) quarantine() {
	mark := d.Daemon.Mark()
	subject := fmt.Sprintf("the contract of %d", time.Now().UnixNano())
	if r := d.deliver(daemontest.GoodClient, daemontest.GoodSender, daemontest.Field{"Message-ID", "-"}, daemontest.Field{"Subject", subject}); r.Code != "250" {
		d.t.Fatalf("quarantined message: %s", r)
	}
	e := d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "accept", "quarantined": "msgid-missing"})
	out := d.eventually("To release "+e["queue_id"], "log", "--action", "quarantine")
	m := regexp.MustCompile(`postsuper -H (\w+) && postqueue -i (\w+) \(Postfix\)`).FindStringSubmatch(out)
	if m == nil || m[1] != e["queue_id"] || m[2] != e["queue_id"] {
		d.t.Fatalf("no command in\n%s", out)
	}
	d.inGuide("reasons.md", "postsuper -H ID")
	d.wants(d.run("why", e["session"]), "postsuper -H "+e["queue_id"])
	if page, body := daemontest.GetText(d.t, "http://milterd:secret@"+d.pages+"/refusals?action=all"); page != 200 || !strings.Contains(body, "quarantine") {
		d.t.Errorf("the list of decisions: %d %s", page, body)
	}
	d.Release(d.t, e["queue_id"])
	d.Delivered(d.t, "alice", subject)
}

// deadList: a DNS list begins to list everybody. It counts for nothing, and the operator sees it.
func (d *day) deadList() {
	for i := range networks {
		c := miltertest.DialSMTP(d.t, d.Addr, "127.0.0.1")
		c.Must("2", fmt.Sprintf("XCLIENT ADDR=11.%d.0.9 NAME=[UNAVAILABLE]", 100+i))
		c.Must("2", "EHLO "+daemontest.GoodHelo)
		c.Must("2", "MAIL FROM:<a@none.test>")
		c.Must("2", "RCPT TO:<alice@mx.test>")
		c.Close()
	}
	daemontest.WantRow(d.t, d.eventually("lists the world", "status"), "dnsbl", "bl.test", "off")
}

// morning: the report of the night has all of it.
func (d *day) morning() {
	out := d.run("report", "daily")
	d.wants(out, "milterd on mx.test", "Users over their limit", "passed the limit of 5 recipients in an hour", "Newly blocked", guesser+" until",
		"dnsbl bl.test", "lists the world", "Most frequent reasons")
	if _, overview := daemontest.GetText(d.t, "http://milterd:secret@"+d.pages+"/"); !strings.Contains(overview, "lists the world") || !strings.Contains(overview, "passed the limit") {
		d.t.Errorf("the overview: %s", overview)
	}
}

// promotion: the profile safe comes into force, as the report said.
func (d *day) promotion() {
	d.config.Profile = "safe"
	mark := d.Daemon.Mark()
	d.configure("", "")
	d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "configuration reloaded"})
	d.wants(d.run("status"), "profile      safe")
	daemontest.WantReply(d.t, d.deliver(nameless, "new@none.test"), "451 4.7.1", "greylisted for")
	if r := d.deliver(daemontest.GoodClient, daemontest.GoodSender); r.Code != "250" {
		d.t.Errorf("good mail in the profile safe: %s", r)
	}
}
