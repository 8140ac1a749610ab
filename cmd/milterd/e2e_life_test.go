package main_test

import (
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// lives are what happens to a daemon while a mail server relies on it.
var lives = []behaviour{
	{"SIGKILL", testKilled},
	{"SIGTERM", testDrained},
	{"SIGHUP", testReloaded},
}

// testKilled ends the daemon in mid-session: the mail server answers as it is configured.
func testKilled(t *testing.T, b *daemontest.MailServer) {
	closed := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	closed.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	open := miltertest.DialSMTP(t, b.Open, daemontest.GoodClient)
	open.Must("2", "EHLO "+daemontest.GoodHelo)
	open.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")

	b.Daemon.Kill()
	if r := closed.Cmd("RCPT TO:<alice@mx.test>"); r.Code != "451" {
		t.Errorf("RCPT without the filter: %s, want 451", r)
	}
	open.Must("2", "RCPT TO:<alice@mx.test>")
	b.Send(t, open, "alice")

	// The new daemon finds the socket that the old one has left.
	b.Daemon = daemontest.StartInSite(t, b.Site, daemontest.StrictConfig(b.Site), b.MTA)
	c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	b.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "MAIL FROM:<a@fail.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "fail.test")
}

func isDone(d *daemontest.Daemon) bool { return ended(d.Process) }

// testDrained asks the daemon to end while one message is in flight and one client is idle.
func testDrained(t *testing.T, b *daemontest.MailServer) {
	busy := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
	daemontest.Envelope(busy, daemontest.GoodSender, "alice@mx.test")
	busy.Must("3", "DATA")
	idle := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)

	b.Daemon.Signal(t, syscall.SIGTERM)
	// Once new connections are refused the signal has been heard.
	miltertest.Eventually(t, "milterd stops listening", func() bool {
		c := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
		defer c.Close()
		return c.Cmd("MAIL FROM:<"+daemontest.GoodSender+">").Code == "451"
	})
	if b.Daemon.Ended() {
		t.Fatal("milterd ended with a message in flight")
	}
	_, bad := daemontest.UniqueMessage(daemontest.Field{"Date", "yesterday"})
	daemontest.WantReply(t, busy.Message(bad), "550 5.6.0", "yesterday")
	busy.Cmd("QUIT")
	miltertest.Eventually(t, "milterd ends once the message has its answer", func() bool { return b.Daemon.Ended() })
	if err := b.Daemon.Err(); err != nil {
		t.Errorf("milterd ended with %v", err)
	}
	// It did not wait for the other. Postfix, which waits for no answer to MAIL, finds out at RCPT that the filter is gone.
	r := idle.Cmd("MAIL FROM:<" + daemontest.GoodSender + ">")
	if r.Code == "250" {
		r = idle.Cmd("RCPT TO:<alice@mx.test>")
	}
	if r.Code != "451" {
		t.Errorf("idle client: %s, want 451", r)
	}
}

// testReloaded gives the daemon another configuration, and then one that it cannot use.
func testReloaded(t *testing.T, b *daemontest.MailServer) {
	strange := func() miltertest.Reply {
		c := b.Connect(t, daemontest.GoodClient, "nowhere.client.test")
		defer c.Close()
		c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
		return c.Cmd("RCPT TO:<alice@mx.test>")
	}
	daemontest.WantReply(t, strange(), "550 5.7.1", "nowhere.client.test")
	old := b.Connect(t, daemontest.GoodClient, "nowhere.client.test")

	milder := daemontest.StrictConfig(b.Site)
	milder.Actions["helo-unresolvable"], milder.Actions["helo-mismatch"] = "watch", "off"
	reconfigure(t, b, milder)
	b.Daemon.Signal(t, syscall.SIGHUP)
	miltertest.Eventually(t, "the new configuration counts", func() bool { return strange().Code == "250" })
	old.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(t, old.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.1", "nowhere.client.test")

	mark := b.Daemon.Mark()
	milder.Actions["helo-unresolvable"] = "rejct"
	reconfigure(t, b, milder)
	b.Daemon.Signal(t, syscall.SIGHUP)
	miltertest.Eventually(t, "milterd names the fault of the file", func() bool {
		return strings.Contains(strings.Join(b.Daemon.Lines()[mark:], "\n"), "rejct")
	})
	if r := strange(); r.Code != "250" {
		t.Errorf("after a bad file: %s, want the old configuration", r)
	}

	reconfigure(t, b, daemontest.StrictConfig(b.Site))
	b.Daemon.Signal(t, syscall.SIGHUP)
	miltertest.Eventually(t, "the first configuration is back", func() bool { return strange().Code == "550" })
}

// reconfigure writes the daemon's file anew, with the same listeners.
func reconfigure(t *testing.T, b *daemontest.MailServer, c daemontest.Config) {
	t.Helper()
	c.Syslog, c.Listen = "mail", b.Daemon.Listen
	b.Daemon.Configure(t, c)
}
