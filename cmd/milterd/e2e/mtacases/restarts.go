package mtacases

import (
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// restarts are signals to a daemon while the mail server uses it.
var restarts = []testCase{
	{"SIGKILL", testKill},
	{"SIGTERM", testTerm},
	{"SIGHUP", testReload},
}

// testKill tests that the mail server answers as it is configured when the daemon ends during a session, and that a new
// daemon can use the socket of the old one.
func testKill(t *testing.T, m *daemontest.MailServer) {
	closed := m.ConnectGood(t)
	closed.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	open := miltertest.DialSMTP(t, m.Open, daemontest.GoodClient)
	open.Must("2", "EHLO "+daemontest.GoodHelo)
	open.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")

	m.Daemon.Kill()
	if r := closed.Cmd("RCPT TO:<alice@mx.test>"); r.Code != "451" {
		t.Errorf("RCPT without the filter: %s, want 451", r)
	}
	open.Must("2", "RCPT TO:<alice@mx.test>")
	m.Send(t, open, "alice")

	m.Daemon = daemontest.StartInSite(t, m.Site, daemontest.StrictConfig(m.Site), m.MTA)
	c := m.ConnectGood(t)
	m.Deliver(t, c, daemontest.GoodSender, "alice")
	c.Must("2", "MAIL FROM:<a@nomail.test>")
	daemontest.WantReply(t, c.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.23", "nomail.test")
}

// testTerm tests that a daemon that is asked to stop waits for a message in flight and not for an idle client.
func testTerm(t *testing.T, m *daemontest.MailServer) {
	busy := m.ConnectGood(t)
	daemontest.Envelope(busy, daemontest.GoodSender, "alice@mx.test")
	busy.Must("3", "DATA")
	idle := m.ConnectGood(t)

	m.Daemon.Signal(t, syscall.SIGTERM)
	miltertest.Eventually(t, "milterd stops listening", func() bool {
		c := m.ConnectGood(t)
		defer c.Close()
		return c.Cmd("MAIL FROM:<"+daemontest.GoodSender+">").Code == "451"
	})
	if m.Daemon.Ended() {
		t.Fatal("milterd ended with a message in flight")
	}
	_, bad := daemontest.UniqueMessage(daemontest.Field{"Date", "yesterday"})
	daemontest.WantReply(t, busy.Message(bad), "550 5.6.0", "yesterday")
	busy.Cmd("QUIT")
	miltertest.Eventually(t, "milterd ends after its response to the message", m.Daemon.Ended)
	if err := m.Daemon.Err(); err != nil {
		t.Errorf("milterd ended with %v", err)
	}
	// Postfix does not wait for a response to MAIL, so it answers 451 to RCPT.
	r := idle.Cmd("MAIL FROM:<" + daemontest.GoodSender + ">")
	if r.Code == "250" {
		r = idle.Cmd("RCPT TO:<alice@mx.test>")
	}
	if r.Code != "451" {
		t.Errorf("idle client: %s, want 451", r)
	}
}

// testReload tests that SIGHUP loads a new configuration for new connections, and that a file with an error changes
// nothing.
func testReload(t *testing.T, m *daemontest.MailServer) {
	unresolvable := func() miltertest.Reply {
		c := m.Connect(t, daemontest.GoodClient, "nowhere.client.test")
		defer c.Close()
		c.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
		return c.Cmd("RCPT TO:<alice@mx.test>")
	}
	daemontest.WantReply(t, unresolvable(), "550 5.7.1", "nowhere.client.test")
	old := m.Connect(t, daemontest.GoodClient, "nowhere.client.test")

	milder := daemontest.StrictConfig(m.Site)
	milder.Actions["helo-unresolvable"], milder.Actions["helo-mismatch"] = "watch", "off"
	reload(t, m, milder)
	miltertest.Eventually(t, "the new configuration is in force", func() bool { return unresolvable().Code == "250" })
	old.Must("2", "MAIL FROM:<"+daemontest.GoodSender+">")
	daemontest.WantReply(t, old.Cmd("RCPT TO:<alice@mx.test>"), "550 5.7.1", "nowhere.client.test")

	mark := m.Daemon.Mark()
	milder.Actions["helo-unresolvable"] = "rejct"
	reload(t, m, milder)
	miltertest.Eventually(t, "the log has the error of the file", func() bool {
		return strings.Contains(strings.Join(m.Daemon.Lines()[mark:], "\n"), "rejct")
	})
	if r := unresolvable(); r.Code != "250" {
		t.Errorf("after a file with an error: %s, want the old configuration", r)
	}

	reload(t, m, daemontest.StrictConfig(m.Site))
	miltertest.Eventually(t, "the first configuration is in force again", func() bool { return unresolvable().Code == "550" })
}

// reload writes the configuration file with the same listeners and sends SIGHUP.
func reload(t *testing.T, m *daemontest.MailServer, c daemontest.Config) {
	t.Helper()
	c.Syslog, c.Listen = "mail", m.Daemon.Listen
	m.Daemon.Configure(t, c)
	m.Daemon.Signal(t, syscall.SIGHUP)
}
