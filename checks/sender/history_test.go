package sender_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/sender"
	"milterd/headers"
)

const historyZone = `
example.net.                 MX    10 mx.example.net.
example.net.                 TXT   "v=spf1 ip4:198.51.100.0/24 -all"
mx.example.net.              A     192.31.196.10
nospf.example.net.           MX    10 mx.example.net.
80.2.0.192.in-addr.arpa.     PTR   out.nospf.example.net.
out.nospf.example.net.       A     192.0.2.80
example.org.                 MX    10 mx.example.net.
!TIMEOUT slowspf.example.net TXT
slowspf.example.net.         MX    10 mx.example.net.
`

// site is a site with the check. The test sets its clock.
type site struct {
	check checks.Check
	env   checks.Env
	now   time.Time
}

func newSite(t *testing.T, zone string, registry checks.Registry, change func(*sender.Settings)) *site {
	t.Helper()
	st := &site{env: checktest.Env(t, zone), now: checktest.Now}
	st.env.Store = checktest.NewStore(func() time.Time { return st.now })
	st.env.Registry = registry
	st.check = checktest.Build(t, sender.Info, st.env, change)
	return st
}

// mail checks a mail and observes events of it. It returns the reasons of the check.
func (st *site) mail(t *testing.T, d checktest.Session, events ...checks.Event) []string {
	t.Helper()
	d.Time = st.now
	r := d.Request(t)
	vs, err := checktest.Ask(t, sender.Info, st.check, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		st.check.(checks.Observer).Observe(t.Context(), r, e)
	}
	return checktest.IDs(vs)
}

// refused returns a refusal for a reason of this check, or for a reason of another check that counts in the history.
func refused(id string, code int) *checks.Event {
	r := &checks.Reason{ID: id}
	if i := slices.IndexFunc(sender.Info.Reasons, func(r *checks.Reason) bool { return r.ID == id }); i >= 0 {
		r = sender.Info.Reasons[i]
	}
	return &checks.Event{Kind: checks.Refused, Reason: r, Reply: checks.Reply{Code: code}}
}

var (
	delivered = checks.Event{Kind: checks.Accepted}
	listed    = *refused("rhsbl-listed", 550)
)

func few(c *sender.Settings) { c.History = 2 }

// TestHistory has three mails refused and checks the fourth.
func TestHistory(t *testing.T) {
	t.Parallel()
	owner := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}
	forger := checktest.Session{Client: "192.0.2.10", MailFrom: "a@example.net"}
	from := func(client, from string) checktest.Session { return checktest.Session{Client: client, MailFrom: from} }
	for _, test := range []struct {
		name         string
		before, next checktest.Session // an empty next is before
		refusal      *checks.Event     // nil: rhsbl-listed
		bad          bool
	}{
		{name: "the same sender", before: owner, bad: true},
		{name: "a sender without SPF from the same client", before: forger, bad: true},
		{name: "from another host in the SPF record", before: owner, next: from("198.51.100.200", "a@example.net"), bad: true},
		{name: "with other case", before: owner, next: from("198.51.100.1", "A@EXAMPLE.net"), bad: true},
		{name: "with another extension", before: owner, next: from("198.51.100.1", "a+17@example.net"), bad: true},
		{name: "a variable reverse-path", before: from("198.51.100.1", "bounce-12345@example.net"), next: from("198.51.100.1", "bounce-777@example.net"), bad: true},
		{name: "by a confirmed name under the domain", before: from("192.0.2.80", "a@nospf.example.net"), bad: true},
		{name: "an IPv6 client", before: from("2001:db8::1", "a@nospf.example.net"), next: from("2001:db8::2", "a@nospf.example.net"), bad: true},
		{name: "a client without address", before: from("", "a@nospf.example.net"), bad: true},

		{name: "the owner after a forger", before: forger, next: owner},
		{name: "a forger after the owner", before: owner, next: forger},
		{name: "the owner by name after a forger", before: from("192.0.2.10", "a@nospf.example.net"), next: from("192.0.2.80", "a@nospf.example.net")},
		{name: "another client without SPF", before: from("192.0.2.10", "a@nospf.example.net"), next: from("203.0.113.9", "a@nospf.example.net")},
		{name: "another sender", before: owner, next: from("198.51.100.1", "b@example.net")},
		{name: "the null reverse-path", before: from("198.51.100.1", "<>")},
		{name: "an address literal", before: from("198.51.100.1", "a@[198.51.100.1]")},
		{name: "a domain of this site", before: from("192.0.2.10", "a@example.org")},
		{name: "an authenticated user", before: checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net", Auth: "a"}},

		{name: "a listed client", before: owner, refusal: refused("dnsbl-listed", 550), bad: true},
		{name: "a forged sender", before: forger, refusal: refused("spf-fail", 550), bad: true},
		{name: "an unknown mailbox of the sender", before: owner, refusal: refused("callout-rejected", 550), bad: true},
		{name: "a bad header", before: owner, refusal: refused("date-invalid", 550), bad: true},
		{name: "greylisting", before: owner, refusal: refused("greylisted", 451)},
		{name: "a tempfail", before: owner, refusal: refused("rhsbl-listed", 450)},
		{name: "a reason that does not count", before: owner, refusal: &checks.Event{
			Kind: checks.Refused, Reason: &checks.Reason{ID: "rdns-missing", NotHistory: true}, Reply: checks.Reply{Code: 550},
		}},
		{name: "a domain without MX", before: owner, refusal: refused("sender-no-domain", 550)},
		{name: "sender-history", before: owner, refusal: refused("sender-history", 550)},
		{name: "domain-new", before: owner, refusal: refused("domain-new", 550)},
		{name: "an unknown recipient", before: owner, refusal: &checks.Event{Kind: checks.BadRecipient}},
		{name: "a reset", before: owner, refusal: &checks.Event{Kind: checks.Reset}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := newSite(t, historyZone, nil, few)
			next, refusal := test.next, test.refusal
			if next.MailFrom == "" {
				next = test.before
			}
			if refusal == nil {
				refusal = &listed
			}
			for range 3 {
				if slices.Contains(st.mail(t, test.before, *refusal), "sender-history") {
					t.Fatal("refused before the fourth mail")
				}
			}
			if got := slices.Contains(st.mail(t, next), "sender-history"); got != test.bad {
				t.Errorf("refused: %t, want %t", got, test.bad)
			}
		})
	}
}

func TestHistoryEnds(t *testing.T) {
	t.Parallel()
	owner := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}
	isBad := func(t *testing.T, st *site) bool { return slices.Contains(st.mail(t, owner), "sender-history") }
	bad := func(t *testing.T) *site {
		st := newSite(t, historyZone, nil, few)
		for range 3 {
			st.mail(t, owner, listed)
		}
		return st
	}
	t.Run("after a delivery", func(t *testing.T) {
		t.Parallel()
		st := bad(t)
		if !isBad(t, st) {
			t.Fatal("not refused before the delivery")
		}
		st.mail(t, owner, delivered)
		if isBad(t, st) {
			t.Error("refused after a delivery")
		}
	})
	t.Run("after the window", func(t *testing.T) {
		t.Parallel()
		st := bad(t)
		st.now = st.now.Add(7*24*time.Hour - time.Second)
		if !isBad(t, st) {
			t.Error("not refused at the end of the window")
		}
		st.now = st.now.Add(time.Second)
		if isBad(t, st) {
			t.Error("refused after the window")
		}
	})
	t.Run("not within the window of a delivery", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, historyZone, nil, few)
		st.mail(t, owner, delivered)
		st.now = st.now.Add(6 * 24 * time.Hour)
		st.mail(t, owner, delivered) // stored again, although the first is still known
		st.now = st.now.Add(6 * 24 * time.Hour)
		for range 3 {
			st.mail(t, owner, listed)
		}
		if isBad(t, st) {
			t.Error("the second delivery does not count")
		}
		st.now = st.now.Add(24 * time.Hour)
		if !isBad(t, st) {
			t.Error("the delivery counts longer than the window")
		}
	})
	t.Run("not after a delivery of a forger", func(t *testing.T) {
		t.Parallel()
		st := bad(t)
		st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: "a@example.net"}, delivered)
		if !isBad(t, st) {
			t.Error("not refused after the delivery of a forger")
		}
	})
}

func TestHistoryOfOneTransaction(t *testing.T) {
	t.Parallel()
	owner := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}
	st := newSite(t, historyZone, nil, few)
	st.mail(t, owner, slices.Repeat([]checks.Event{listed}, 100)...)
	if got := st.mail(t, owner); len(got) > 0 {
		t.Errorf("a hundred recipients count once, got %q", got)
	}
}

// TestHistoryWithoutCheck tests that mail for which the check did not run is not counted.
func TestHistoryWithoutCheck(t *testing.T) {
	t.Parallel()
	st := newSite(t, historyZone, nil, few)
	for range 3 {
		r := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}.Request(t)
		st.check.(checks.Observer).Observe(t.Context(), r, listed)
	}
	if got := st.mail(t, checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

func TestHistoryOff(t *testing.T) {
	t.Parallel()
	st := newSite(t, historyZone, nil, func(c *sender.Settings) { c.History = 0 })
	owner := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}
	for range 50 {
		st.mail(t, owner, listed)
	}
	if got := st.mail(t, owner); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	for range st.env.Store.Scan(t.Context(), "sender:") {
		t.Error("something was stored")
	}
}

func TestHistoryDetail(t *testing.T) {
	t.Parallel()
	owner := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}
	for window, want := range map[time.Duration]string{
		7 * 24 * time.Hour: "7 days", 24 * time.Hour: "1 day", 36 * time.Hour: "36 hours", time.Hour: "1 hour", 90 * time.Minute: "90 minutes", time.Minute: "1 minute",
	} {
		st := newSite(t, historyZone, nil, func(c *sender.Settings) { c.History, c.HistoryWindow = 2, window })
		for range 4 {
			st.mail(t, owner, listed)
		}
		vs, err := checktest.Ask(t, sender.Info, st.check, owner.Request(t))
		if err != nil || len(vs) != 1 || vs[0].Detail["refusals"] != "4" || vs[0].Detail["window"] != want {
			t.Errorf("got %v, %v, want 4 within %s", vs, err, want)
		}
	}
}

func TestHistoryWithoutAnswers(t *testing.T) {
	t.Parallel()
	t.Run("the DNS", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, historyZone, nil, few)
		for range 3 { // mail fails the test on an error
			st.mail(t, checktest.Session{Client: "198.51.100.1", MailFrom: "a@slowspf.example.net"}, listed)
		}
	})
	t.Run("the store", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, historyZone, nil, few)
		st.env.Store.(*checktest.Store).Fail(errors.New("outage"))
		r := checktest.Session{Client: "198.51.100.1", MailFrom: "a@example.net"}.Request(t)
		if vs, err := checktest.Ask(t, sender.Info, st.check, r); len(vs) > 0 || err == nil {
			t.Errorf("got %q, %v", checktest.IDs(vs), err)
		}
		st.check.(checks.Observer).Observe(t.Context(), r, listed)
		st.check.(checks.Observer).Observe(t.Context(), r, delivered)
	})
}

// TestHistoryInThePipeline tests the check with the events of a Pipeline.
func TestHistoryInThePipeline(t *testing.T) {
	t.Parallel()
	st := newSite(t, historyZone, nil, few)
	content := &checks.Reason{ID: "date-invalid", Reply: checks.Reply{Code: 550, Enhanced: "5.6.0", Text: "bad date"}}
	judge := checks.Info{Name: "msgfields", Stages: []checks.Stage{checks.EndOfHeader}, Reasons: []*checks.Reason{content}}
	actions := map[string]checks.Action{}
	for _, r := range sender.Info.Reasons {
		actions[r.ID] = r.Safe
	}
	actions["sender-history"], actions[content.ID] = checks.Reject, checks.Reject
	p := checktest.Pipeline(t, checks.Options{Actions: actions},
		checks.Instance{Info: sender.Info, Check: st.check}, checks.Instance{Info: judge, Check: badDate{content}})
	s := checktest.Session{Client: "198.51.100.1"}.Session(t)
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.Connect)
	transaction := func(date string) string {
		s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("a@example.net")}
		run.Judge(t.Context(), checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("user@example.org")}}
		if d := run.Judge(t.Context(), checks.RcptTo); d.Reason != nil {
			return d.Reason.ID
		}
		s.Envelope.Header = []headers.Field{{Name: "Date", Value: date}}
		if d := run.Judge(t.Context(), checks.EndOfMessage); d.Reason != nil {
			return d.Reason.ID
		}
		run.Observe(t.Context(), delivered)
		return ""
	}
	var got []string
	for range 4 {
		got = append(got, transaction("bad"))
	}
	if want := "[date-invalid date-invalid date-invalid sender-history]"; fmt.Sprint(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHistoryNeedsAnAction tests that histories are stored only if the reason is on for some recipient.
func TestHistoryNeedsAnAction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		general, special checks.Action
		stored           bool
	}{
		{"off for everyone", checks.Off, checks.Off, false},
		{"watched", checks.Watch, checks.Off, true},
		{"on for another recipient", checks.Off, checks.Reject, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			st := newSite(t, historyZone, nil, few)
			actions := func(a checks.Action) map[string]checks.Action {
				m := map[string]checks.Action{}
				for _, r := range sender.Info.Reasons {
					m[r.ID] = r.Safe
				}
				m["sender-history"] = a
				return m
			}
			p := checktest.Pipeline(t, checks.Options{
				Actions:  actions(c.general),
				Policies: []checks.Policy{{Recipients: checktest.Recipients(t, "other@example.org"), Actions: actions(c.special)}},
			}, checks.Instance{Info: sender.Info, Check: st.check})
			s := checktest.Session{Client: "198.51.100.1"}.Session(t)
			run := p.NewRun(s)
			run.Judge(t.Context(), checks.Connect)
			s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("a@example.net")}
			run.Judge(t.Context(), checks.MailFrom)
			s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("user@example.org")}}
			run.Judge(t.Context(), checks.RcptTo)
			run.Observe(t.Context(), delivered)
			stored := false
			for range st.env.Store.Scan(t.Context(), "") {
				stored = true
			}
			if stored != c.stored {
				t.Errorf("stored: %v", stored)
			}
		})
	}
}

// badDate is a check that refuses a message with the date "bad".
type badDate struct{ reason *checks.Reason }

func (b badDate) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Envelope.Header[0].Value == "bad" {
		return []checks.Verdict{{Reason: b.reason}}, nil
	}
	return nil, nil
}
