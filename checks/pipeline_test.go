package checks_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// fake is a check whose answers are given.
type fake struct {
	info  checks.Info
	say   func(ctx context.Context, r *checks.Request) ([]checks.Verdict, error)
	asked map[checks.Stage]int
}

func (f *fake) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	f.asked[s.Stage]++
	return f.say(ctx, s)
}

func reason(id string) *checks.Reason {
	return &checks.Reason{ID: id, Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: id + " of {client}"}, Safe: checks.Reject, Strict: checks.Reject}
}

// newFake makes a check that says its reasons, in the order given here, at each of its stages.
func newFake(name string, stages []checks.Stage, reasons ...*checks.Reason) *fake {
	f := &fake{info: checks.Info{Name: name, Stages: stages, Reasons: reasons}, asked: map[checks.Stage]int{}}
	f.say = func(context.Context, *checks.Request) (vs []checks.Verdict, err error) {
		for _, r := range reasons {
			vs = append(vs, checks.Verdict{Reason: r})
		}
		return vs, nil
	}
	return f
}

// pipeline makes a pipeline of fakes, all of whose reasons reject unless actions says otherwise.
func pipeline(t testing.TB, actions map[string]checks.Action, change func(*checks.Options), fakes ...*fake) *checks.Pipeline {
	t.Helper()
	opts := checks.Options{Actions: map[string]checks.Action{}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second, Trace: checks.TraceAll}
	var instances []checks.Instance
	for _, f := range fakes {
		instances = append(instances, checks.Instance{Info: f.info, Check: f})
		for _, r := range f.info.Reasons {
			opts.Actions[r.ID] = checks.Reject
		}
	}
	maps.Copy(opts.Actions, actions)
	if change != nil {
		change(&opts)
	}
	p, err := checks.New(instances, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// talk is one session through a pipeline.
type talk struct {
	run *checks.Run
	s   *checks.Session
}

func begin(p *checks.Pipeline, client string) talk {
	s := &checks.Session{ID: "t", Client: netip.MustParseAddr(client)}
	t := talk{p.NewRun(s), s}
	t.run.Judge(context.Background(), checks.Connect)
	t.helo("mail.example.net")
	return t
}

func (t talk) helo(name string) {
	t.s.SetHelo(name, false)
	t.run.Judge(context.Background(), checks.Helo)
}

func (t talk) mail(from string) checks.Decision {
	t.s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress(from)}
	return t.run.Judge(context.Background(), checks.MailFrom)
}

func (t talk) rcpt(to string) checks.Decision {
	t.s.Envelope.Rcpts = append(t.s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(to)})
	return t.run.Judge(context.Background(), checks.RcptTo)
}

func (t talk) header() checks.Decision {
	return t.run.Judge(context.Background(), checks.EndOfHeader)
}

// code is the reply of a decision with its reason, "" for none.
func code(d checks.Decision) string {
	if d.Reply == nil {
		return ""
	}
	return fmt.Sprintf("%d %s %s", d.Reply.Code, d.Reply.Enhanced, d.Reason.ID)
}

func outcomes(d checks.Decision) string {
	var out []string
	for _, o := range d.Outcomes {
		out = append(out, o.Reason.ID+"="+o.Action.String())
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

var atConnect = []checks.Stage{checks.Connect}

func TestActions(t *testing.T) {
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

func TestAmongEqualsTheFirstOfTheInfoAnswers(t *testing.T) {
	t.Parallel()
	a, b := reason("a"), reason("b")
	f := newFake("one", []checks.Stage{checks.Connect, checks.MailFrom}, a, b)
	f.say = func(_ context.Context, s *checks.Request) ([]checks.Verdict, error) {
		if s.Stage == checks.Connect {
			return []checks.Verdict{{Reason: b}}, nil
		}
		return []checks.Verdict{{Reason: a}}, nil
	}
	talk := begin(pipeline(t, nil, nil, f), "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "reply", code(talk.rcpt("u@example.org")), "550 5.7.1 a")
}

func TestVerdictsAreFoundOncePerScope(t *testing.T) {
	t.Parallel()
	every := []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom, checks.RcptTo, checks.EndOfHeader}
	f := newFake("one", every, reason("a"))
	talk := begin(pipeline(t, map[string]checks.Action{"a": checks.Watch}, nil, f), "192.0.2.9")
	for _, from := range []string{"a@example.net", "b@example.net"} {
		talk.mail(from)
		talk.rcpt("u@example.org")
		talk.rcpt("v@example.org")
		talk.header()
	}
	talk.helo("other.example.net")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	wantAsked := map[checks.Stage]int{checks.Connect: 1, checks.Helo: 2, checks.MailFrom: 3, checks.RcptTo: 5, checks.EndOfHeader: 2}
	if !maps.Equal(f.asked, wantAsked) {
		t.Errorf("asked %v, want %v", f.asked, wantAsked)
	}
}

func TestErrors(t *testing.T) {
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
				t.Errorf("told again for the second recipient: %v", d.Failures)
			}
			talk.mail("b@example.net")
			talk.rcpt("u@example.org")
			if n := f.asked[checks.Connect]; n != 2 {
				t.Errorf("asked %d times, want again in the next transaction and not before", n)
			}
		})
	}
}

func TestPanicIsAnErrorOfTheCheck(t *testing.T) {
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

func TestBudgetBoundsAllChecksTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fakes []*fake
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

func TestWhoIsNotChecked(t *testing.T) {
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
		{"a trusted daemon", "192.0.2.9", func(s *checks.Session) { s.Macros.Set("{daemon_name}", "MSA") }, ""},
		{"another daemon", "192.0.2.9", func(s *checks.Session) { s.Macros.Set("{daemon_name}", "MTA") }, "550 5.7.1 a"},
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

func recipients(t *testing.T, patterns ...string) checks.RecipientSet {
	t.Helper()
	set, err := checks.ParseRecipients(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestExemptRecipientsAlwaysGetTheirMail(t *testing.T) {
	t.Parallel()
	f := newFake("one", []checks.Stage{checks.Connect, checks.EndOfHeader}, reason("a"))
	p := pipeline(t, nil, func(o *checks.Options) { o.Exempt = recipients(t, "postmaster", "@open.example.org", "x@example.org") }, f)
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	for _, to := range []string{"<Postmaster>", "postmaster@example.org", "any@OPEN.example.org", "X@example.org"} {
		want(t, to, code(talk.rcpt(to)), "")
	}
	want(t, "another", code(talk.rcpt("y@example.org")), "550 5.7.1 a")
	want(t, "header", code(talk.header()), "")
}

func TestPoliciesDecideEachRecipient(t *testing.T) {
	t.Parallel()
	lenient := checks.Policy{Recipients: recipients(t, "bob@example.org"), Actions: map[string]checks.Action{"a": checks.Watch, "h": checks.Reject}}
	p := pipeline(t, nil, func(o *checks.Options) { o.Policies = []checks.Policy{lenient} },
		newFake("one", atConnect, reason("a")), newFake("two", []checks.Stage{checks.EndOfHeader}, reason("h")))
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "bob", code(talk.rcpt("bob@example.org")), "")
	want(t, "alice", code(talk.rcpt("alice@example.org")), "550 5.7.1 a")
	want(t, "header", code(talk.header()), "550 5.7.1 h")
}

func TestRecipientsWithOtherHeaderActionsComeAlone(t *testing.T) {
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
	want(t, "adding postmaster switches nothing off", code(talk.header()), "550 5.7.1 h")

	talk.mail("a@example.net")
	want(t, "postmaster alone", code(talk.rcpt("postmaster@example.org")), "")
	want(t, "a refused one does not count as the first", talk.s.Envelope.Rcpts[0].Refused, "")
	want(t, "others wait", code(talk.rcpt("alice@example.org")), "452 4.5.3 policies-differ")
	want(t, "header", code(talk.header()), "")
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
	want(t, "told at RCPT, with the recipient", outcomes(talk.rcpt("u@example.org")), "a=watch")
}

func TestMostBoundsTheAction(t *testing.T) {
	t.Parallel()
	r := reason("a")
	r.Most = checks.Watch
	talk := begin(pipeline(t, nil, nil, newFake("one", atConnect, r)), "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "outcomes", outcomes(talk.rcpt("u@example.org")), "a=watch")
}

func TestChecksThatAreOffAreNotAsked(t *testing.T) {
	t.Parallel()
	f := newFake("one", []checks.Stage{checks.EndOfHeader}, reason("a"))
	off := pipeline(t, map[string]checks.Action{"a": checks.Off}, nil, f)
	if off.Needs(checks.EndOfHeader) || off.RepliesAt(checks.EndOfHeader) {
		t.Error("the header is wanted for nothing")
	}
	if p := pipeline(t, nil, nil, f); !p.Needs(checks.EndOfHeader) || p.Needs(checks.Connect) {
		t.Error("Needs is wrong")
	}
}

func TestMissingActionIsAnError(t *testing.T) {
	t.Parallel()
	f := newFake("one", atConnect, reason("a"))
	_, err := checks.New([]checks.Instance{{Info: f.info, Check: f}}, checks.Options{})
	if err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
}

func TestTraceHasTheQuestions(t *testing.T) {
	t.Parallel()
	dns := checks.Traced(checktest.NewZone(t, "example.net. A 192.0.2.1"))
	f := newFake("one", atConnect, reason("a"))
	f.say = func(ctx context.Context, _ *checks.Request) ([]checks.Verdict, error) {
		_, err := dns.Lookup(ctx, checks.Ask("example.net", 1))
		return nil, err
	}
	talk := begin(pipeline(t, nil, nil, f), "192.0.2.9")
	talk.mail("a@example.net")
	d := talk.rcpt("u@example.org")
	if len(d.Results) != 1 || len(d.Results[0].Asked) != 1 || d.Results[0].Asked[0].Name != "example.net." {
		t.Errorf("got %+v", d.Results)
	}
}

// observing is a fake that observes.
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
	p, err := checks.New([]checks.Instance{{Info: o.info, Check: o}}, checks.Options{
		Actions: map[string]checks.Action{"a": checks.Tempfail}, ReplyAt: checks.RcptTo, Budget: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	talk.run.Observe(context.Background(), checks.Event{Kind: checks.Accepted})
	if len(o.events) != 2 || o.events[0].Kind != checks.Refused || o.events[0].Reply.Code != 450 || o.events[1].Kind != checks.Accepted {
		t.Errorf("got %+v", o.events)
	}
}

func TestSuspicionsAndVouchesReachTheGreylistCheck(t *testing.T) {
	t.Parallel()
	suspicion, first := reason("a"), reason("first-contact")
	first.Greylisting = true
	voucher := newFake("voucher", []checks.Stage{checks.RcptTo})
	voucher.say = func(_ context.Context, s *checks.Request) ([]checks.Verdict, error) {
		if s.Rcpt().Text == "friend@example.org" {
			return []checks.Verdict{{Vouch: checks.SkipDelays}}, nil
		}
		return nil, nil
	}
	grey := newFake("holder", []checks.Stage{checks.RcptTo, checks.EndOfHeader}, first)
	var seen []string
	grey.say = func(_ context.Context, s *checks.Request) ([]checks.Verdict, error) {
		for i, rcpt := range s.Envelope.Rcpts {
			seen = append(seen, fmt.Sprint(rcpt.Text, len(s.Suspicions(i)), s.Vouch(i)))
		}
		if s.Action(first) != checks.Greylist || (s.Action(suspicion) == checks.Greylist) != (s.Rcpt().Text != "bob@example.org") {
			t.Errorf("%s: Action is wrong", s.Rcpt().Text)
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

// TestTook shows that the time of a check is told each time it is asked, and not when it is remembered.
func TestTook(t *testing.T) {
	t.Parallel()
	var told []string
	p := pipeline(t, map[string]checks.Action{"a": checks.Watch, "b": checks.Off}, func(o *checks.Options) {
		o.Took = func(check string, d time.Duration) {
			if d < 0 {
				t.Errorf("%s took %v", check, d)
			}
			told = append(told, check)
		}
	}, newFake("asked", atConnect, reason("a")), newFake("off", atConnect, reason("b")))
	c := begin(p, "192.0.2.1")
	c.mail("a@example.net")
	c.rcpt("b@example.org")
	c.rcpt("c@example.org")
	want(t, "told", strings.Join(told, " "), "asked")
}

// BenchmarkRun is a session with one message through ten checks that find nothing, with traces.
func BenchmarkRun(b *testing.B) {
	var fakes []*fake
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
		if d := talk.header(); d.Reply != nil {
			b.Fatal(d.Reply)
		}
	}
}

// TestAFailureIsToldThoughSomebodyVouches: what could not be found out is said once, even if an allow list makes nothing of it.
func TestAFailureIsToldThoughSomebodyVouches(t *testing.T) {
	t.Parallel()
	bad := newFake("bad", []checks.Stage{checks.Connect}, reason("a"))
	bad.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, errors.New("no answer") }
	good := newFake("good", []checks.Stage{checks.RcptTo}, reason("b"))
	good.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Vouch: checks.SkipAll}}, nil
	}
	p := pipeline(t, nil, nil, bad, good)
	s := &checks.Session{}
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.Connect)
	s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("a@example.net")}
	run.Judge(t.Context(), checks.MailFrom)
	for _, want := range []int{1, 0} {
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress("u@example.org")})
		if d := run.Judge(t.Context(), checks.RcptTo); d.Reply != nil || len(d.Failures) != want {
			t.Errorf("got %+v, want %d failures", d, want)
		}
	}
}
