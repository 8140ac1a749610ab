package session

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/milter/records"
)

// recorded is a refusal of a recipient, whose record has these questions and answers in turn.
func recorded(rcpt string, asked ...string) records.Record {
	r := records.Record{
		Time: time.Date(2026, 11, 29, 12, 0, 0, 500, time.UTC), Session: "oo2f2hjqv5ct", Client: netip.MustParseAddr("192.0.2.9"),
		ClientName: "[192.0.2.9]", Helo: "mail.example.net", MailFrom: "alice@example.net", Rcpts: []string{rcpt},
		Action: "reject", Reason: "rdns-missing", Reply: "550 5.7.25 192.0.2.9 has no reverse DNS name",
		Outcomes: []records.Outcome{{Stage: "connect", Reason: "rdns-missing"}},
	}
	for i := 0; i < len(asked); i += 2 {
		r.Checks = append(r.Checks, records.Check{Asked: []records.Asked{{Question: asked[i], Answer: asked[i+1]}}})
	}
	return r
}

// TestFromRecords tests the text of session files.
func TestFromRecords(t *testing.T) {
	t.Parallel()
	withZone := func(zone, smtp string) string {
		return "Session oo2f2hjqv5ct of 2026-11-29T12:00:00Z.\n\n-- zone --\n" + zone + "\n-- smtp --\ntime 2026-11-29T12:00:00Z\nclient 192.0.2.9\n" +
			"C: EHLO mail.example.net\n" + smtp
	}
	const mail, refused = "C: MAIL FROM:<alice@example.net>\n", "# rdns-missing\nS: 550 5.7.25\n"
	later := recorded("carol@example.org")
	later.Time = later.Time.Add(time.Second)
	bounce := later
	bounce.MailFrom = ""
	atMail := recorded("")
	atMail.Rcpts = nil
	bounceAtMail := atMail
	bounceAtMail.MailFrom = ""
	watched := bounceAtMail
	watched.Reply = ""
	header := recorded("bob@example.org")
	header.Outcomes = []records.Outcome{{Stage: "header", Reason: "rdns-missing"}}
	accepted := records.Record{
		Time: later.Time, Client: later.Client, Helo: later.Helo, MailFrom: later.MailFrom, Rcpts: []string{"bob@example.org", "dora@example.org"}, Action: "accept",
	}
	message := func(queueID string, seconds int) records.Record {
		r := accepted
		r.QueueID, r.Time, r.Rcpts = queueID, r.Time.Add(time.Duration(seconds)*time.Second), []string{"bob@example.org"}
		return r
	}
	secondMail := atMail
	secondMail.Time = later.Time.Add(time.Second)
	sameTime := []records.Record{recorded("bob@example.org"), recorded("carol@example.org")}
	sameTime[0].Number, sameTime[1].Number = 2, 1
	cutAnswer := "10.0.0.1, 10.0.0.2, 192.0.2.1, " + strings.Repeat("192.0.2.33, ", 82) + "192.0.2.3"
	if len(cutAnswer) != records.MaxAnswer {
		t.Fatalf("an answer of %d bytes", len(cutAnswer))
	}
	for _, c := range []struct {
		name string
		list []records.Record
		want string
	}{
		{"the oldest decision first, recipients replaced", []records.Record{later, recorded("bob@example.org")}, withZone("",
			mail+"C: RCPT TO:<user1@example.org>\n"+refused+"C: RCPT TO:<user2@example.org>\n"+refused)},
		{"postmaster keeps the name", []records.Record{recorded("Postmaster@example.org")}, withZone("",
			mail+"C: RCPT TO:<Postmaster@example.org>\n"+refused)},
		{"another transaction", []records.Record{recorded("bob@example.org"), bounce}, withZone("",
			mail+"C: RCPT TO:<user1@example.org>\n"+refused+"C: RSET\nC: MAIL FROM:<>\nC: RCPT TO:<user2@example.org>\n"+refused)},
		{"decisions of the same time", sameTime, withZone("",
			mail+"C: RCPT TO:<user1@example.org>\n"+refused+"C: RCPT TO:<user2@example.org>\n"+refused)},
		{"a reason before MAIL", []records.Record{watched}, withZone("", "")},
		{"a refusal of MAIL", []records.Record{atMail, bounceAtMail}, withZone("", mail+refused+"C: MAIL FROM:<>\n"+refused)},
		{"a refusal of the second MAIL of a sender", []records.Record{secondMail, message("", 0), watched}, withZone("",
			mail+"C: RCPT TO:<user1@example.org>\nS: 250\nC: RSET\n"+mail+refused)},
		{"two messages of a sender", []records.Record{watched, message("4dDk1", 0), message("4dDk1", 1), message("4dDk2", 2)}, withZone("",
			strings.Repeat("C: RSET\n"+mail+"C: RCPT TO:<user1@example.org>\nS: 250\n", 2)[len("C: RSET\n"):])},
		{"a refusal of the message", []records.Record{header}, withZone("", mail+"C: RCPT TO:<user1@example.org>\nS: 250\n")},
		{"accepted recipients", []records.Record{recorded("bob@example.org"), accepted}, withZone("",
			mail+"C: RCPT TO:<user1@example.org>\n"+refused+"C: RCPT TO:<user1@example.org>\nS: 250\nC: RCPT TO:<user2@example.org>\nS: 250\n")},
		{"addresses", []records.Record{recorded("postmaster@x.test", "a.test. A", "192.0.2.1, 192.0.2.2")}, withZone(
			"a.test. A 192.0.2.1\na.test. A 192.0.2.2", mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"text with commas and quotes", []records.Record{recorded("postmaster@x.test", "a.test. TXT", `"a, \", b" "c", "d"`)}, withZone(
			`a.test. TXT "a, \", b" "c"`+"\n"+`a.test. TXT "d"`, mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"an alias", []records.Record{recorded("postmaster@x.test", "a.test. A", "CNAME b.test., CNAME c.test., 192.0.2.1", "a.test. AAAA", "CNAME b.test., no such record")},
			withZone("a.test. CNAME b.test.\nb.test. CNAME c.test.\nc.test. A 192.0.2.1", mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"no such name, no such record", []records.Record{recorded("postmaster@x.test", "a.test. A", "no such name", "b.test. A", "no such record")}, withZone(
			`b.test. HINFO "" ""`, mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"no answer", []records.Record{recorded("postmaster@x.test", "a.test. A", "no answer: time-out")}, withZone(
			"!SERVFAIL a.test. A", mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"a part of an answer", []records.Record{recorded("postmaster@x.test", "a.test. TXT", `"v=spf1 ip4:192.0`)}, withZone(
			`; incomplete: a.test. TXT "v=spf1 ip4:192.0`, mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"long records that were cut", []records.Record{recorded("postmaster@x.test", "a.test. TXT", `"a, b..., "c, d..., "e"`)}, withZone(
			`; incomplete: a.test. TXT "a, b...`+"\n"+`; incomplete: a.test. TXT "c, d...`+"\n"+`a.test. TXT "e"`, mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
		{"an answer that was cut within an address", []records.Record{recorded("postmaster@x.test", "a.test. A", cutAnswer)}, withZone(
			"a.test. A 10.0.0.1\na.test. A 10.0.0.2\na.test. A 192.0.2.1\na.test. A 192.0.2.33\n; incomplete: a.test. A 192.0.2.3", mail+"C: RCPT TO:<postmaster@x.test>\n"+refused)},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, _, err := FromRecords(c.list)
			if err != nil || string(text) != c.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, text, c.want)
			}
		})
	}
	hostile := recorded("bob@example.org")
	hostile.Helo = "mail\nS: 250"
	if _, _, err := FromRecords([]records.Record{hostile}); err == nil {
		t.Error("a HELO name with a line feed was written")
	}
	if _, _, err := FromRecords(nil); err == nil {
		t.Error("no records: no error")
	}
	if _, omitted, _ := FromRecords([]records.Record{header}); strings.Join(omitted, " ") != "rdns-missing" {
		t.Errorf("omitted: %q", omitted)
	}
}

// FuzzFromRecords tests that the file of any record can be read and has no line of the client's making.
func FuzzFromRecords(f *testing.F) {
	f.Add("mail.example.net", "alice@example.net", "bob@example.org", "a.test. TXT", `"v=spf1 -all"`)
	f.Add("-- smtp --", "a\"b@x", "<>", "a.test. A", "CNAME b.test., no such name")
	f.Add("x", "y", "z", "$INCLUDE /etc/passwd A", "\"\\")
	f.Fuzz(func(t *testing.T, helo, from, rcpt, question, answer string) {
		r := recorded(rcpt, question, answer)
		r.Helo, r.MailFrom = helo, from
		text, _, err := FromRecords([]records.Record{r})
		if err != nil {
			return
		}
		s, err := Parse("fuzz", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		steps := 5 // time, client, EHLO, MAIL, RCPT
		if helo == "" {
			steps--
		}
		if len(s.Steps) != steps || s.Config != nil || s.keys != nil {
			t.Errorf("%d steps\n%s", len(s.Steps), text)
		}
	})
}

// TestRecordedRepliesToMail tests that the file of a session with refusals of MAIL has the same replies when it is played.
func TestRecordedRepliesToMail(t *testing.T) {
	t.Parallel()
	accepted := recorded("bob@example.org")
	accepted.Reply, accepted.QueueID = "", "4dDk1"
	refused := accepted
	refused.Time, refused.Rcpts, refused.MailFrom = refused.Time.Add(time.Second), nil, "bad@example.net"
	refused.Reply, refused.QueueID = "550 5.7.1 no way", ""
	again := accepted
	again.Time = again.Time.Add(2 * time.Second)
	text, _, err := FromRecords([]records.Record{refused, accepted, again})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("x", text)
	if err != nil {
		t.Fatal(err)
	}
	if wrong, err := Play(s, &stub{}, nil); err != nil || len(wrong) > 0 || strings.Count(string(text), "\nS: ") != 3 {
		t.Errorf("%v, %v\n%s", err, wrong, text)
	}
}
