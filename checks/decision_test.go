package checks_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"milterd/checks"
)

// TestFinalOfWatched tests which reason stands for a decision of the profile watch, where all have one action: not the first, but the
// one that other profiles act on most severely.
func TestFinalOfWatched(t *testing.T) {
	t.Parallel()
	watched := func(id string, safe, strict checks.Action) checks.Outcome {
		return checks.Outcome{Action: checks.Watch, Reason: &checks.Reason{ID: id, Safe: safe, Strict: strict}}
	}
	noTLS := watched("no-tls", checks.Watch, checks.Watch)
	mismatch := watched("helo-mismatch", checks.Watch, checks.Reject)
	bareIP := watched("helo-bare-ip", checks.Reject, checks.Reject)
	pending := watched("callout-pending", checks.Off, checks.Tempfail)
	tagged := checks.Outcome{Action: checks.Tag, Reason: &checks.Reason{ID: "dmarc-fail"}}
	for _, test := range []struct {
		outcomes []checks.Outcome
		want     string
	}{
		{[]checks.Outcome{noTLS, mismatch, bareIP, pending}, "helo-bare-ip"},
		{[]checks.Outcome{noTLS, mismatch, pending}, "helo-mismatch"},
		{[]checks.Outcome{noTLS, noTLS}, "no-tls"},
		{[]checks.Outcome{bareIP, tagged, noTLS}, "dmarc-fail"},
	} {
		if _, reason := (checks.Decision{Outcomes: test.outcomes}).Final(); reason == nil || reason.ID != test.want {
			t.Errorf("%v, want %s", reason, test.want)
		}
	}
	if action, reason := (checks.Decision{}).Final(); action != checks.Off || reason != nil {
		t.Errorf("no outcome: %v %v", action, reason)
	}
}

// TestPartial shows when Decision.Partial is set.
func TestPartial(t *testing.T) {
	t.Parallel()
	from := checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}}
	exempt := func(o *checks.Options) { o.Exempt = recipients(t, "postmaster") }
	forBob := func(a checks.Action, f checks.Forwarders) func(*checks.Options) {
		return func(o *checks.Options) {
			o.Policies = []checks.Policy{{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"fault": a}, Forwarders: f}}
		}
	}
	for name, c := range map[string]struct {
		verdict checks.Verdict
		err     error
		rcpt    string // empty: bob@example.org
		change  func(*checks.Options)
		want    bool
	}{
		"all looked for":           {},
		"a trusted client":         {change: func(o *checks.Options) { o.Trusted.Networks = from.Networks }, want: true},
		"an exempt recipient":      {rcpt: "postmaster@example.org", change: exempt, want: true},
		"another is exempt":        {change: exempt},
		"off for the recipient":    {change: forBob(checks.Off, checks.Forwarders{}), want: true},
		"milder for the recipient": {change: forBob(checks.Watch, checks.Forwarders{})},
		"a forwarder":              {change: forBob(checks.Reject, from), want: true},
		"an allow list":            {verdict: checks.Verdict{Vouch: checks.SkipAll}, want: true},
		"no delay":                 {verdict: checks.Verdict{Vouch: checks.SkipDelays}},
		"it could not be found":    {err: errors.New("no answer"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake("test", []checks.Stage{checks.RcptTo}, reason("fault"))
			f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
				return []checks.Verdict{c.verdict}, c.err
			}
			talk := begin(pipeline(t, nil, c.change, f), "192.0.2.9")
			talk.mail("a@example.net")
			if c.rcpt == "" {
				c.rcpt = "bob@example.org"
			}
			if d := talk.rcpt(c.rcpt); d.Partial != c.want || d.Reply != nil {
				t.Errorf("got %+v", d)
			}
		})
	}
}
