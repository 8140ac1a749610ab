package records

import (
	"context"
	"strings"
	"testing"

	"milterd/checks"
)

// TestRelease tests for which records the command is known that releases the message.
func TestRelease(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		r    Record
		want string
	}{
		{"accepted and quarantined", Record{QueueID: "4dDk2p1xQz", Action: Accept, Quarantined: []string{"spf-fail"}}, "postsuper -H 4dDk2p1xQz && postqueue -i 4dDk2p1xQz (Postfix)"},
		{"the decision", Record{QueueID: "5AMBPx0t012345", Action: "quarantine"}, "sendmail -qQ -qI5AMBPx0t012345 -Q"},
		{"of Postfix", Record{QueueID: "4dDk2p1xQz", Action: "quarantine", MTA: "Postfix 3.7.11"}, "postsuper -H 4dDk2p1xQz && postqueue -i 4dDk2p1xQz"},
		{"of Sendmail", Record{QueueID: "5AMBPx0t012345", Action: "quarantine", MTA: "8.17.1.9"}, "sendmail -qQ -qI5AMBPx0t012345 -Q && sendmail -q"},
		{"accepted", Record{QueueID: "4dDk2p1xQz", Action: Accept}, ""},
		{"not yet queued", Record{Action: "quarantine"}, ""},
		{"no word of a command", Record{QueueID: "4d;reboot", Action: "quarantine"}, ""},
	} {
		if got := c.r.Release(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") || c.r.MTA != "" && got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestAcceptedMessage tests what the record of an accepted message says about vouches and suspicions.
func TestAcceptedMessage(t *testing.T) {
	t.Parallel()
	reason := &checks.Reason{ID: "odd"}
	s := mail("192.0.2.9", "h", "a@example.com", "b@example.org")
	info := checks.Info{Name: "odd", Stages: []checks.Stage{checks.RcptTo}, Reasons: []*checks.Reason{reason}}
	list := checks.Info{Name: "list", Stages: []checks.Stage{checks.Connect}, Vouches: true}
	hold := checks.Info{Name: "hold", Stages: []checks.Stage{checks.RcptTo}, Reasons: []*checks.Reason{{ID: "held", Greylisting: true}}}
	p, err := checks.New([]checks.Instance{
		{Info: list, Check: say{Vouch: checks.SkipDelays, Why: "it is known"}}, {Info: info, Check: say{Reason: reason}}, {Info: hold, Check: say{}},
	}, checks.Options{Actions: map[string]checks.Action{"odd": checks.Greylist, "held": checks.Tempfail}, ReplyAt: checks.RcptTo, Budget: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.RcptTo)
	r := accepted(run.Request())
	if len(r.Waived) != 1 || r.Waived[0] != "odd" || len(r.Vouches) != 1 || r.Vouches[0].String() != "list: it is known (no greylisting and no callout)" {
		t.Errorf("got %+v", r)
	}
}

// say is a check that always has the same verdict.
type say checks.Verdict

func (v say) Check(context.Context, *checks.Request) ([]checks.Verdict, error) {
	return []checks.Verdict{checks.Verdict(v)}, nil
}

// TestFateOfQuarantinedMessage tests that lists call an accepted message that was set aside quarantined, with its reasons.
func TestFateOfQuarantinedMessage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r           Record
		fate, cause string
	}{
		{Record{Action: Accept, Quarantined: []string{"spf-fail", "msgid-missing"}}, "quarantine", "spf-fail,msgid-missing"},
		{Record{Action: Accept}, "accept", ""},
		{Record{Action: "reject", Reason: "helo-syntax"}, "reject", "helo-syntax"},
	} {
		if fate, cause := c.r.Fate(), c.r.Cause(); fate != c.fate || cause != c.cause {
			t.Errorf("%+v: %q for %q", c.r, fate, cause)
		}
	}
}
