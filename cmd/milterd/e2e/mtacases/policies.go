package mtacases

import (
	"os"
	"path/filepath"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// policyZone adds a client on a DNS list, which passes every other check.
const policyZone = `
15.0.0.127.in-addr.arpa.    PTR   listed.client.test.
listed.client.test.         A     127.0.0.15
15.0.0.127.bl.test.         A     127.0.0.2
15.0.0.127.bl.test.         TXT   "spam seen from 127.0.0.15"
`

const listedClient, listedHelo = "127.0.0.15", "listed.client.test"

// policyConfig has a policy for bob. He has mail forwarded to him by the listed client, and receives mail from hosts
// without a name, messages without a Date, and mail from a sender on the deny list.
func policyConfig(t *testing.T, s *miltertest.Site) daemontest.Config {
	deny := filepath.Join(s.Dir, "deny")
	if err := os.WriteFile(deny, []byte("@denied.test why=\"never asked for it\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := daemontest.StrictConfig(s)
	c.Extra = `
policies:
  - recipients: [bob@mx.test]
    forwarders: [` + listedClient + `]
    actions: {rdns-missing: watch, helo-mismatch: watch, date-missing: watch, sender-denied: watch, auth-none: watch}
checks:
  access: {deny: ["` + deny + `"]}
  dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}
`
	return c
}

// testPolicies tests that the same mail is refused to alice and accepted for bob.
func testPolicies(t *testing.T, m *daemontest.MailServer) {
	for _, c := range []struct {
		name, source, helo, from string

		codes, text, reason string // for alice
	}{
		{"no name", "127.0.0.13", daemontest.GoodHelo, "a@none.test", "550 5.7.25", "127.0.0.13", "rdns-missing"},
		{"listed forwarder", listedClient, listedHelo, daemontest.GoodSender, "550 5.7.1", "spam seen from 127.0.0.15", "dnsbl-listed"},
		{"forwarded mail that fails SPF", listedClient, listedHelo, "a@fail.test", "550 5.7.1", "spam seen from", "dnsbl-listed"},
		{"denied sender", daemontest.GoodClient, daemontest.GoodHelo, "a@denied.test", "550 5.7.1", "never asked for it", "sender-denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mark := m.Daemon.Mark()
			conn := m.Connect(t, c.source, c.helo)
			conn.Must("2", "MAIL FROM:<"+c.from+">")
			daemontest.WantReply(t, conn.Cmd("RCPT TO:<alice@mx.test>"), c.codes, c.text)
			conn.Must("2", "RCPT TO:<bob@mx.test>")
			daemontest.WantReply(t, conn.Cmd("RCPT TO:<alice@mx.test>"), c.codes, c.text)
			m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": c.reason, "rcpt": "alice@mx.test", "client": c.source})
			m.Send(t, conn, "bob")
			daemontest.Envelope(conn, c.from, "postmaster@mx.test")
			m.Send(t, conn, "postmaster")
			conn.Must("2", "QUIT")
		})
	}
	t.Run("header", func(t *testing.T) { testHeaderPolicies(t, m) })
}

// testHeaderPolicies tests that recipients whose policies differ for the header section receive separate messages.
func testHeaderPolicies(t *testing.T, m *daemontest.MailServer) {
	conn := m.ConnectGood(t)
	daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
	daemontest.WantReply(t, conn.Cmd("RCPT TO:<bob@mx.test>"), "452 4.5.3", "bob@mx.test")
	_, undated := daemontest.UniqueMessage(daemontest.Field{"Date", "-"})
	daemontest.WantReply(t, conn.Data(undated), "550 5.6.0", "Date")
	// The client retries for bob.
	daemontest.Envelope(conn, daemontest.GoodSender, "bob@mx.test")
	subject, undated := daemontest.UniqueMessage(daemontest.Field{"Date", "-"})
	daemontest.SendMessage(t, conn, undated)
	m.Delivered(t, "bob", subject)
	conn.Must("2", "QUIT")
}
