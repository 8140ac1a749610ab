// Package checktest helps to test checks. Env and Session describe the site and a session. Build makes a check, Ask runs it at its
// stages, and Pipeline runs it in a Pipeline. Questions, Recorder and Prefetched show the questions that it asks and prefetches.
//
// Zone is a DNS from zone text and Store a store in memory; the commands use Zone too, to try a configuration. Package storetest
// has the tests of all stores. Start with the tests of a small check, such as checks/mxplus.
package checktest

import (
	"cmp"
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/headers"
)

// Now is the time of the sessions that Session builds: Saturday, 21 November 2026, noon UTC.
var Now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Jumps are steps of the clock of a host, by name. No check may refuse with 5yz, or forever, because of one.
var Jumps = map[string]time.Duration{
	"a day ahead": 24 * time.Hour, "ten years ahead": 3653 * 24 * time.Hour,
	"a day back": -24 * time.Hour, "ten years back": -3653 * 24 * time.Hour,
}

// Session describes a session with one transaction. Empty fields have the same meaning as in checks.Session.
type Session struct {
	Client     string // address; empty: unknown
	Helo       string
	SecondHelo string // empty: none
	MailFrom   string
	Rcpt       string // empty: user@example.org
	Auth       string
	Header     []headers.Field
	Time       time.Time // zero: Now
}

// NewZone parses zone text, see Zone. An error fails the test.
func NewZone(t testing.TB, text string) *Zone {
	t.Helper()
	z, err := ParseZone(text)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Env returns an environment with a DNS from zone text, for the site mx.example.org that receives mail for example.org. Its
// store is empty and has a clock that stands still at Now; replace it by NewStore(now) for another clock.
func Env(t testing.TB, zoneText string) checks.Env {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	return checks.Env{
		DNS:   NewZone(t, zoneText),
		Store: NewStore(nil),
		Site: checks.Site{
			Hostname:     "mx.example.org",
			LocalDomains: []string{"example.org"},
			Addresses:    []netip.Addr{netip.MustParseAddr("203.0.113.1")},
		},
		Log: logrus.NewEntry(log),
	}
}

// Session returns the session at the end of its header section.
func (d Session) Session(t testing.TB) *checks.Session {
	t.Helper()
	s := &checks.Session{ID: "test", Time: d.Time, AuthUser: d.Auth}
	if d.Time.IsZero() {
		s.Time = Now
	}
	if d.Client != "" {
		a, err := netip.ParseAddr(d.Client)
		if err != nil {
			t.Fatal(err)
		}
		s.Client = a
	}
	for _, name := range []string{d.Helo, d.SecondHelo} {
		if name != "" {
			s.SetHelo(name, false)
		}
	}
	s.Envelope.MailFrom = checks.ParseAddress(d.MailFrom)
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(cmp.Or(d.Rcpt, "user@example.org"))}}
	s.Envelope.Header = d.Header
	return s
}

// Request returns a Request about the session, see checks.NewRequest. Its stage is Connect.
func (d Session) Request(t testing.TB, before ...checks.Verdict) *checks.Request {
	t.Helper()
	return checks.NewRequest(d.Session(t), checks.Connect, before...)
}

// Trusted returns a Request about a session of a trusted client.
func Trusted(t testing.TB, s *checks.Session) *checks.Request {
	t.Helper()
	local := *s
	local.Local = true
	run := Pipeline(t, checks.Options{}).NewRun(&local)
	run.Judge(context.Background(), checks.Connect)
	return run.Request()
}

// Build returns the check of an Info. change, if it is not nil, changes the default settings.
func Build[C any](t testing.TB, info checks.Info, env checks.Env, change func(*C)) checks.Check {
	t.Helper()
	c, err := info.New(func(settings any) error {
		if change != nil {
			change(settings.(*C))
		}
		return nil
	}, env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Ask runs a check at each of its stages. It returns all verdicts and the first error. It fails the test if the check returns
// a reason that its Info does not declare, or no value for a placeholder of a reply.
func Ask(t testing.TB, info checks.Info, c checks.Check, r *checks.Request) ([]checks.Verdict, error) {
	t.Helper()
	var all []checks.Verdict
	var first error
	for _, st := range info.Stages {
		r.Stage = st
		vs, err := c.Check(context.Background(), r)
		for _, v := range vs {
			if v.Reason == nil {
				continue // only a vouch
			}
			if !slices.Contains(info.Reasons, v.Reason) {
				t.Errorf("%s at %s: undeclared reason %q", info.Name, st, v.Reason.ID)
			}
			if names := unfilled(v); len(names) > 0 {
				t.Errorf("%s at %s: no value for %q in the reply of %s", info.Name, st, names, v.Reason.ID)
			}
		}
		all = append(all, vs...)
		first = cmp.Or(first, err)
	}
	return all, first
}

// Want asks a check as Ask does, and returns the verdicts. It fails the test unless their reasons have these ids, separated by spaces,
// and there is an error if and only if fails is set.
func Want(t testing.TB, info checks.Info, c checks.Check, r *checks.Request, ids string, fails bool) []checks.Verdict {
	t.Helper()
	vs, err := Ask(t, info, c, r)
	if got := strings.Join(IDs(vs), " "); got != ids {
		t.Errorf("got %q, want %q", got, ids)
	}
	if (err != nil) != fails {
		t.Errorf("error %v, want one: %t", err, fails)
	}
	return vs
}

// IDs returns the ids of the reasons of verdicts, in their order.
func IDs(vs []checks.Verdict) []string {
	ids := []string{}
	for _, v := range vs {
		if v.Reason != nil { // otherwise it is only a vouch
			ids = append(ids, v.Reason.ID)
		}
	}
	return ids
}

// Pipeline returns a Pipeline of checks. By default it replies at RCPT, and its budget is that of the configuration.
func Pipeline(t testing.TB, o checks.Options, instances ...checks.Instance) *checks.Pipeline {
	t.Helper()
	o.ReplyAt, o.Budget = cmp.Or(o.ReplyAt, checks.RcptTo), cmp.Or(o.Budget, 8*time.Second)
	p, err := checks.New(instances, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Recipients parses patterns of recipients.
func Recipients(t testing.TB, patterns ...string) checks.RecipientSet {
	t.Helper()
	set, err := checks.ParseRecipients(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Actions returns one action for all reasons of a check.
func Actions(info checks.Info, a checks.Action) map[string]checks.Action {
	actions := map[string]checks.Action{}
	for _, r := range info.Reasons {
		actions[r.ID] = a
	}
	return actions
}
