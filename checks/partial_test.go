package checks_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"milterd/checks"
)

// saying is a check with a fixed result.
type saying struct {
	verdicts []checks.Verdict
	err      error
}

func (c saying) Check(context.Context, *checks.Request) ([]checks.Verdict, error) {
	return c.verdicts, c.err
}

// TestPartial shows when Decision.Partial is set.
func TestPartial(t *testing.T) {
	t.Parallel()
	reason := &checks.Reason{ID: "fault", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}}
	exempt, err := checks.ParseRecipients([]string{"postmaster"})
	if err != nil {
		t.Fatal(err)
	}
	bob, err := checks.ParseRecipients([]string{"bob@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	client := netip.MustParseAddr("192.0.2.9")
	from := checks.Forwarders{Networks: []netip.Prefix{netip.PrefixFrom(client, 32)}}
	policy := func(a checks.Action, f checks.Forwarders) checks.Policy {
		return checks.Policy{Recipients: bob, Actions: map[string]checks.Action{"fault": a}, Forwarders: f}
	}
	for name, c := range map[string]struct {
		check saying
		rcpt  string
		opts  checks.Options
		want  bool
	}{
		"all looked for":        {rcpt: "bob@example.org"},
		"a trusted client":      {rcpt: "bob@example.org", opts: checks.Options{Trusted: checks.Trusted{Networks: from.Networks}}, want: true},
		"an exempt recipient":   {rcpt: "postmaster@example.org", opts: checks.Options{Exempt: exempt}, want: true},
		"another is exempt":     {rcpt: "bob@example.org", opts: checks.Options{Exempt: exempt}},
		"off for the recipient": {rcpt: "bob@example.org", opts: checks.Options{Policies: []checks.Policy{policy(checks.Off, checks.Forwarders{})}}, want: true},
		"milder for the recipient": {rcpt: "bob@example.org", opts: checks.Options{
			Policies: []checks.Policy{policy(checks.Watch, checks.Forwarders{})},
		}},
		"a forwarder":           {rcpt: "bob@example.org", opts: checks.Options{Policies: []checks.Policy{policy(checks.Reject, from)}}, want: true},
		"an allow list":         {check: saying{verdicts: []checks.Verdict{{Vouch: checks.SkipAll}}}, rcpt: "bob@example.org", want: true},
		"no delay":              {check: saying{verdicts: []checks.Verdict{{Vouch: checks.SkipDelays}}}, rcpt: "bob@example.org"},
		"it could not be found": {check: saying{err: errors.New("no answer")}, rcpt: "bob@example.org", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.opts.ReplyAt, c.opts.Actions = checks.RcptTo, map[string]checks.Action{"fault": checks.Reject}
			info := checks.Info{Name: "test", Stages: []checks.Stage{checks.RcptTo}, Reasons: []*checks.Reason{reason}}
			p, err := checks.New([]checks.Instance{{Info: info, Check: c.check}}, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			s := &checks.Session{Client: client}
			s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(c.rcpt)}}
			if d := p.NewRun(s).Judge(t.Context(), checks.RcptTo); d.Partial != c.want || d.Reply != nil {
				t.Errorf("got %+v", d)
			}
		})
	}
}
