package mtacases

import (
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
)

// refusal is a session that milterd refuses.
type refusal struct {
	name         string
	source, helo string
	from         string
	header       []daemontest.Field // changes; if there are some, the message is refused and not the recipient

	codes, text          string // of the reply
	check, reason, stage string // in the log
}

var refusals = []refusal{
	{
		name: "unknown name in HELO", source: daemontest.GoodClient, helo: "nowhere.client.test", from: daemontest.GoodSender,
		codes: "550 5.7.1", text: "nowhere.client.test",
		check: "helo", reason: "helo-unresolvable", stage: "helo",
	},
	{
		name: "missing PTR", source: "127.0.0.13", helo: daemontest.GoodHelo, from: daemontest.GoodSender,
		codes: "550 5.7.25", text: "127.0.0.13",
		check: "rdns", reason: "rdns-missing", stage: "connect",
	},
	{
		name: "spoofed sender", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: "boss@mx.test",
		codes: "550 5.7.1", text: "mx.test",
		check: "sender", reason: "sender-own-domain", stage: "mail",
	},
	{
		name: "SPF of a domain that sends no mail", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: "a@nomail.test",
		codes: "550 5.7.23", text: "127.0.0.10 is no server of nomail.test",
		check: "spf", reason: "spf-no-mail", stage: "mail",
	},
	{
		name: "SPF fail", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: "a@fail.test",
		header: []daemontest.Field{{"X-Signature", "none"}},
		codes:  "550 5.7.23", text: "127.0.0.10 is no server of fail.test",
		check: "spf", reason: "spf-fail", stage: "message",
	},
	{
		name: "bad Date", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: daemontest.GoodSender,
		header: []daemontest.Field{{"Date", "Sat, 33 Nov 2026 12:00:00 +0000"}},
		codes:  "550 5.6.0", text: "33 Nov 2026",
		check: "msgfields", reason: "date-invalid", stage: "header",
	},
	{
		name: "missing From", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: daemontest.GoodSender,
		header: []daemontest.Field{{"From", "-"}},
		codes:  "550 5.6.0", text: "From",
		check: "msgfields", reason: "from-missing", stage: "header",
	},
	{
		name: "forged author", source: daemontest.GoodClient, helo: daemontest.GoodHelo,
		header: []daemontest.Field{{"From", "Al <al@bank.test>"}},
		codes:  "550 5.7.1", text: "DMARC policy of bank.test",
		check: "dmarc", reason: "dmarc-reject", stage: "message",
	},
	{
		name: "forged author with a percent sign", source: daemontest.GoodClient, helo: daemontest.GoodHelo,
		header: []daemontest.Field{{"From", "Al <al%bank.test>"}},
		codes:  "550 5.7.1", text: "DMARC policy of bank.test",
		check: "dmarc", reason: "dmarc-reject", stage: "message",
	},
	{
		name: "forged author with a bang path", source: daemontest.GoodClient, helo: daemontest.GoodHelo,
		header: []daemontest.Field{{"From", "bank.test!al, a@sender.test"}},
		codes:  "550 5.7.1", text: "DMARC policy of bank.test",
		check: "dmarc", reason: "dmarc-reject", stage: "message",
	},
	{
		name: "forged author of UUCP", source: daemontest.GoodClient, helo: daemontest.GoodHelo,
		header: []daemontest.Field{{"From", "al@bank.test.UUCP"}},
		codes:  "550 5.7.1", text: "DMARC policy of bank.test",
		check: "dmarc", reason: "dmarc-reject", stage: "message",
	},
}

// forgedZone has a domain that asks receivers to refuse forged mail. Sendmail delivers the forms that the refusals have as al@bank.test.
const forgedZone = `
_dmarc.bank.test. TXT "v=DMARC1; p=reject"
`

func testRefusals(t *testing.T, m *daemontest.MailServer) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) { c.test(t, m) })
	}
}

// test tests that the client receives the reply and that the log has it.
func (c refusal) test(t *testing.T, m *daemontest.MailServer) {
	mark := m.Daemon.Mark()
	conn := m.Connect(t, c.source, c.helo)
	conn.Must("2", "MAIL FROM:<"+c.from+">")
	r := conn.Cmd("RCPT TO:<alice@mx.test>")
	if len(c.header) > 0 {
		if r.Code != "250" {
			t.Fatalf("RCPT: %s, want the refusal after the message", r)
		}
		_, msg := daemontest.UniqueMessage(c.header...)
		r = conn.Data(msg)
	}
	daemontest.WantReply(t, r, c.codes, c.text)
	e := m.Daemon.AwaitEntry(t, mark, daemontest.Entry{
		"msg": "reject", "action": "reject",
		"client": c.source, "helo": c.helo, "mail_from": c.from, "rcpt": "alice@mx.test",
		"check": c.check, "reason": c.reason, "stage": c.stage, "code": c.codes[:3],
	})
	for _, f := range daemontest.DecisionFields {
		if _, ok := e[f]; !ok {
			t.Errorf("log line lacks %s: %v", f, e)
		}
	}
	if c.source == daemontest.GoodClient && e["client_name"] != daemontest.GoodHelo {
		t.Errorf("client_name is %q", e["client_name"])
	}
	// Postfix assigns a queue ID when it accepts the first recipient.
	if e["queue_id"] == "" && (m.Name == "sendmail" || len(c.header) > 0) {
		t.Errorf("no queue ID: %v", e)
	}
	if text := strings.TrimPrefix(e["text"], c.codes[4:]+" "); !strings.HasSuffix(r.Text, text) {
		t.Errorf("logged %q, replied %q", text, r.Text)
	}
	// A refusal of a sender or a message does not affect the next transaction.
	if c.stage == "mail" || c.stage == "header" || c.stage == "message" {
		conn.Must("2", "RSET")
		m.Deliver(t, conn, daemontest.GoodSender, "alice")
	}
}
