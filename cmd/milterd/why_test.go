package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
)

// TestRepairedLiftsBlock tests that a repaired refusal lifts a block for too-many-errors alone, if it is the first, and that the
// next one is as long as the second.
func TestRepairedLiftsBlock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, block string
		lifted      bool
	}{
		{"no block", "", false},
		{"errors", `"inforce":true,"level":1,"spans":[{"limit":"too-many-errors","since":%s,"until":%u}]`, true},
		{"errors, the second block", `"inforce":true,"level":2,"spans":[{"limit":"too-many-errors","since":%s,"until":%u}]`, false},
		{"errors, nothing refused yet", `"level":1,"spans":[{"limit":"too-many-errors","since":%s,"until":%u}]`, false},
		{"errors and bad recipients", `"inforce":true,"level":1,"spans":[{"limit":"too-many-errors","since":%s,"until":%u},{"limit":"too-many-bad-recipients","since":%s,"until":%u}]`, false},
		{"bad recipients", `"inforce":true,"level":1,"spans":[{"limit":"too-many-bad-recipients","since":%s,"until":%u}]`, false},
		{"by the operator", `"inforce":true,"spans":[{"since":%s,"until":%u}]`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newRecordingDaemon(t, nil)
			now := time.Now()
			unix := func(at time.Time) string { b, _ := json.Marshal(at.Unix()); return string(b) }
			if c.block != "" {
				block := `{"v":1,` + strings.NewReplacer("%s", unix(now), "%u", unix(now.Add(time.Hour))).Replace(c.block) + "}"
				err := errors.Join(d.store.Put(t.Context(), "counters:block:192.0.2.9/32", []byte(block), time.Hour),
					d.store.Put(t.Context(), "counters:level:192.0.2.9/32", []byte("1"), time.Hour))
				if err != nil {
					t.Fatal(err)
				}
			}
			lifted, err := tester{daemon: d}.Repaired(t.Context(), records.Record{Client: netip.MustParseAddr("192.0.2.9")})
			if err != nil || lifted != c.lifted {
				t.Errorf("lifted %v, %v", lifted, err)
			}
			left, err := counters.Blocks(t.Context(), d.store, now)
			if err != nil || (len(left) == 0) != (c.lifted || c.block == "") {
				t.Errorf("blocks after it: %+v, %v", left, err)
			}
			if _, keepsLevel, err := d.store.Get(t.Context(), "counters:level:192.0.2.9/32"); err != nil || keepsLevel != (c.block != "") {
				t.Errorf("level kept: %v, %v", keepsLevel, err)
			}
		})
	}
	t.Run("no client", func(t *testing.T) {
		t.Parallel()
		if lifted, err := (tester{daemon: newRecordingDaemon(t, nil)}).Repaired(t.Context(), records.Record{}); lifted || err != nil {
			t.Errorf("lifted %v, %v", lifted, err)
		}
	})
}

// TestSenderBlockIsShown tests that the blocks of a good sender are listed, explained by why, and removed.
func TestSenderBlockIsShown(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	ctx, now := t.Context(), time.Now()
	for _, sender := range []string{"example.com", "example.net"} {
		block := fmt.Sprintf(`{"v":1,"inforce":true,"level":1,"spans":[{"limit":"too-many-errors","since":%d,"until":%d}]}`, now.Unix(), now.Add(time.Hour).Unix())
		if err := d.store.Put(ctx, "counters:block:192.0.2.9/32 "+sender, []byte(block), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	list, err := d.listBlocks(ctx, noArgs{})
	showBlocks(&out, list)
	if err != nil || !strings.Contains(out.String(), "192.0.2.9\t") || !strings.Contains(out.String(), "refused mails and recipients in mail from example.com\n") {
		t.Errorf("block list: %v\n%s", err, out.String())
	}
	for what, lines := range map[string]int{"192.0.2.9": 2, "eve@mail.example.com": 1, "example.net": 1} {
		k, err := d.why(ctx, whyArgs{What: what})
		out.Reset()
		showWhy(&out, k)
		if n := strings.Count(out.String(), "milterd block remove 192.0.2.9"); err != nil || n != lines {
			t.Errorf("why %s: %v, %d blocks\n%s", what, err, n, out.String())
		}
	}
	if lifted, err := (tester{daemon: d}).Repaired(ctx, records.Record{Client: netip.MustParseAddr("192.0.2.9"), MailFrom: "eve@mail.example.com"}); !lifted || err != nil {
		t.Errorf("repaired: %v, %v", lifted, err)
	}
	if got, err := d.removeBlock(ctx, removeArgs{What: "192.0.2.9"}); got.Removed != 1 || err != nil {
		t.Errorf("removed: %+v, %v", got, err)
	}
	if list, err := d.listBlocks(ctx, noArgs{}); len(list) > 0 || err != nil {
		t.Errorf("after it: %+v, %v", list, err)
	}
}

// decide has a daemon record a decision about a recipient, to which one reason applied. It returns the link of the reply.
func decide(d *daemon, s *checks.Session, r *checks.Reason, a checks.Action, detail map[string]string) (link string) {
	o := checks.Outcome{Check: "x", Reason: r, Action: a, Reply: checks.Reply{Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Text: "text of " + r.ID}, Detail: detail}
	decision := checks.Decision{Outcomes: []checks.Outcome{o}, Results: []checks.Result{{Check: "x", Outcomes: []checks.Outcome{o}}}}
	if a == checks.Reject {
		decision.Reply, decision.Reason, decision.Action = &o.Reply, r, a
		decision.Record, link = d.link(r, s.Time)
	}
	d.journal().Decided(checks.NewRequest(s, checks.RcptTo), decision)
	return link
}

// TestWhySays tests what the command why says of refused mail, of a user over a limit, of an accepted message and of a mailbox of
// this site.
func TestWhySays(t *testing.T) {
	t.Parallel()
	reasons := map[string]*checks.Reason{}
	for _, r := range all.Reasons() {
		reasons[r.ID] = r
	}
	noPTR, rateOfUser := reasons["rdns-missing"], reasons["user-rate"]
	d, _ := serveOperatorPages(t, func(c *config.Config) { c.LocalDomains = []string{"example.org"} })
	session := func(id, client, from string) *checks.Session {
		s := &checks.Session{ID: id, Time: time.Now(), Client: netip.MustParseAddr(client)}
		s.Envelope.MailFrom = checks.ParseAddress(from)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
		return s
	}
	link := decide(d, session("aaaaaaaaaaaa", "192.0.2.7", "ann@example.com"), noPTR, checks.Reject, nil)
	decide(d, session("bbbbbbbbbbbb", "192.0.2.8", "eve@example.org"), rateOfUser, checks.Reject, map[string]string{"user": "eve"})
	good := session("cccccccccccc", "192.0.2.9", "carol@example.net")
	decide(d, good, noPTR, checks.Watch, nil)
	decide(d, good, rateOfUser, checks.Watch, nil)
	good.Envelope.QueueID = "Q1"
	d.journal().Accepted(checks.NewRequest(good, checks.EndOfMessage))
	good.Envelope.QueueID = "Q2"
	d.journal().Accepted(checks.NewRequest(good, checks.EndOfMessage))
	decide(d, session("dddddddddddd", "192.0.2.10", "owner=example.com@lists.example.net"), noPTR, checks.Reject, nil)
	decide(d, session("eeeeeeeeeeee", "192.0.2.11", ""), noPTR, checks.Reject, nil)
	decide(d, session("ffffffffffff", "192.0.2.12", "eve@example.org"), rateOfUser, checks.Reject, map[string]string{"user": "eve.smith"})
	decide(d, session("gggggggggggg", "192.0.2.13", "news@xn--bcher-kva.example"), noPTR, checks.Reject, nil)
	decide(d, session("hhhhhhhhhhhh", "192.0.2.14", "hans@example.org"), rateOfUser, checks.Reject, map[string]string{"user": "müller"})
	decide(d, session("iiiiiiiiiiii", "192.0.2.15", "hans@example.org"), rateOfUser, checks.Reject, map[string]string{"user": "hans.müller"})
	awaitRecords(t, d, 12)

	show := func(what, rcpt string) string {
		k, err := d.why(t.Context(), whyArgs{What: what, Rcpt: rcpt})
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		var out strings.Builder
		showWhy(&out, k)
		return out.String()
	}
	for _, sender := range []string{"bücher.example", "@bücher.example", "news@bücher.example"} {
		if list, err := d.findRecords(t.Context(), logArgs{Sender: sender}); err != nil || len(list) != 1 {
			t.Errorf("log of %s: %d records, %v", sender, len(list), err)
		}
	}
	for what, texts := range map[string][]string{
		"aaaaaaaaaaaa":                    {"To answer the sender: " + noPTR.Remedy, "The sender's page: " + link},
		"ann@example.com bob@example.org": {"allow 192.0.2.7; milterd", "allow ann@example.com, if SPF passes; milterd"},
		"example.com":                     {"access allow @example.com, if SPF passes; milterd access deny @example.com", "access deny example.com, for a host"},
		"192.0.2.7/24":                    {"client\t192.0.2.0/24\n", "access deny 192.0.2.0/24\n"},
		"eve":                             {"user\teve", "192.0.2.8"},
		"eve.smith":                       {"user\teve.smith\n", "192.0.2.12"},
		"müller":                          {"user\tm??ller\n", "192.0.2.14"},
		"hans.müller":                     {"user\thans.m??ller\n", "192.0.2.15"},
		"@bücher.example":                 {"domain\txn--bcher-kva.example\n", "192.0.2.13"},
		"@example.com":                    {"domain\texample.com\n", "access deny example.com, for a host"},
		"bücher.example":                  {"domain\txn--bcher-kva.example\n", "192.0.2.13", "evidence\txn--bcher-kva.example is"},
		"cccccccccccc":                    {"accept", noPTR.ID + "\twatch", rateOfUser.ID + "\twatch", "x\tconnect: " + noPTR.ID},
		"Q1":                              {"message\tQ1", "block add 192.0.2.9", "accept", noPTR.ID + "\twatch", rateOfUser.ID + "\twatch", "queue id\tQ1"},
		"Q2":                              {"message\tQ2", "queue id\tQ2"},

		"bob@example.org":    {"mailbox\tbob@example.org\n\n"},
		"<>":                 {"mailbox\t<>\n\n"},
		"<> bob@example.org": {"access deny 192.0.2.11\nblock\t"},

		"owner=example.com@lists.example.net": {"mailbox\towner=", "192.0.2.10"}, // no link, in spite of "r="
	} {
		who, rcpt, _ := strings.Cut(what, " ")
		out := show(who, rcpt)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("%s: no %q in\n%s", what, text, out)
			}
		}
	}
}

// TestWhyOfMessageAlone tests that an accepted message is not shown as refused if an earlier transaction of its session was.
func TestWhyOfMessageAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, from string // reverse-path of the refused transaction
		listed     bool   // whether it is listed: nothing tells it from a refused recipient of the message
	}{
		{"another sender", "eve@example.com", false},
		{"null reverse-path", "", false},
		{"the same sender", "carol@example.net", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, _ := serveOperatorPages(t, nil)
			s := &checks.Session{ID: "cccccccccccc", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9")}
			s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress(c.from), Rcpts: []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}}
			decide(d, s, missingPTR, checks.Reject, nil)
			s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("carol@example.net"), Rcpts: []checks.Recipient{{Address: checks.ParseAddress("dave@example.org")}}}
			s.Envelope.QueueID = "Q1"
			d.journal().Accepted(checks.NewRequest(s, checks.EndOfMessage))
			awaitRecords(t, d, 2)

			k, err := d.why(t.Context(), whyArgs{What: "Q1"})
			if err != nil || k.Kind != "message" || k.Decision == nil || k.Decision.Action != records.Accept || len(k.Decision.Outcomes) > 0 {
				t.Errorf("%+v, %v", k.Decision, err)
			}
			if want := map[bool]int{false: 1, true: 2}[c.listed]; len(k.Decisions) != want {
				t.Errorf("%d decisions, want %d", len(k.Decisions), want)
			}
			if k, err = d.why(t.Context(), whyArgs{What: s.ID}); err != nil || k.Decision == nil || k.Decision.Action != checks.Reject.String() {
				t.Errorf("session: %+v, %v", k.Decision, err)
			}
		})
	}
}

// TestWhyOfDamagedRecord tests a queue id whose record has a trace that cannot be read.
func TestWhyOfDamagedRecord(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	s := &checks.Session{ID: "cccccccccccc", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9")}
	s.Envelope.QueueID = "Q1"
	decide(d, s, missingPTR, checks.Watch, nil)
	awaitRecords(t, d, 1)
	const part = "records:part:1"
	packed, ok, err := d.store.Get(t.Context(), part)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	text, err := s2.Decode(nil, packed)
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(string(text), "\n[", "\n{", 1)
	if damaged == string(text) {
		t.Fatalf("no trace in %s", text)
	}
	if err := d.store.Put(t.Context(), part, s2.Encode(nil, []byte(damaged)), time.Hour); err != nil {
		t.Fatal(err)
	}
	if k, err := d.why(t.Context(), whyArgs{What: "Q1"}); err == nil || !strings.Contains(err.Error(), "nothing is known of Q1") {
		t.Errorf("%+v, %v", k, err)
	}
}

// TestWhyOfUnknown tests the errors for what is a reason, and for what nothing is known of.
func TestWhyOfUnknown(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	for what, want := range map[string]string{
		"spf-fail":    "milterd log --reason spf-fail",
		"nobody":      "nothing is known of nobody",
		"<>":          "nothing is known of <>",
		"9D3659C6894": "nothing is known of 9D3659C6894",
	} {
		if _, err := d.why(t.Context(), whyArgs{What: what}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
}

// TestShowGreylist tests what is shown of clients that greylisting knows.
func TestShowGreylist(t *testing.T) {
	t.Parallel()
	k := knowledge{}
	k.Clients = []greylist.Client{{Identity: "example.net", Passes: 2}, {Identity: "192.0.2.9", Allowed: true}}
	k.Greylisted = len(k.Clients)
	var out strings.Builder
	showGreylist(&out, k, "192.0.2.9")
	want := "greylist\texample.net passed 2 times\tmilterd greylist forget 192.0.2.9\n" +
		"greylist\t192.0.2.9 is allowed by milterd greylist allow\tmilterd greylist forget 192.0.2.9\n"
	if out.String() != want {
		t.Errorf("got %s", out.String())
	}
}

// TestKindOf tests what kind of subject a word is, alone and with a recipient.
func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, alone, withRcpt string }{ // empty: an error
		{"192.0.2.9", "client", "client"},
		{"2001:db8::/32", "client", "client"},
		{"192.0.2.9/99", "", ""},
		{"alice@example.net", "mailbox", "sender"},
		{"alice/work@example.net", "mailbox", "sender"},
		{"<>", "mailbox", "sender"},
		{"example.net", "domain", "sender"},
		{"oo2f2hjqv5ct", "session", "sender"},
		{"alice", "user", "sender"},
	} {
		for rcpt, want := range map[string]string{"": c.alone, "bob@example.org": c.withRcpt} {
			kind, queries, err := kindOf(c.what, rcpt)
			if (err != nil) != (want == "") || err == nil && (kind != want || queries[0].Rcpt != rcpt) {
				t.Errorf("%s %s: %s, %+v, %v, want %s", c.what, rcpt, kind, queries, err, want)
			}
		}
	}
}
