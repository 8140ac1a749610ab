package checks_test

import (
	"context"
	"fmt"
	"testing"

	"milterd/checks"
)

// TestUnsureReason shows that an Unsure verdict refuses temporarily, and only if no other verdict refuses permanently.
func TestUnsureReason(t *testing.T) {
	t.Parallel()
	both := newFake("both", atConnect, reason("a"), reason("b"))
	for _, c := range []struct {
		name   string
		unsure []bool
		a, b   checks.Action
		want   string
	}{
		{"sure", []bool{false, false}, checks.Reject, checks.Reject, "a 550 5.7.1"},
		{"unsure", []bool{true}, checks.Reject, checks.Reject, "a 450 4.7.1"},
		{"another is sure", []bool{true, false}, checks.Reject, checks.Reject, "b 550 5.7.1"},
		{"tempfail", []bool{true, true}, checks.Tempfail, checks.Reject, "a 450 4.7.1"},
		{"watched", []bool{true}, checks.Watch, checks.Reject, ""},
	} {
		both.say = func(context.Context, *checks.Request) (vs []checks.Verdict, _ error) {
			for i, u := range c.unsure {
				vs = append(vs, checks.Verdict{Reason: both.info.Reasons[i], Unsure: u})
			}
			return vs, nil
		}
		talk := begin(pipeline(t, map[string]checks.Action{"a": c.a, "b": c.b}, nil, both), "192.0.2.9")
		talk.mail("a@example.net")
		got := ""
		if d := talk.rcpt("u@example.org"); d.Reply != nil {
			got = fmt.Sprintf("%s %d %s", d.Reason.ID, d.Reply.Code, d.Reply.Enhanced)
			if sure := d.Reply.Code == 550; sure != (d.Action == checks.Reject) || sure == d.Outcomes[len(d.Outcomes)-1].Unsure {
				t.Errorf("%s: the action is %s, the outcomes %+v", c.name, d.Action, d.Outcomes)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
