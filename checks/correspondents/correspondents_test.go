package correspondents_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/correspondents"
	"milterd/headers"
)

const zone = `
example.net.               TXT  "v=spf1 ip4:192.0.2.0/24 -all"
wide.example.net.          TXT  "v=spf1 +all"
!TIMEOUT slow.example.net
10.100.51.198.in-addr.arpa. PTR mx.example.com.
mx.example.com.            A    198.51.100.10
11.100.51.198.in-addr.arpa. PTR dsl-198-51-100-11.example.com.
dsl-198-51-100-11.example.com. A 198.51.100.11
`

// site is a mail site with its clock. Its own network is 203.0.113.0/24.
type site struct {
	now   time.Time
	store *checktest.Store
	p     *checks.Pipeline
}

func newSite(t testing.TB) *site {
	t.Helper()
	return newSiteThatTrusts(t, checks.Trusted{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Authenticated: true})
}

func newSiteThatTrusts(t testing.TB, trusted checks.Trusted) *site {
	t.Helper()
	h := &site{now: checktest.Now}
	h.store = checktest.NewStore(func() time.Time { return h.now })
	env := checktest.Env(t, zone)
	env.Store = h.store
	h.p = checktest.Pipeline(t, checks.Options{Trusted: trusted},
		checks.Instance{Info: correspondents.Info, Check: checktest.Build[checks.NoSettings](t, correspondents.Info, env, nil)})
	return h
}

// mail is one message.
type mail struct {
	client, auth, from string
	to                 []string
	header             []headers.Field
	refused            bool // the MTA refuses the recipients
	aborted            bool // the end of the message never comes
}

// send runs the pipeline for a message. It returns the vouch for the last recipient, and the failures there.
func (h *site) send(m mail) (checks.Vouch, []checks.Failure) {
	ctx := context.Background()
	s := &checks.Session{ID: "test", Time: h.now, Client: netip.MustParseAddr(m.client), AuthUser: m.auth}
	run := h.p.NewRun(s)
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom} {
		s.Envelope.MailFrom = checks.ParseAddress(m.from)
		run.Judge(ctx, st)
	}
	var d checks.Decision
	for _, to := range m.to {
		rcpt := checks.Recipient{Address: checks.ParseAddress(to)}
		if m.refused {
			rcpt.Refused = "5.1.1"
		}
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
		d = run.Judge(ctx, checks.RcptTo)
	}
	s.Envelope.Header = m.header
	if !m.aborted {
		run.Observe(ctx, checks.Event{Kind: checks.Accepted})
	}
	return run.Request().Vouch(len(m.to) - 1), d.Failures
}

// out returns a message from inside.
func out(from string, to ...string) mail {
	return mail{client: "203.0.113.5", from: from, to: to}
}

// submitted returns a message from alice to bob with a field Auto-Submitted.
func submitted(value string) mail { return withField("auto-submitted", value) }

// withField returns a message from alice to bob with a field.
func withField(name, value string) mail {
	m := out("alice@example.org", "bob@example.net")
	m.header = []headers.Field{{Name: "Subject", Value: " hello"}, {Name: name, Value: value}}
	return m
}

func TestVouch(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	answer := mail{client: "192.0.2.7", from: "bob@example.net", to: []string{"alice@example.org"}}
	with := func(change func(*mail)) mail {
		m := answer
		change(&m)
		return m
	}
	for _, c := range []struct {
		name  string
		out   mail
		after time.Duration
		in    mail
		vouch bool
	}{
		{"an answer with SPF", out("alice@example.org", "bob@example.net"), day, answer, true},
		{"written by an authenticated user", mail{client: "192.0.2.200", auth: "alice", from: "alice@example.org", to: []string{"bob@example.net"}}, day, answer, true},
		{"an answer to one of several", out("alice@example.org", "carol@example.net", "bob@example.net", "u@example.org"), day, answer, true},
		{"in other case, with BATV and extensions", out("Alice+news@EXAMPLE.org", "Bob@Example.net"), day,
			with(func(m *mail) { m.from, m.to = "prvs=1234abcdef=bob+list@example.net", []string{"ALICE@example.org"} }), true},
		{"an answer from a confirmed name under the domain", out("alice@example.org", "bob@example.com"), day,
			with(func(m *mail) { m.client, m.from = "198.51.100.10", "bob@example.com" }), true},
		{"after 59 days", out("alice@example.org", "bob@example.net"), 59 * day, answer, true},
		{"after 60 days", out("alice@example.org", "bob@example.net"), 60 * day, answer, false},

		{"to a message of a program", submitted(" auto-generated"), day, answer, true},
		{"to a message that is not automatic", submitted(" no"), day, answer, true},

		{"after a vacation notice", submitted(" auto-replied"), day, answer, false},
		{"after an automatic answer with a parameter", submitted("\n Auto-Replied; owner-email=\"a@example.org\""), day, answer, false},
		{"after the vacation notice of Dovecot or Cyrus", submitted(" auto-replied (vacation)"), day, answer, false},
		{"after an automatic answer with a comment beside it", submitted(" auto-replied(vacation)"), day, answer, false},
		{"after a read receipt", withField("Content-Type", " Multipart/Report; report-type=disposition-notification;\n boundary=x"), day, answer, false},
		{"to a message with an attachment", withField("Content-Type", " multipart/mixed; boundary=x"), day, answer, true},
		{"an answer of another address", out("alice@example.org", "carol@example.net"), day, answer, false},
		{"an answer to another user", out("carol@example.org", "bob@example.net"), day, answer, false},
		{"SPF fails", out("alice@example.org", "bob@example.net"), day, with(func(m *mail) { m.client = "198.51.100.99" }), false},
		{"SPF is too wide", out("alice@example.org", "bob@wide.example.net"), day, with(func(m *mail) { m.from = "bob@wide.example.net" }), false},
		{"a name that spells the address", out("alice@example.org", "bob@example.com"), day,
			with(func(m *mail) { m.client, m.from = "198.51.100.11", "bob@example.com" }), false},
		{"a bounce", out("alice@example.org", "bob@example.net"), day, with(func(m *mail) { m.from = "<>" }), false},

		{"written in an untrusted session", mail{client: "192.0.2.200", from: "alice@example.org", to: []string{"bob@example.net"}}, day, answer, false},
		{"written with an outside sender", out("alice@example.com", "bob@example.net"), day, with(func(m *mail) { m.to = []string{"alice@example.com"} }), false},
		{"a bounce from inside", out("<>", "bob@example.net"), day, with(func(m *mail) { m.to = []string{"<>"} }), false},
		{"forwarded with SRS", out("SRS0=HH=TT=example.com=x@example.org", "bob@example.net"), day,
			with(func(m *mail) { m.to = []string{"SRS0=HH=TT=example.com=x@example.org"} }), false},
		{"refused by the MTA", mail{client: "203.0.113.5", from: "alice@example.org", to: []string{"bob@example.net"}, refused: true}, day, answer, false},
		{"never sent", mail{client: "203.0.113.5", from: "alice@example.org", to: []string{"bob@example.net"}, aborted: true}, day, answer, false},
		{"within the site", out("alice@example.org", "bob@example.org"), day, with(func(m *mail) { m.from = "bob@example.org" }), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t)
			h.send(c.out)
			h.now = h.now.Add(c.after)
			got, failures := h.send(c.in)
			if (got == checks.SkipDelays) != c.vouch || len(failures) != 0 {
				t.Errorf("vouch %v, failures %v", got, failures)
			}
		})
	}
}

// TestUsersAreNotTrusted tests that what an authenticated user writes counts if such users are checked as others.
func TestUsersAreNotTrusted(t *testing.T) {
	t.Parallel()
	h := newSiteThatTrusts(t, checks.Trusted{})
	h.send(mail{client: "192.0.2.200", auth: "alice", from: "alice@example.org", to: []string{"bob@example.net"}})
	if v, _ := h.send(mail{client: "192.0.2.7", from: "bob@example.net", to: []string{"alice@example.org"}}); v != checks.SkipDelays {
		t.Error("no vouch")
	}
}

func TestEachMessageExtendsThePair(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	for range 3 {
		h.send(out("alice@example.org", "bob@example.net"))
		h.now = h.now.Add(50 * 24 * time.Hour)
		if v, _ := h.send(mail{client: "192.0.2.7", from: "bob@example.net", to: []string{"alice@example.org"}}); v != checks.SkipDelays {
			t.Fatal("no vouch")
		}
	}
}

func TestRecipientsStoredAreLimited(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	var to []string
	for i := range 500 {
		to = append(to, fmt.Sprintf("u%d@example.net", i))
	}
	h.send(out("news@example.org", to...))
	n := 0
	for range h.store.Scan(context.Background(), "correspondents:") {
		n++
	}
	if n != 50 {
		t.Errorf("%d pairs", n)
	}
}

func TestNoVouchIfDNSOrStoreFails(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	h.send(out("alice@example.org", "bob@slow.example.net", "bob@example.net"))
	v, failures := h.send(mail{client: "192.0.2.7", from: "bob@slow.example.net", to: []string{"alice@example.org"}})
	if v != checks.NoVouch || len(failures) != 1 {
		t.Errorf("slow DNS: %v, %v", v, failures)
	}
	h.store.Fail(errors.New("the store is down"))
	v, failures = h.send(mail{client: "192.0.2.7", from: "bob@example.net", to: []string{"alice@example.org"}})
	if v != checks.NoVouch || len(failures) != 1 {
		t.Errorf("store: %v, %v", v, failures)
	}
	h.send(out("alice@example.org", "carol@example.net")) // only logs the failure
}

func TestUnknownPairAsksNoDNS(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	c := checktest.Build[checks.NoSettings](t, correspondents.Info, env, nil)
	if vs, err := checktest.Ask(t, correspondents.Info, c, checktest.Session{Client: "192.0.2.7", MailFrom: "bob@example.net"}.Request(t)); len(vs) > 0 || err != nil {
		t.Error(vs, err)
	}
	if asked := rec.Asked(); len(asked) > 0 {
		t.Errorf("asked %q", asked)
	}
}

func BenchmarkCheck(b *testing.B) {
	env := checktest.Env(b, zone)
	c := checktest.Build[checks.NoSettings](b, correspondents.Info, env, nil)
	r := checktest.Session{Client: "192.0.2.7", MailFrom: "bob@example.net"}.Request(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Check(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}
