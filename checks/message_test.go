package checks_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/headers"
)

var (
	atHeader  = []checks.Stage{checks.EndOfHeader}
	atMessage = []checks.Stage{checks.EndOfMessage}
)

// TestEndOfMessageJudgesTheHeaderToo shows that one decision is about the header section and the body, in the order of the
// checks.
func TestEndOfMessageJudgesTheHeaderToo(t *testing.T) {
	t.Parallel()
	all := map[string]checks.Action{}
	watched := map[string]checks.Action{"a": checks.Watch, "b": checks.Watch, "c": checks.Watch}
	for _, c := range []struct {
		name     string
		actions  map[string]checks.Action
		reply    string
		stage    checks.Stage
		outcomes string
	}{
		{"the first check answers, although it is about the body", all, "550 5.7.1 a", checks.EndOfMessage, "a=reject"},
		{"then the next one", map[string]checks.Action{"a": checks.Watch}, "550 5.7.1 b", checks.EndOfHeader, "a=watch b=reject"},
		{"all are watched", watched, "", 0, "a=watch b=watch c=watch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pipeline(t, c.actions, nil, newFake("body", atMessage, reason("a")), newFake("header", atHeader, reason("b")),
				newFake("late", atMessage, reason("c")))
			talk := begin(p, "192.0.2.9")
			talk.mail("a@example.net")
			talk.rcpt("u@example.org")
			if d := talk.run.Judge(t.Context(), checks.EndOfHeader); d.Reply != nil || len(d.Outcomes) > 0 {
				t.Errorf("decided at the end of the header: %+v", d)
			}
			d := talk.message()
			want(t, "reply", code(d), c.reply)
			want(t, "outcomes", outcomes(d), c.outcomes)
			if last := d.Outcomes[len(d.Outcomes)-1]; c.reply != "" && last.Stage != c.stage {
				t.Errorf("stage %v, want %v", last.Stage, c.stage)
			}
		})
	}
}

// TestMessageSuspicions shows that suspicions and vouches of both stages are there once, for each recipient.
func TestMessageSuspicions(t *testing.T) {
	t.Parallel()
	header, body, held := reason("h"), reason("b"), reason("held")
	held.Greylisting = true
	grey := newFake("holder", atMessage, held)
	var seen []int
	grey.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		for i := range r.Envelope.Rcpts {
			seen = append(seen, len(r.Suspicions(i)))
		}
		return nil, nil
	}
	p := pipeline(t, map[string]checks.Action{"h": checks.Greylist, "b": checks.Greylist}, nil,
		newFake("header", atHeader, header), newFake("body", atMessage, body), grey)
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	talk.rcpt("v@example.org")
	talk.message()
	if !slices.Equal(seen, []int{2, 2}) {
		t.Errorf("suspicions of the recipients: %v, want two each", seen)
	}
}

// TestFailedCheckOfTheMessage shows that the deferral for a failed check has the stage of the check.
func TestFailedCheckOfTheMessage(t *testing.T) {
	t.Parallel()
	for _, st := range []checks.Stage{checks.EndOfHeader, checks.EndOfMessage} {
		f := newFake("one", []checks.Stage{st}, reason("a"))
		f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, errors.New("no answer") }
		talk := begin(pipeline(t, nil, func(o *checks.Options) { o.OnError = checks.Tempfail }, f), "192.0.2.9")
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		d := talk.message()
		want(t, "reply", code(d), "451 4.4.3 check-failed")
		if d.Reply != nil && d.Outcomes[0].Stage != st {
			t.Errorf("stage %v, want %v", d.Outcomes[0].Stage, st)
		}
	}
}

// TestBeginBody shows when the body is needed, and that the writer is asked for once the header section is known.
func TestBeginBody(t *testing.T) {
	t.Parallel()
	needs := newFake("body", atMessage, reason("a"))
	needs.info.Body = true
	signed := func(r *checks.Request) io.Writer {
		if r.Stage != checks.EndOfHeader || len(r.Envelope.Header) == 0 {
			return nil
		}
		return new(strings.Builder)
	}
	for _, c := range []struct {
		name   string
		fake   *fake
		change func(*checks.Options)
		needs  bool
		writer bool
	}{
		{"a check needs it", needs, func(o *checks.Options) { o.Body = signed }, true, true},
		{"no check needs it", newFake("other", atMessage, reason("a")), func(o *checks.Options) { o.Body = signed }, false, false},
		{"the check is off", needs, func(o *checks.Options) { o.Body, o.Actions["a"] = signed, checks.Off }, false, false},
		{"it is switched off", needs, func(*checks.Options) {}, false, false},
		{"this message has no use for it", needs, func(o *checks.Options) { o.Body = func(*checks.Request) io.Writer { return nil } }, true, false},
		{"the function has a bug", needs, func(o *checks.Options) { o.Body = func(*checks.Request) io.Writer { panic("bug") } }, true, false},
		{"the client is trusted, and the function wants its mail", needs, func(o *checks.Options) {
			o.Body, o.Trusted.Networks = signed, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}, true, true},
		{"the client is trusted", needs, func(o *checks.Options) {
			o.Body = func(r *checks.Request) io.Writer {
				if r.Trusted() {
					return nil
				}
				return signed(r)
			}
			o.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pipeline(t, nil, c.change, c.fake)
			if p.NeedsBody() != c.needs {
				t.Errorf("NeedsBody: %t, want %t", p.NeedsBody(), c.needs)
			}
			talk := begin(p, "192.0.2.9")
			talk.mail("a@example.net")
			talk.rcpt("u@example.org")
			talk.s.Envelope.Header = []headers.Field{{Name: "DKIM-Signature", Value: " v=1"}}
			if w := talk.run.BeginBody(); (w != nil) != c.writer {
				t.Errorf("writer %v, want one: %t", w, c.writer)
			}
		})
	}
}

// TestPrefetchAtTheHeader shows that the questions of each header section are announced, also for a busy client.
func TestPrefetchAtTheHeader(t *testing.T) {
	t.Parallel()
	f := &prefetching{fake: newFake("one", atMessage, reason("a"))}
	var a announced
	p := pipeline(t, map[string]checks.Action{"a": checks.Watch}, announcing(&a), f)
	talk := begin(p, "192.0.2.9")
	for range 3 {
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		f.at = nil
		talk.run.BeginBody()
		if !slices.Equal(f.at, atHeader) {
			t.Errorf("asked to announce at %v", f.at)
		}
		talk.run.Judge(t.Context(), checks.EndOfMessage)
	}
	const want = 3 + 3 // those of the session once, and those of each header section
	if len(a.questions) != want {
		t.Errorf("announced %d questions, want %d", len(a.questions), want)
	}
}

// TestForwardersOfSomeRecipients shows that recipients of whom only some have the client as a forwarder come in separate
// messages if the body is checked.
func TestForwardersOfSomeRecipients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		body bool
		want string
	}{
		{"the body is checked", true, "452 4.5.3 policies-differ"},
		{"the body is not checked", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake("body", atMessage, reason("a"))
			f.info.Body = c.body
			bob := checks.Policy{
				Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"a": checks.Reject},
				Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			}
			p := pipeline(t, nil, func(o *checks.Options) {
				o.Policies, o.Body = []checks.Policy{bob}, func(*checks.Request) io.Writer { return nil }
			}, f)
			talk := begin(p, "192.0.2.9")
			talk.mail("a@example.net")
			want(t, "alice", code(talk.rcpt("alice@example.org")), "")
			want(t, "bob", code(talk.rcpt("bob@example.org")), c.want)
			want(t, "carol", code(talk.rcpt("carol@example.org")), "")
		})
	}
}

// TestEarlyReasonsDoNotDiffer shows that a reason that is never found after RCPT does not separate recipients.
func TestEarlyReasonsDoNotDiffer(t *testing.T) {
	t.Parallel()
	early, late := reason("early"), reason("late")
	early.Early = true
	f := newFake("one", []checks.Stage{checks.RcptTo, checks.EndOfMessage}, early, late)
	f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }
	for id, reply := range map[string]string{"early": "", "late": "452 4.5.3 policies-differ"} {
		bob := checks.Policy{
			Recipients: recipients(t, "bob@example.org"),
			Actions:    map[string]checks.Action{"early": checks.Reject, "late": checks.Reject},
		}
		bob.Actions[id] = checks.Watch
		talk := begin(pipeline(t, nil, func(o *checks.Options) { o.Policies = []checks.Policy{bob} }, f), "192.0.2.9")
		talk.mail("a@example.net")
		talk.rcpt("alice@example.org")
		want(t, id, code(talk.rcpt("bob@example.org")), reply)
	}
}

// TestIdleConnectionHoldsNothing tests that a connection keeps no memory for the recipients and the fields of a message that is over:
// the limit of memory no longer counts them.
func TestIdleConnectionHoldsNothing(t *testing.T) {
	tagged := reason("tagged")
	f := newFake("header", atHeader, tagged)
	f.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Reason: tagged, Detail: map[string]string{"date": r.Envelope.Header[0].Value}}}, nil
	}
	p := pipeline(t, map[string]checks.Action{"tagged": checks.Tag}, nil, f)
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const connections, rcpts, field = 10, 5000, 1 << 20
	var idle []talk
	before := heap()
	for range connections {
		talk := begin(p, "192.0.2.9")
		talk.mail("a@example.net")
		for range rcpts {
			talk.rcpt("u@example.org")
		}
		talk.s.Envelope.Header = []headers.Field{{Name: "Date", Value: strings.Repeat("x", field)}}
		if d := talk.message(); len(d.Marks) != 1 {
			t.Fatalf("marks: %+v", d.Marks)
		}
		talk.s.Envelope = checks.Envelope{}
		talk.run.EndTransaction()
		idle = append(idle, talk)
	}
	if held := (heap() - before) / connections; held > 64<<10 {
		t.Errorf("an idle connection holds %d bytes", held)
	}
	runtime.KeepAlive(idle)
}
