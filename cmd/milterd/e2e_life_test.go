package main_test

import (
	"strings"
	"syscall"
	"testing"

	"milterd/milter/miltertest"
)

// lives are what happens to a daemon while a mail server relies on it.
var lives = []behaviour{
	{"SIGKILL", testKilled},
	{"SIGTERM", testDrained},
	{"SIGHUP", testReloaded},
}

// testKilled ends the daemon in mid-session: the mail server answers as it is configured.
func testKilled(t *testing.T, b *bench) {
	closed := b.open(t, goodClient, goodHelo)
	closed.Must("2", "MAIL FROM:<"+goodSender+">")
	open := miltertest.DialSMTP(t, b.Open, goodClient)
	open.Must("2", "EHLO "+goodHelo)
	open.Must("2", "MAIL FROM:<"+goodSender+">")

	b.daemon.Kill()
	if r := closed.Cmd("RCPT TO:<alice@mx.test>"); r.Code != "451" {
		t.Errorf("RCPT without the filter: %s, want 451", r)
	}
	open.Must("2", "RCPT TO:<alice@mx.test>")
	b.send(t, open, "alice")

	// The new daemon finds the socket that the old one has left.
	b.daemon = startInSite(t, b.site, strictConfig(b.site), b.MTA)
	c := b.open(t, goodClient, goodHelo)
	b.deliver(t, c, goodSender, "alice")
	c.Must("2", "MAIL FROM:<a@fail.test>")
	wantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "fail.test")
}

func isDone(d *daemon) bool { return ended(d.Process) }

// testDrained asks the daemon to end while one message is in flight and one client is idle.
func testDrained(t *testing.T, b *bench) {
	busy := b.open(t, goodClient, goodHelo)
	envelope(busy, goodSender, "alice@mx.test")
	busy.Must("3", "DATA")
	idle := b.open(t, goodClient, goodHelo)

	b.daemon.Signal(t, syscall.SIGTERM)
	// Once new connections are refused the signal has been heard.
	miltertest.Eventually(t, "milterd stops listening", func() bool {
		c := b.open(t, goodClient, goodHelo)
		defer c.Close()
		return c.Cmd("MAIL FROM:<"+goodSender+">").Code == "451"
	})
	if isDone(b.daemon) {
		t.Fatal("milterd ended with a message in flight")
	}
	_, bad := unique(field{"Date", "yesterday"})
	wantReply(t, busy.Message(bad), "550 5.6.0", "yesterday")
	busy.Cmd("QUIT")
	miltertest.Eventually(t, "milterd ends once the message has its answer", func() bool { return isDone(b.daemon) })
	if err := b.daemon.Err(); err != nil {
		t.Errorf("milterd ended with %v", err)
	}
	// It did not wait for the other. Postfix, which waits for no answer to MAIL, finds out at RCPT that the filter is gone.
	r := idle.Cmd("MAIL FROM:<" + goodSender + ">")
	if r.Code == "250" {
		r = idle.Cmd("RCPT TO:<alice@mx.test>")
	}
	if r.Code != "451" {
		t.Errorf("idle client: %s, want 451", r)
	}
}

// testReloaded gives the daemon another configuration, and then one that it cannot use.
func testReloaded(t *testing.T, b *bench) {
	strange := func() miltertest.Reply {
		c := b.open(t, goodClient, "nowhere.client.test")
		defer c.Close()
		c.Must("2", "MAIL FROM:<"+goodSender+">")
		return c.Cmd("RCPT TO:<alice@mx.test>")
	}
	wantReply(t, strange(), "550 5.7.1", "nowhere.client.test")
	old := b.open(t, goodClient, "nowhere.client.test")

	milder := strictConfig(b.site)
	milder.actions["helo-unresolvable"], milder.actions["helo-mismatch"] = "watch", "off"
	b.reconfigure(t, milder)
	b.daemon.Signal(t, syscall.SIGHUP)
	miltertest.Eventually(t, "the new configuration counts", func() bool { return strange().Code == "250" })
	old.Must("2", "MAIL FROM:<"+goodSender+">")
	wantReply(t, old.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.1", "nowhere.client.test")

	mark := b.daemon.mark()
	milder.actions["helo-unresolvable"] = "rejct"
	b.reconfigure(t, milder)
	b.daemon.Signal(t, syscall.SIGHUP)
	miltertest.Eventually(t, "milterd names the fault of the file", func() bool {
		return strings.Contains(strings.Join(b.daemon.lines()[mark:], "\n"), "rejct")
	})
	if r := strange(); r.Code != "250" {
		t.Errorf("after a bad file: %s, want the old configuration", r)
	}

	b.reconfigure(t, strictConfig(b.site))
	b.daemon.Signal(t, syscall.SIGHUP)
	miltertest.Eventually(t, "the first configuration is back", func() bool { return strange().Code == "550" })
}

// reconfigure writes the daemon's file anew, with the same listeners.
func (b *bench) reconfigure(t *testing.T, c config) {
	t.Helper()
	c.syslog, c.listen = "mail", b.daemon.listen
	b.daemon.configure(t, c)
}
