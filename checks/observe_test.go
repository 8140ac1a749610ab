package checks_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"milterd/checks"
)

// observing is a fake that collects events.
type observing struct {
	*fake
	events []checks.Event
}

func (o *observing) Observe(_ context.Context, _ *checks.Request, e checks.Event) {
	o.events = append(o.events, e)
	panic("bug: must not matter")
}

func TestObservers(t *testing.T) {
	t.Parallel()
	o := &observing{fake: newFake("one", atConnect, reason("a"))}
	talk := begin(pipeline(t, map[string]checks.Action{"a": checks.Tempfail}, nil, o), "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	talk.run.Observe(context.Background(), checks.Event{Kind: checks.Accepted})
	if len(o.events) != 2 || o.events[0].Kind != checks.Refused || o.events[0].Stage != checks.RcptTo || o.events[0].Reply.Code != 450 || o.events[1].Kind != checks.Accepted {
		t.Errorf("got %+v", o.events)
	}
}

func TestObserverThatIsOff(t *testing.T) {
	t.Parallel()
	o, other := &observing{fake: newFake("one", atConnect, reason("a"))}, &observing{fake: newFake("two", atConnect, reason("b"))}
	talk := begin(pipeline(t, map[string]checks.Action{"a": checks.Off}, nil, o, other), "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	if len(o.events) != 0 || len(other.events) != 1 {
		t.Errorf("got %+v, and %+v of the check that runs", o.events, other.events)
	}
}

func TestSuspicionsAndVouches(t *testing.T) {
	t.Parallel()
	suspicion, first := reason("a"), reason("first-contact")
	first.Greylisting = true
	voucher := newFake("voucher", []checks.Stage{checks.RcptTo})
	voucher.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		if r.Rcpt().Text == "friend@example.org" {
			return []checks.Verdict{{Vouch: checks.SkipDelays}}, nil
		}
		return nil, nil
	}
	grey := newFake("holder", []checks.Stage{checks.RcptTo, checks.EndOfHeader}, first)
	var seen []string
	grey.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		for i, rcpt := range r.Envelope.Rcpts {
			seen = append(seen, fmt.Sprintf("%s%d %d", rcpt.Text, len(r.Suspicions(i)), r.Vouch(i)))
		}
		if r.Action(first) != checks.Greylist || (r.Action(suspicion) == checks.Greylist) != (r.Rcpt().Text != "bob@example.org") {
			t.Errorf("%s: Action is wrong", r.Rcpt().Text)
		}
		return nil, nil
	}
	actions := map[string]checks.Action{"a": checks.Greylist, "first-contact": checks.Greylist}
	bob := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"a": checks.Watch, "first-contact": checks.Greylist}}
	p := pipeline(t, actions, func(o *checks.Options) { o.Policies = []checks.Policy{bob} },
		voucher, newFake("one", atConnect, suspicion), grey)
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("alice@example.org")
	talk.rcpt("friend@example.org")
	talk.rcpt("bob@example.org")
	want := []string{
		"alice@example.org1 0", "alice@example.org1 0", "friend@example.org1 1",
		"alice@example.org1 0", "friend@example.org1 1", "bob@example.org0 0",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("got %q, want %q", seen, want)
	}
}

// BenchmarkPipeline judges a session with one message by ten checks that find nothing, with traces.
func BenchmarkPipeline(b *testing.B) {
	var fakes []instance
	for i := range 10 {
		stages := [][]checks.Stage{atConnect, {checks.Helo}, {checks.MailFrom}, {checks.RcptTo}, {checks.EndOfHeader}}[i%5]
		f := newFake(fmt.Sprint(i), stages, reason(fmt.Sprint(i)))
		f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }
		fakes = append(fakes, f)
	}
	p := pipeline(b, nil, nil, fakes...)
	b.ReportAllocs()
	for b.Loop() {
		talk := begin(p, "192.0.2.9")
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		if d := talk.message(); d.Reply != nil {
			b.Fatal(d.Reply)
		}
	}
}
