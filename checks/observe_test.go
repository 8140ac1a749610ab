package checks_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestTraceQuestions(t *testing.T) {
	t.Parallel()
	resolver := checks.Traced(checktest.NewZone(t, "example.net. A 192.0.2.1"))
	f := newFake("one", atConnect, reason("a"))
	f.say = func(ctx context.Context, _ *checks.Request) ([]checks.Verdict, error) {
		_, err := resolver.Lookup(ctx, checks.Ask("example.net", 1))
		return nil, err
	}
	talk := begin(pipeline(t, nil, nil, f), "192.0.2.9")
	talk.mail("a@example.net")
	d := talk.rcpt("u@example.org")
	if len(d.Results) != 1 || len(d.Results[0].Asked) != 1 || d.Results[0].Asked[0].Name != "example.net." {
		t.Errorf("got %+v", d.Results)
	}
}

// TestTracesEnd tests that the results of one scope do not keep the answers of another in memory.
func TestTracesEnd(t *testing.T) {
	t.Parallel()
	var asked weak.Pointer[dns.A] // in the answer to the check at MailFrom
	resolver := checks.Traced(fresh{})
	lookup := func(ctx context.Context, _ *checks.Request) ([]checks.Verdict, error) {
		a, err := resolver.Lookup(ctx, checks.Ask("example.net", dns.TypeA))
		asked = weak.Make(a.Records[0].(*dns.A))
		return nil, err
	}
	one, two := newFake("one", atConnect, reason("a")), newFake("two", []checks.Stage{checks.MailFrom}, reason("b"))
	one.say, two.say = lookup, lookup
	talk := begin(pipeline(t, nil, nil, one, two), "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	first := asked
	talk.mail("b@example.net")
	runtime.GC()
	if first.Value() != nil {
		t.Error("an answer of the transaction before is kept")
	}
	runtime.KeepAlive(talk)
}

// fresh is a resolver with a new record in each answer.
type fresh struct{}

func (fresh) Lookup(context.Context, checks.Question) (checks.Answer, error) {
	return checks.Answer{Records: []dns.RR{new(dns.A)}}, nil
}

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

// TestTook shows that Options.Took is called for each run of a check, and not for a remembered result.
func TestTook(t *testing.T) {
	t.Parallel()
	var took []string
	p := pipeline(t, map[string]checks.Action{"a": checks.Watch, "b": checks.Off}, func(o *checks.Options) {
		o.Took = func(check string, d time.Duration) {
			if d < 0 {
				t.Errorf("%s took %v", check, d)
			}
			took = append(took, check)
		}
	}, newFake("asked", atConnect, reason("a")), newFake("off", atConnect, reason("b")))
	c := begin(p, "192.0.2.1")
	c.mail("a@example.net")
	c.rcpt("b@example.org")
	c.rcpt("c@example.org")
	want(t, "took", strings.Join(took, " "), "asked")
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

// TestFailureBeforeVouch shows that a failure is reported once, also if a later check lets the message pass.
func TestFailureBeforeVouch(t *testing.T) {
	t.Parallel()
	bad := newFake("bad", []checks.Stage{checks.Connect}, reason("a"))
	bad.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, errors.New("no answer") }
	good := newFake("good", []checks.Stage{checks.RcptTo}, reason("b"))
	good.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Vouch: checks.SkipAll}}, nil
	}
	talk := begin(pipeline(t, nil, nil, bad, good), "192.0.2.9")
	talk.mail("a@example.net")
	for _, want := range []int{1, 0} {
		if d := talk.rcpt("u@example.org"); d.Reply != nil || len(d.Failures) != want {
			t.Errorf("got %+v, want %d failures", d, want)
		}
	}
}
