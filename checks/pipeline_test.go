package checks_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

func TestWhatEachActionDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		actions  map[string]checks.Action
		reply    string
		outcomes string
	}{
		{"reject answers the reply", nil, "550 5.7.1 a", "a=reject"},
		{"tempfail answers its 4yz form", map[string]checks.Action{"a": checks.Tempfail, "b": checks.Off}, "450 4.7.1 a", "a=tempfail"},
		{"a watched reason does not hide an enforced one of the same check", map[string]checks.Action{"a": checks.Watch}, "550 5.7.1 b", "a=watch b=reject"},
		{"the most severe of one check answers", map[string]checks.Action{"a": checks.Tempfail}, "550 5.7.1 b", "b=reject"},
		{"the first check that refuses answers, however mildly", map[string]checks.Action{"a": checks.Off, "b": checks.Tempfail}, "450 4.7.1 b", "b=tempfail"},
		{"off is silent", map[string]checks.Action{"a": checks.Off, "b": checks.Off, "c": checks.Off}, "", ""},
		{"watch lets pass", map[string]checks.Action{"a": checks.Watch, "b": checks.Watch, "c": checks.Watch}, "", "a=watch b=watch c=watch"},
		{"without a greylist check a suspicion is watched", map[string]checks.Action{"a": checks.Greylist, "b": checks.Off, "c": checks.Off}, "", "a=watch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pipeline(t, c.actions, nil, newFake("one", atConnect, reason("a"), reason("b")), newFake("two", atConnect, reason("c")))
			talk := begin(p, "192.0.2.9")
			talk.mail("a@example.net")
			d := talk.rcpt("u@example.org")
			want(t, "reply", code(d), c.reply)
			want(t, "outcomes", outcomes(d), c.outcomes)
			if refused := talk.s.Rcpt().Refused != ""; refused != (c.reply != "") {
				t.Errorf("recipient refused: %v", refused)
			}
		})
	}
}

func TestOrderOfEqualVerdicts(t *testing.T) {
	t.Parallel()
	a, b := reason("a"), reason("b")
	f := newFake("one", []checks.Stage{checks.Connect, checks.MailFrom}, a, b)
	f.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		if r.Stage == checks.Connect {
			return []checks.Verdict{{Reason: b}}, nil
		}
		return []checks.Verdict{{Reason: a}}, nil
	}
	talk := begin(pipeline(t, nil, nil, f), "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "reply", code(talk.rcpt("u@example.org")), "550 5.7.1 a")
}

func TestChecksRunOncePerScope(t *testing.T) {
	t.Parallel()
	every := []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom, checks.RcptTo, checks.EndOfHeader}
	f := newFake("one", every, reason("a"))
	talk := begin(pipeline(t, map[string]checks.Action{"a": checks.Watch}, nil, f), "192.0.2.9")
	for _, from := range []string{"a@example.net", "b@example.net"} {
		talk.mail(from)
		talk.rcpt("u@example.org")
		talk.rcpt("v@example.org")
		talk.message()
	}
	talk.helo("other.example.net")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	wantAsked := map[checks.Stage]int{checks.Connect: 1, checks.Helo: 2, checks.MailFrom: 3, checks.RcptTo: 5, checks.EndOfHeader: 2}
	if !maps.Equal(f.asked, wantAsked) {
		t.Errorf("asked %v, want %v", f.asked, wantAsked)
	}
}

func TestFailedCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		onError checks.Action
		second  bool // a second check refuses
		reply   string
	}{
		{"accepted", checks.Off, false, ""},
		{"deferred", checks.Tempfail, false, "451 4.4.3 check-failed"},
		{"a certain refusal answers before a deferral", checks.Tempfail, true, "550 5.7.1 b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, g := newFake("one", atConnect, reason("a")), newFake("two", atConnect, reason("b"))
			f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, errors.New("no answer") }
			actions := map[string]checks.Action{"b": checks.Off}
			if c.second {
				actions = nil
			}
			talk := begin(pipeline(t, actions, func(o *checks.Options) { o.OnError = c.onError }, f, g), "192.0.2.9")
			talk.mail("a@example.net")
			d := talk.rcpt("u@example.org")
			want(t, "reply", code(d), c.reply)
			if len(d.Failures) != 1 {
				t.Errorf("failures: %v", d.Failures)
			}
			if d := talk.rcpt("v@example.org"); len(d.Failures) != 0 {
				t.Errorf("reported again for the second recipient: %v", d.Failures)
			}
			talk.mail("b@example.net")
			talk.rcpt("u@example.org")
			if n := f.asked[checks.Connect]; n != 2 {
				t.Errorf("asked %d times, want again in the next transaction and not before", n)
			}
		})
	}
}

func TestCheckPanics(t *testing.T) {
	t.Parallel()
	f := newFake("one", atConnect, reason("a"))
	f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { panic("bug") }
	talk := begin(pipeline(t, nil, nil, f), "192.0.2.9")
	talk.mail("a@example.net")
	d := talk.rcpt("u@example.org")
	want(t, "reply", code(d), "")
	if len(d.Failures) != 1 {
		t.Fatalf("failures: %v", d.Failures)
	}
	if p, ok := errors.AsType[*checks.PanicError](d.Failures[0].Err); !ok || len(p.Stack) == 0 {
		t.Errorf("got %v", d.Failures[0].Err)
	}
}

func TestChecksShareOneBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fakes []instance
		for i := range 5 {
			f := newFake(fmt.Sprint("check", i), atConnect, reason(fmt.Sprint("r", i)))
			f.say = func(ctx context.Context, _ *checks.Request) ([]checks.Verdict, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			fakes = append(fakes, f)
		}
		talk := begin(pipeline(t, nil, nil, fakes...), "192.0.2.9")
		talk.mail("a@example.net")
		began := time.Now()
		d := talk.rcpt("u@example.org")
		want(t, "reply", code(d), "")
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestTrusted(t *testing.T) {
	t.Parallel()
	trusted := func(o *checks.Options) {
		o.Trusted = checks.Trusted{
			Networks:      []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")},
			Authenticated: true,
			Daemons:       []string{"MSA"},
		}
	}
	for _, c := range []struct {
		name   string
		client string
		set    func(*checks.Session)
		reply  string
	}{
		{"a stranger is checked", "192.0.2.9", func(*checks.Session) {}, "550 5.7.1 a"},
		{"a trusted network", "198.51.100.7", func(*checks.Session) {}, ""},
		{"a trusted IPv6 network", "2001:db8::7", func(*checks.Session) {}, ""},
		{"an authenticated client", "192.0.2.9", func(s *checks.Session) { s.AuthUser = "bob" }, ""},
		{"a trusted daemon", "192.0.2.9", func(s *checks.Session) { s.Macros = map[string]string{"{daemon_name}": "MSA"} }, ""},
		{"another daemon", "192.0.2.9", func(s *checks.Session) { s.Macros = map[string]string{"{daemon_name}": "MTA"} }, "550 5.7.1 a"},
		{"a local submission", "192.0.2.9", func(s *checks.Session) { s.Local = true }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake("one", atConnect, reason("a"))
			talk := begin(pipeline(t, nil, trusted, f), c.client)
			c.set(talk.s)
			talk.mail("a@example.net")
			want(t, "reply", code(talk.rcpt("u@example.org")), c.reply)
			if c.reply == "" && len(f.asked) != 0 {
				t.Errorf("was checked: %v", f.asked)
			}
		})
	}
}

func TestExemptRecipients(t *testing.T) {
	t.Parallel()
	f := newFake("one", []checks.Stage{checks.Connect, checks.EndOfHeader}, reason("a"))
	p := pipeline(t, nil, func(o *checks.Options) { o.Exempt = recipients(t, "postmaster", "@open.example.org", "x@example.org") }, f)
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	for _, to := range []string{"<Postmaster>", "postmaster@example.org", "any@OPEN.example.org", "X@example.org"} {
		want(t, to, code(talk.rcpt(to)), "")
	}
	want(t, "another", code(talk.rcpt("y@example.org")), "550 5.7.1 a")
	want(t, "message", code(talk.message()), "")
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	lenient := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"a": checks.Watch, "h": checks.Reject}}
	p := pipeline(t, nil, func(o *checks.Options) { o.Policies = []checks.Policy{lenient} },
		newFake("one", atConnect, reason("a")), newFake("two", []checks.Stage{checks.EndOfHeader}, reason("h")))
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "bob", code(talk.rcpt("bob@example.org")), "")
	want(t, "alice", code(talk.rcpt("alice@example.org")), "550 5.7.1 a")
	want(t, "message", code(talk.message()), "550 5.7.1 h")
}

func TestPoliciesDiffer(t *testing.T) {
	t.Parallel()
	header := []checks.Stage{checks.EndOfHeader}
	lenient := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"a": checks.Reject, "h": checks.Watch}}
	p := pipeline(t, map[string]checks.Action{"a": checks.Off}, func(o *checks.Options) {
		o.Policies = []checks.Policy{lenient}
		o.Exempt = recipients(t, "postmaster")
	}, newFake("one", []checks.Stage{checks.RcptTo}, reason("a")), newFake("two", header, reason("h")))

	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "the first sets the rules", code(talk.rcpt("alice@example.org")), "")
	want(t, "equal rules join", code(talk.rcpt("carol@example.org")), "")
	want(t, "postmaster comes alone", code(talk.rcpt("postmaster@example.org")), "452 4.5.3 policies-differ")
	want(t, "its own reason goes before", code(talk.rcpt("bob@example.org")), "550 5.7.1 a")
	want(t, "adding postmaster switches nothing off", code(talk.message()), "550 5.7.1 h")

	talk.mail("a@example.net")
	want(t, "postmaster alone", code(talk.rcpt("postmaster@example.org")), "")
	want(t, "a refused one does not count as the first", talk.s.Envelope.Rcpts[0].Refused, "")
	want(t, "others wait", code(talk.rcpt("alice@example.org")), "452 4.5.3 policies-differ")
	want(t, "message", code(talk.message()), "")
}

func TestReplyAtMail(t *testing.T) {
	t.Parallel()
	f := newFake("one", atConnect, reason("a"))
	p := pipeline(t, nil, func(o *checks.Options) { o.ReplyAt = checks.MailFrom }, f, newFake("two", []checks.Stage{checks.RcptTo}, reason("b")))
	talk := begin(p, "192.0.2.9")
	want(t, "MAIL", code(talk.mail("a@example.net")), "550 5.7.1 a")

	watching := pipeline(t, map[string]checks.Action{"a": checks.Watch}, func(o *checks.Options) { o.ReplyAt = checks.MailFrom }, f)
	talk = begin(watching, "192.0.2.9")
	want(t, "watched at MAIL", outcomes(talk.mail("a@example.net")), "")
	want(t, "reported at RCPT, with the recipient", outcomes(talk.rcpt("u@example.org")), "a=watch")
}

func TestOffChecksDoNotRun(t *testing.T) {
	t.Parallel()
	f := newFake("one", []checks.Stage{checks.EndOfHeader}, reason("a"))
	off := pipeline(t, map[string]checks.Action{"a": checks.Off}, nil, f)
	if off.RunsAny() || off.RepliesAt(checks.EndOfMessage) {
		t.Error("the header is wanted for nothing")
	}
	if p := pipeline(t, nil, nil, f); !p.RunsAny() || !p.RepliesAt(checks.EndOfMessage) {
		t.Error("the header is not wanted")
	}
}
