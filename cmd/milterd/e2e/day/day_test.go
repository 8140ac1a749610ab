// Package day plays the day of an operator that the guide day.md describes, through a real Postfix: what goes wrong, what the operator
// runs, and what the commands say. Read TestDay from top to bottom; each step is a section of the guide and a function below it.
package day

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// zone is the DNS of the day. The mail host of the senders is at one of the few special addresses that are globally reachable.
const zone = `
mx.example.org.           A   192.0.2.1
mx.example.net.           A   192.0.0.9

mail.example.net.         A   192.0.2.9
9.2.0.192.in-addr.arpa.   PTR mail.example.net.
example.net.              MX  10 mx.example.net.
example.net.              TXT "v=spf1 ip4:192.0.2.9 -all"

mail.example.com.         A   198.51.100.7
7.100.51.198.in-addr.arpa. PTR mail.example.com.
example.com.              MX  10 mx.example.net.
example.com.              TXT "v=spf1 ip4:198.51.100.7 -all"

mail.shop.example.        A   203.0.113.20
shop.example.             MX  10 mx.example.net.
shop.example.             TXT "v=spf1 ip4:203.0.113.20 -all"

2.0.0.127.bl.example.     A   127.0.0.2
`

// networks is the number of networks after which a list that lists all of them is taken to list the world.
const networks = 12

// client is a mail server that sends to the site.
type client struct{ addr, name, helo, sender string }

var (
	good     = client{"192.0.2.9", "mail.example.net", "mail.example.net", "alice@example.net"} // passes every check
	guesser  = client{"198.51.100.7", "mail.example.com", "mail.example.com", "carol@example.com"}
	nameless = client{"203.0.113.20", "[UNAVAILABLE]", "mail.shop.example", "news@shop.example"} // has no reverse DNS name
	unknown  = client{nameless.addr, nameless.name, nameless.helo, "offers@shop.example"}
	thief    = client{"203.0.113.99", "[UNAVAILABLE]", "[192.168.1.7]", "ann@example.org"}
)

// day is a site with a Postfix and a daemon, and its operator.
type day struct {
	*daemontest.MailServer
	*guide
	t      *testing.T
	config daemontest.Config
	pages  string // address of the operator's pages
	paths  *strings.Replacer
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
	d.finish(t)
}

// begin starts Postfix, and a daemon that only watches.
func begin(t *testing.T) *day {
	records := zone
	for i := range networks {
		records += fmt.Sprintf("9.0.%d.11.bl.example. A 127.0.0.2\n", 100+i)
	}
	site := miltertest.NewSite(t, records)
	site.Domain = "example.org"
	listener := miltertest.Loopback()
	postfix := site.Postfix(t, "smtpd_milters = inet:"+listener+":8891",
		"default_transport = discard:", "mynetworks = "+thief.addr,
		"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination") // XCLIENT LOGIN does not permit relaying
	postfix.Milter = "inet:8891@" + listener
	d := &day{guide: readGuide(t, "../../doc/day.md"), t: t, pages: miltertest.Loopback() + ":8893"}
	state := filepath.Join(site.Dir, "state")
	d.config = daemontest.Config{DNS: site.DNS.Addr, Text: d.configs[0], Extra: fmt.Sprintf("admin: {listen: %q, socket: %q, password: secret}\nstore: {path: %q}\n",
		d.pages, filepath.Join(daemontest.SocketDir(t), "admin.sock"), state)}
	d.MailServer = &daemontest.MailServer{MTA: postfix, Site: site, Daemon: daemontest.StartInSite(t, site, d.config, postfix)}
	d.config.Syslog, d.config.Listen = "mail", d.Daemon.Listen
	d.paths = strings.NewReplacer(d.Daemon.File, "/etc/milterd/milterd.yaml", state, "/var/lib/milterd", listener, "127.0.0.1")
	if err := os.Chmod(d.Daemon.File, 0o640); err != nil { // it has a password
		t.Fatal(err)
	}
	return d
}

// run runs the next command of the guide and returns its output, which must be that of the guide.
func (d *day) run(line string) string {
	d.t.Helper()
	return d.eventually("", line)
}

// eventually is run for a command that is run again until it says a text.
func (d *day) eventually(text, line string) (out string) {
	d.t.Helper()
	d.expect(d.t, line)
	miltertest.Eventually(d.t, line+" says "+text, func() bool {
		out = d.shell(line)
		return strings.Contains(out, text)
	})
	d.compare(d.t, out)
	return out
}

// shell runs a line as the operator types it, and returns what the operator reads.
func (d *day) shell(line string) string {
	d.t.Helper()
	const functions = `milterd() { "$MILTERD" -c "$CONFIG" "$@"; }; `
	cmd := d.Site.Command("/bin/sh", "-c", functions+line)
	cmd.Env = append(daemontest.CommandEnv(), "MILTERD="+daemontest.Binary(d.t), "CONFIG="+d.Daemon.File, "TZ=UTC",
		"MAIL_CONFIG="+filepath.Join(d.Site.Dir, "postfix/etc"), "PATH=/usr/sbin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		d.t.Fatal(err)
	}
	return d.paths.Replace(string(out))
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

// connect connects as a client.
func (d *day) connect(as client, attributes ...string) *miltertest.SMTPClient {
	d.t.Helper()
	c := miltertest.DialSMTP(d.t, d.Addr, "127.0.0.1")
	c.Must("2", strings.Join(append([]string{"XCLIENT ADDR=" + as.addr, "NAME=" + as.name}, attributes...), " "))
	c.Must("2", "EHLO "+as.helo)
	return c
}

// deliver sends a message to bob and returns the reply that refuses or accepts it. changes are those of the header.
func (d *day) deliver(as client, changes ...daemontest.Field) miltertest.Reply {
	d.t.Helper()
	c := d.connect(as)
	defer c.Close()
	c.Must("2", "MAIL FROM:<"+as.sender+">")
	if r := c.Cmd("RCPT TO:<bob@example.org>"); r.Code != "250" {
		return r
	}
	_, message := daemontest.UniqueMessage(append([]daemontest.Field{{"From", as.sender}, {"To", "bob@example.org"}}, changes...)...)
	return c.Data(message)
}

// configure writes the configuration and reloads it.
func (d *day) configure(text string) {
	d.t.Helper()
	d.config.Text = text
	d.Daemon.Configure(d.t, d.config)
	d.Daemon.Signal(d.t, syscall.SIGHUP)
}

// reconfigure is configure for a configuration without mistakes. It waits until it is in force.
func (d *day) reconfigure(text string) {
	d.t.Helper()
	mark := d.Daemon.Mark()
	d.configure(text)
	d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "configuration reloaded"})
}

// watch: on the first day nothing is refused, and the report says what would have been.
func (d *day) watch() {
	d.run("milterd check-config")
	d.eventually("at the last count", "milterd status")
	mark := d.Daemon.Mark()
	if r := d.deliver(nameless); r.Code != "250" {
		d.t.Fatalf("in the profile watch: %s", r)
	}
	e := d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "accept", "client": nameless.addr})
	d.wants(e["watched"], "rdns-missing")
	d.eventually("of 1 message", "milterd report watch")
}

// mistake: a mistyped key. The old configuration stays in force, and the daemon says so until it is mended.
func (d *day) mistake() {
	text := d.config.Text
	d.configure(strings.Replace(text, "profile: watch", "profil: safe", 1))
	d.run("milterd check-config")
	d.eventually("did you mean", "milterd status")
	if r := d.deliver(nameless); r.Code != "250" {
		d.t.Errorf("after the mistake: %s", r)
	}
}

// reload: some reasons are enforced.
func (d *day) reload() {
	d.reconfigure(d.configs[1])
	d.run("milterd check-config")
	d.run("milterd status")
	c := d.connect(client{"203.0.113.66", "[UNAVAILABLE]", "203.0.113.66", ""})
	c.Must("2", "MAIL FROM:<alice@example.net>")
	daemontest.WantReply(d.t, c.Cmd("RCPT TO:<bob@example.org>"), "501 5.5.2", "is an IP address")
	c.Close()
	d.eventually("helo-bare-ip", "milterd log --reason helo-bare-ip")
}

// complaint: a client is blocked, and its postmaster calls. The operator finds out why, and lets it in until Friday.
func (d *day) complaint() {
	c := d.connect(guesser)
	c.Must("2", "MAIL FROM:<"+guesser.sender+">")
	for i := range 5 {
		c.Cmd(fmt.Sprintf("RCPT TO:<guess%d@example.org>", i))
	}
	daemontest.WantReply(d.t, c.Cmd("RCPT TO:<bob@example.org>"), "450 4.7.1", "unknown recipients")
	c.Close()
	daemontest.WantReply(d.t, d.deliver(guesser), "450 4.7.1", "is blocked until")
	d.eventually("client-blocked", "milterd why carol@example.com bob@example.org")
	d.run(`milterd access allow 198.51.100.7 --until friday --why "asked by phone"`)
	if r := d.deliver(guesser); r.Code != "250" {
		d.t.Errorf("after access allow: %s", r)
	}
	d.eventually("allowed by milterd access", "milterd why carol@example.com bob@example.org")
}

// stolenPassword: somebody sends with the password of a user. The limit stops it and names the user.
func (d *day) stolenPassword() {
	mark := d.Daemon.Mark()
	c := d.connect(thief, "LOGIN=ann")
	c.Must("2", "MAIL FROM:<"+thief.sender+">")
	for i := range 5 {
		c.Must("2", fmt.Sprintf("RCPT TO:<victim%d@example.com>", i))
	}
	daemontest.WantReply(d.t, c.Cmd("RCPT TO:<victim5@example.com>"), "451 4.7.28", "the user ann has reached the limit of 5 recipients in an hour")
	c.Close()
	if e := d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "tempfail", "reason": "user-rate"}); e["user"] != "ann" {
		d.t.Errorf("log: %v", e)
	}
	d.run("milterd status")
	d.eventually("user-rate", "milterd why ann")
}

// quarantine: a message is set aside. The operator finds it and releases it with the command that milterd shows.
func (d *day) quarantine() {
	mark := d.Daemon.Mark()
	subject := fmt.Sprintf("the contract of %d", time.Now().UnixNano())
	if r := d.deliver(good, daemontest.Field{"Message-ID", "-"}, daemontest.Field{"Subject", subject}); r.Code != "250" {
		d.t.Fatalf("quarantined message: %s", r)
	}
	e := d.Daemon.AwaitEntry(d.t, mark, daemontest.Entry{"msg": "accept", "quarantined": "msgid-missing"})
	release := fmt.Sprintf("postsuper -H %[1]s && postqueue -i %[1]s", e["queue_id"])
	d.wants(d.eventually("To release", "milterd log --action quarantine"), release)
	d.wants(d.run("milterd why "+e["session"]), release)
	if page, body := daemontest.GetText(d.t, "http://milterd:secret@"+d.pages+"/refusals?action=all"); page != 200 || !strings.Contains(body, "quarantine") {
		d.t.Errorf("the list of decisions: %d %s", page, body)
	}
	d.run(release)
	d.Delivered(d.t, "bob", subject)
}

// deadList: a DNS list begins to list everybody. It counts for nothing, and the operator sees it.
func (d *day) deadList() {
	for i := range networks {
		c := d.connect(client{fmt.Sprintf("11.%d.0.9", 100+i), "[UNAVAILABLE]", "mail.example.net", ""})
		c.Must("2", "MAIL FROM:<alice@example.net>")
		c.Must("2", "RCPT TO:<bob@example.org>")
		c.Close()
	}
	d.eventually("lists the world", "milterd status")
}

// morning: the report of the night has all of it.
func (d *day) morning() {
	d.eventually("12 helo-mismatch", "milterd report daily")
	if _, overview := daemontest.GetText(d.t, "http://milterd:secret@"+d.pages+"/"); !strings.Contains(overview, "lists the world") || !strings.Contains(overview, "passed the limit") {
		d.t.Errorf("the overview: %s", overview)
	}
}

// promotion: the profile safe comes into force, as the report said.
func (d *day) promotion() {
	d.reconfigure(strings.Replace(d.config.Text, "profile: watch", "profile: safe", 1))
	d.run("milterd status")
	daemontest.WantReply(d.t, d.deliver(unknown), "451 4.7.1", "greylisted for")
	if r := d.deliver(good); r.Code != "250" {
		d.t.Errorf("good mail in the profile safe: %s", r)
	}
	d.eventually("waiting", "milterd greylist list")
}
