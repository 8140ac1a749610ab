package checks_test

import (
	"context"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestAgain(t *testing.T) {
	t.Parallel()
	one, two, other := newFake("one", atConnect, reason("r1")), newFake("two", atConnect, reason("r2")), newFake("other", atConnect, reason("r3"))
	watching := &observing{fake: newFake("observer", atConnect)}
	z := checks.Traced(checktest.NewZone(t, "a. A 192.0.2.1"))
	one.say = func(ctx context.Context, _ *checks.Request) ([]checks.Verdict, error) {
		_, err := z.Lookup(ctx, checks.Ask("a", dns.TypeA))
		return []checks.Verdict{{Reason: one.info.Reasons[0]}}, err
	}
	p := pipeline(t, map[string]checks.Action{"r2": checks.Watch}, nil, one, two, other, watching)
	s := checktest.Session{Client: "192.0.2.9", Helo: "h", MailFrom: "a@example.com"}.Session(t)
	for range 2 { // nothing is remembered
		var got []string
		for _, res := range p.Again(context.Background(), s, []string{"one", "two", "observer"}) {
			for _, o := range res.Outcomes {
				got = append(got, res.Check+" "+o.Reason.ID+" "+o.Action.String()+" "+o.Reply.Text)
			}
			if res.Check == "one" && len(res.Asked) != 1 {
				t.Errorf("asked %v", res.Asked)
			}
		}
		// What refuses hides nothing that comes after it.
		if want := []string{"one r1 reject r1 of 192.0.2.9", "two r2 watch r2 of 192.0.2.9"}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	}
	if len(watching.events) > 0 || len(other.asked) != 0 || one.asked[checks.Connect] != 2 || s.Rcpt().Refused != "" {
		t.Errorf("%d events, the other %v, one %v, %+v", len(watching.events), other.asked, one.asked, s.Rcpt())
	}
}
