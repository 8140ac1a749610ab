// Package checktest is the kit for testing checks: a resolver from zone text, a session builder, and a way to ask one
// check at every stage as the pipeline would.
package checktest

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/headers"
)

// Now is the time of every session that Session makes: Saturday, 21 November 2026, noon UTC.
var Now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// NewZone parses zone text, see Zone.
func NewZone(t testing.TB, text string) *Zone {
	t.Helper()
	z, err := ParseZone(text)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Jumps are how far a host's clock may be moved, by name. No check may refuse for good, or for ever, because of that.
var Jumps = map[string]time.Duration{
	"a day ahead": 24 * time.Hour, "ten years ahead": 3653 * 24 * time.Hour,
	"a day back": -24 * time.Hour, "ten years back": -3653 * 24 * time.Hour,
}

// Env is an environment whose DNS is the zone text, for the site mx.example.org that receives for example.org. Its store
// is empty, and its clock stands still at Now: for another one set Store to NewStore(now).
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

// Session describes one transaction. Empty fields of the zero value mean what they mean in a checks.Session.
type Session struct {
	Client   string // address; empty: unknown
	Helo     string
	Again    string // a second HELO name, if not empty
	MailFrom string
	Rcpt     string
	Auth     string
	Header   []headers.Field
	Time     time.Time // zero: Now
}

// Session builds the session, taken up to the end of the header.
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
	for _, name := range []string{d.Helo, d.Again} {
		if name != "" {
			s.SetHelo(name, false)
		}
	}
	s.Envelope.MailFrom = checks.ParseAddress(d.MailFrom)
	if d.Rcpt == "" {
		d.Rcpt = "user@example.org"
	}
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(d.Rcpt)}}
	s.Envelope.Header = d.Header
	return s
}

// Request builds a Request about the session, outside of a Pipeline, see checks.NewRequest.
func (d Session) Request(t testing.TB, before ...checks.Verdict) *checks.Request {
	t.Helper()
	return checks.NewRequest(d.Session(t), checks.Connect, before...)
}

// Build makes the check that an Info describes, with its default settings changed by change, if that is not nil.
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

// Ask asks the check at each of its stages and returns what it said, with the first error. It fails the test if the
// check says what its Info does not declare, or leaves a placeholder of the reply without a value.
func Ask(t testing.TB, info checks.Info, c checks.Check, r *checks.Request) ([]checks.Verdict, error) {
	t.Helper()
	var all []checks.Verdict
	var first error
	for _, st := range info.Stages {
		r.Stage = st
		vs, err := c.Check(context.Background(), r)
		for _, v := range vs {
			if v.Reason == nil {
				continue // a vouch alone
			}
			if !slices.Contains(info.Reasons, v.Reason) {
				t.Errorf("%s at %s: undeclared reason %q", info.Name, st, v.Reason.ID)
			}
			if names := unfilled(v); len(names) > 0 {
				t.Errorf("%s at %s: nothing fills %q in the reply of %s", info.Name, st, names, v.Reason.ID)
			}
		}
		all = append(all, vs...)
		if first == nil {
			first = err
		}
	}
	return all, first
}

// IDs lists the reasons of verdicts, in order.
func IDs(vs []checks.Verdict) []string {
	ids := []string{}
	for _, v := range vs {
		if v.Reason != nil { // else it is a vouch alone
			ids = append(ids, v.Reason.ID)
		}
	}
	return ids
}

// Trusted returns a Request about a session of a trusted client.
func Trusted(t testing.TB, s *checks.Session) *checks.Request {
	t.Helper()
	local := *s
	local.Local = true
	p, err := checks.New(nil, checks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := p.NewRun(&local)
	run.Judge(context.Background(), checks.Connect)
	return run.Request()
}
