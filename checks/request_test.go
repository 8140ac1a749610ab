package checks_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"milterd/checks"
)

func TestRemember(t *testing.T) {
	t.Parallel()
	type key struct{}
	r := checks.NewRequest(&checks.Session{}, checks.Connect)
	n := 0
	for range 3 {
		v, err := checks.Remember(r, checks.Connect, key{}, func() (int, error) { n++; return n, errors.New("x") })
		if v != 1 || err == nil {
			t.Errorf("got %d, %v", v, err)
		}
	}
}

// TestFailuresAreForgotten shows that Remember keeps a value for its scope, and an error until the next MAIL only.
func TestFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	type good struct{}
	type bad struct{}
	talk := begin(pipeline(t, nil, nil), "192.0.2.9")
	r := talk.run.Request()
	found, failed := 0, 0
	for range 2 {
		talk.mail("a@example.net")
		for range 2 {
			_, _ = checks.Remember(r, checks.Connect, good{}, func() (int, error) { found++; return 1, nil })
			_, _ = checks.Remember(r, checks.Connect, bad{}, func() (int, error) { failed++; return 0, errors.New("x") })
		}
	}
	if found != 1 || failed != 2 {
		t.Errorf("looked for the value %d times, want 1; failed %d times, want 2", found, failed)
	}
}

// TestRememberedUntilTheMessageEnds shows that what is remembered at the end of the header is there at the end of the message,
// and neither after it nor in the next transaction.
func TestRememberedUntilTheMessageEnds(t *testing.T) {
	t.Parallel()
	type key struct{}
	found := 0
	remember := func(r *checks.Request) {
		_, _ = checks.Remember(r, checks.EndOfHeader, key{}, func() (int, error) { found++; return found, nil })
	}
	f := newFake("body", atMessage, reason("a"))
	f.info.Body = true
	f.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		remember(r)
		return nil, nil
	}
	p := pipeline(t, nil, func(o *checks.Options) { o.Body = func(r *checks.Request) io.Writer { remember(r); return nil } }, f)
	talk := begin(p, "192.0.2.9")
	for i := range 2 {
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		talk.message()
		if found != 2*i+1 {
			t.Errorf("message %d: found out %d times", i, found)
		}
		talk.run.EndTransaction()
		remember(talk.run.Request())
	}
}

// TestWatchedAndWaived shows which reasons are reported of an accepted message: those of accepted recipients, each once.
func TestWatchedAndWaived(t *testing.T) {
	t.Parallel()
	client, rcpt, header, held := reason("client"), reason("rcpt"), reason("header"), reason("held")
	held.Greylisting = true // without such a reason, Greylist is Watch
	holder := newFake("holder", atMessage, held)
	holder.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }
	ofRcpt := newFake("two", []checks.Stage{checks.RcptTo}, rcpt)
	ofRcpt.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		if r.Rcpt().Local == "refused" {
			return []checks.Verdict{{Reason: rcpt}}, nil
		}
		return nil, nil
	}
	p := pipeline(t, map[string]checks.Action{"client": checks.Greylist, "header": checks.Watch}, nil,
		newFake("one", []checks.Stage{checks.Connect}, client), ofRcpt, newFake("three", atHeader, header), holder)
	talk := begin(p, "192.0.2.9")
	for range 2 { // the second message has the same reasons again
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		talk.rcpt("refused@example.org")
		talk.rcpt("v@example.org")
		talk.message()
		ids := func(list []*checks.Reason) (text string) {
			for _, r := range list {
				text += r.ID + " "
			}
			return text
		}
		r := talk.run.Request()
		want(t, "watched", ids(r.Watched()), "header ")
		want(t, "waived", ids(r.Waived()), "client ")
	}
}

// TestUsed shows that Request.Used is right from the first stage on, before there is a recipient.
func TestUsed(t *testing.T) {
	t.Parallel()
	off, policyOnly, on := reason("off"), reason("policy-only"), reason("on")
	actions := map[string]checks.Action{"off": checks.Off, "policy-only": checks.Off, "on": checks.Watch}
	bob := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{
		"off": checks.Off, "policy-only": checks.Reject, "on": checks.Off,
	}}
	p := pipeline(t, actions, func(o *checks.Options) { o.Policies = []checks.Policy{bob} }, newFake("one", atConnect, off, policyOnly, on))
	r := p.NewRun(&checks.Session{}).Request()
	if r.Used(off) || !r.Used(policyOnly) || !r.Used(on) {
		t.Errorf("used: off %t, policy-only %t, on %t", r.Used(off), r.Used(policyOnly), r.Used(on))
	}
	if !checks.NewRequest(&checks.Session{}, checks.Connect).Used(off) {
		t.Error("outside of a Pipeline, a reason is not used")
	}
}
