package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// policyWorld adds a client on a DNS list, which is nobody's fault but its own.
const policyWorld = daemontest.World + `
14.0.0.127.in-addr.arpa.    PTR   listed.client.test.
listed.client.test.         A     127.0.0.14
14.0.0.127.bl.test.         A     127.0.0.2
14.0.0.127.bl.test.         TXT   "spam seen from 127.0.0.14"
`

const listedClient, listedHelo = "127.0.0.14", "listed.client.test"

// TestPolicies: what is true of a client is refused to one recipient and not to another, through both mail servers. Bob has
// mail forwarded to him by the listed client, wants mail of hosts without a name, and of programs that forget the Date.
func TestPolicies(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, policyWorld)
	mtas := []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)}
	deny := filepath.Join(site.Dir, "deny")
	if err := os.WriteFile(deny, []byte("@denied.test why=\"never asked for it\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := daemontest.StrictConfig(site)
	c.Extra = `
policies:
  - recipients: [bob@mx.test]
    forwarders: [127.0.0.14]
    actions: {rdns-missing: watch, helo-mismatch: watch, date-missing: watch, sender-denied: watch}
checks:
  access: {deny: ["` + deny + `"]}
  dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}]}
`
	d := daemontest.StartInSite(t, site, c, mtas...)
	const alice, bob, postmaster = "alice@mx.test", "bob@mx.test", "postmaster@mx.test"
	for _, m := range mtas {
		for _, c := range []struct {
			name, source, helo, from string

			codes, saying, reason string // Alice's
		}{
			{"no name", "127.0.0.13", daemontest.GoodHelo, "a@none.test", "550 5.7.25", "127.0.0.13", "rdns-missing"},
			{"a listed forwarder", listedClient, listedHelo, daemontest.GoodSender, "550 5.7.1", "spam seen from 127.0.0.14", "dnsbl-listed"},
			{"forwarded mail", listedClient, listedHelo, "a@fail.test", "550 5.7.1", "spam seen from", "dnsbl-listed"},
			{"a denied sender", daemontest.GoodClient, daemontest.GoodHelo, "a@denied.test", "550 5.7.1", "never asked for it", "sender-denied"},
		} {
			t.Run(m.Name+"/"+c.name, func(t *testing.T) {
				b := &daemontest.MailServer{MTA: m, Site: site, Daemon: d}
				mark := d.Mark()
				conn := b.Connect(t, c.source, c.helo)
				conn.Must("2", "MAIL FROM:<"+c.from+">")
				daemontest.WantReply(t, conn.Cmd("RCPT TO:<"+alice+">"), c.codes, c.saying)
				conn.Must("2", "RCPT TO:<"+bob+">")
				daemontest.WantReply(t, conn.Cmd("RCPT TO:<"+alice+">"), c.codes, c.saying)
				d.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject", "reason": c.reason, "rcpt": alice, "client": c.source})
				b.Send(t, conn, "bob")
				// Whoever is refused can ask the postmaster why.
				daemontest.Envelope(conn, c.from, postmaster)
				b.Send(t, conn, "postmaster")
				conn.Must("2", "QUIT")
			})
		}
		t.Run(m.Name+"/header", func(t *testing.T) {
			b := &daemontest.MailServer{MTA: m, Site: site, Daemon: d}
			conn := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
			daemontest.Envelope(conn, daemontest.GoodSender, alice)
			daemontest.WantReply(t, conn.Cmd("RCPT TO:<"+bob+">"), "452 4.5.3", bob)
			_, undated := daemontest.UniqueMessage(daemontest.Field{"Date", "-"})
			daemontest.WantReply(t, conn.Data(undated), "550 5.6.0", "Date")
			// The MTA of a sender comes back for those who were told to wait.
			daemontest.Envelope(conn, daemontest.GoodSender, bob)
			subject, undated := daemontest.UniqueMessage(daemontest.Field{"Date", "-"})
			if r := conn.Data(undated); r.Code != "250" {
				t.Fatalf("Bob's message: %s", r)
			}
			b.Delivered(t, "bob", subject)
			conn.Must("2", "QUIT")
		})
	}
}
