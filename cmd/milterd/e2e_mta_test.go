package main_test

import (
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// TestMTAs drives a real Postfix and a real Sendmail, both asking one milterd with the profile strict.
func TestMTAs(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, daemontest.World)
	mtas := []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)}
	strict := daemontest.StrictConfig(site)
	d := daemontest.StartInSite(t, site, strict, mtas...)
	for _, m := range mtas {
		b := &daemontest.MailServer{MTA: m, Site: site, Daemon: d}
		t.Run(m.Name, func(t *testing.T) {
			for _, c := range refusals {
				t.Run(c.name, func(t *testing.T) { c.test(t, b) })
			}
			for _, c := range behaviours {
				t.Run(c.name, func(t *testing.T) { c.test(t, b) })
			}
		})
	}
	d.Stop(t)
	// These end the daemon, or change it: each has its own.
	for _, m := range mtas {
		for _, c := range lives {
			t.Run(m.Name+" and "+c.name, func(t *testing.T) {
				c.test(t, &daemontest.MailServer{MTA: m, Site: site, Daemon: daemontest.StartInSite(t, site, strict, m)})
			})
		}
	}
}

// refusal is mail from a client that one thing is wrong with.
type refusal struct {
	name   string
	source string
	helo   string
	from   string
	header []daemontest.Field // bad ones; none: RCPT is refused, else the dot

	codes, saying        string
	check, reason, stage string
}

var refusals = []refusal{
	{
		name: "unknown name in HELO", source: daemontest.GoodClient, helo: "nowhere.client.test", from: daemontest.GoodSender,
		codes: "550 5.7.1", saying: "nowhere.client.test",
		check: "helo", reason: "helo-unresolvable", stage: "helo",
	},
	{
		name: "missing PTR", source: "127.0.0.13", helo: daemontest.GoodHelo, from: daemontest.GoodSender,
		codes: "550 5.7.25", saying: "127.0.0.13",
		check: "rdns", reason: "rdns-missing", stage: "connect",
	},
	{
		name: "spoofed sender", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: "boss@mx.test",
		codes: "550 5.7.1", saying: "mx.test",
		check: "sender", reason: "sender-own-domain", stage: "mail",
	},
	{
		name: "SPF fail", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: "a@fail.test",
		codes: "550 5.7.23", saying: "127.0.0.10 is no server of fail.test",
		check: "spf", reason: "spf-fail", stage: "mail",
	},
	{
		name: "bad Date", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: daemontest.GoodSender,
		header: []daemontest.Field{{"Date", "Sat, 33 Nov 2026 12:00:00 +0000"}},
		codes:  "550 5.6.0", saying: "33 Nov 2026",
		check: "msgfields", reason: "date-invalid", stage: "header",
	},
	{
		name: "missing From", source: daemontest.GoodClient, helo: daemontest.GoodHelo, from: daemontest.GoodSender,
		header: []daemontest.Field{{"From", "-"}},
		codes:  "550 5.6.0", saying: "From",
		check: "msgfields", reason: "from-missing", stage: "header",
	},
}

func (c refusal) test(t *testing.T, b *daemontest.MailServer) {
	mark := b.Daemon.Mark()
	conn := b.Connect(t, c.source, c.helo)
	conn.Must("2", "MAIL FROM:<"+c.from+">")
	r := conn.Cmd("RCPT TO:<alice@mx.test>")
	if len(c.header) > 0 {
		if r.Code != "250" {
			t.Fatalf("RCPT: %s, want the refusal after the dot", r)
		}
		_, msg := daemontest.UniqueMessage(c.header...)
		r = conn.Data(msg)
	}
	daemontest.WantReply(t, r, c.codes, c.saying)
	e := b.Daemon.AwaitEntry(t, mark, daemontest.Entry{
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
	// Postfix gives a queue id only once a recipient was accepted.
	if e["queue_id"] == "" && (b.Name == "sendmail" || len(c.header) > 0) {
		t.Errorf("no queue id: %v", e)
	}
	if said := strings.TrimPrefix(e["text"], c.codes[4:]+" "); !strings.HasSuffix(r.Text, said) {
		t.Errorf("logged %q, answered %q", said, r.Text)
	}
	// What was refused is not held against what follows from the same client, if it was not the client's own fault.
	if c.stage == "mail" || c.stage == "header" {
		conn.Must("2", "RSET")
		b.Deliver(t, conn, daemontest.GoodSender, "alice")
	}
}
