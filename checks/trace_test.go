package checks_test

import (
	"context"
	"runtime"
	"testing"
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
