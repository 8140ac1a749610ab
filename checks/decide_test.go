package checks_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// forwardedTo gives bob forwarders: the network 192.0.2.0/24 and the name lists.example.net. The names of the client 198.51.100.2
// cannot be looked up, and other clients have none.
func forwardedTo(t *testing.T, actions map[string]checks.Action) func(*checks.Options) {
	return func(o *checks.Options) {
		o.Policies = []checks.Policy{{
			Recipients: recipients(t, "bob@example.org"), Actions: actions,
			Forwarders: checks.Forwarders{
				Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Names: []string{"lists.example.net"},
			},
		}}
		o.ClientNamed = func(_ context.Context, r *checks.Request, _ func(string) bool) (bool, error) {
			if r.Client.String() == "198.51.100.2" {
				return false, errors.New("no answer")
			}
			return false, nil
		}
	}
}

// TestMessageThatMayBeForwarded tests that a missing name of the client makes the refusal of the message temporary if any of its
// recipients may have the client as a forwarder, in whatever order they came.
func TestMessageThatMayBeForwarded(t *testing.T) {
	t.Parallel()
	late := reason("late")
	late.NotForwarded = true
	p := pipeline(t, nil, forwardedTo(t, map[string]checks.Action{"late": checks.Reject}), newFake("body", atMessage, late))
	for _, c := range []struct{ client, first, second, reply string }{
		{"203.0.113.1", "alice@example.org", "bob@example.org", "550 5.7.1 late"},
		{"198.51.100.2", "alice@example.org", "carol@example.org", "550 5.7.1 late"},
		{"198.51.100.2", "bob@example.org", "alice@example.org", "450 4.7.1 late"},
		{"198.51.100.2", "alice@example.org", "bob@example.org", "450 4.7.1 late"},
	} {
		talk := begin(p, c.client)
		talk.mail("a@example.net")
		want(t, c.first, code(talk.rcpt(c.first)), "")
		want(t, c.second, code(talk.rcpt(c.second)), "")
		want(t, c.client+" to "+c.first+" and "+c.second, code(talk.message()), c.reply)
	}
}

// TestTrustedClientIsNoForwarder tests that no name of a trusted client is looked up: its mail must not wait for the DNS.
func TestTrustedClientIsNoForwarder(t *testing.T) {
	t.Parallel()
	f := newFake("one", atConnect, reason("a"))
	f.info.TrustedToo = true
	talk := begin(pipeline(t, nil, func(o *checks.Options) {
		forwardedTo(t, o.Actions)(o)
		o.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		o.ClientNamed = func(context.Context, *checks.Request, func(string) bool) (bool, error) {
			t.Error("names were looked up")
			return false, nil
		}
	}, f), "198.51.100.2")
	talk.mail("a@example.net")
	want(t, "reply", code(talk.rcpt("bob@example.org")), "550 5.7.1 a")
}

// TestConditions tests the conditions in the doc comment of decide, and those that come together. The check "first" has what the
// case says; then the check "late" rejects.
func TestConditions(t *testing.T) {
	t.Parallel()
	const (
		client, trusted, forwarder, mayForward = "203.0.113.1", "203.0.113.9", "192.0.2.9", "198.51.100.2"
		rejected, temporary, deferred          = "550 5.7.1 late", "450 4.7.1 late", "451 4.4.3 check-failed"
	)
	failed := errors.New("no answer")
	skipAll := []checks.Verdict{{Vouch: checks.SkipAll}}
	maySkipAll := []checks.Verdict{{Vouch: checks.SkipAll, Unsure: true}}
	a, late := reason("a"), reason("late")
	is := func(unsure bool) []checks.Verdict { return []checks.Verdict{{Reason: a, Unsure: unsure}} }
	for _, c := range []struct {
		name   string
		client string
		first  []checks.Verdict
		err    error
		change func(first, late *checks.Info) // of a check; nil: none
		action checks.Action                  // of late; 0: Reject
		want   string
	}{
		{"none", client, nil, nil, nil, 0, rejected},
		{"trusted", trusted, nil, nil, nil, 0, ""},
		{"trusted, for a check of trusted clients", trusted, nil, nil, trustedToo, 0, rejected},
		{"trusted, and such a check fails", trusted, nil, failed, trustedToo, checks.Watch, ""},
		{"forwarded", forwarder, nil, nil, notForwarded, 0, ""},
		{"forwarded, for another check", forwarder, nil, nil, nil, 0, rejected},
		{"forwarded, and another check fails", forwarder, nil, failed, notForwarded, 0, deferred},
		{"forwarded, and an Unsure SkipAll of another check", forwarder, maySkipAll, nil, nil, 0, temporary},
		{"may be forwarded", mayForward, nil, nil, notForwarded, 0, temporary},
		{"may be forwarded, for another check", mayForward, nil, nil, nil, 0, rejected},
		{"may be forwarded, and a SkipAll", mayForward, skipAll, nil, notForwarded, 0, ""},
		{"may be forwarded, and a failed check", mayForward, nil, failed, notForwarded, 0, temporary},
		{"may be forwarded, for a watched reason", mayForward, nil, nil, notForwarded, checks.Watch, ""},
		{"SkipAll", client, skipAll, nil, nil, 0, ""},
		{"SkipAll and a reason of the same check", client, append(is(false), skipAll...), nil, nil, 0, ""},
		{"SkipAll of a check that fails", client, skipAll, failed, nil, 0, ""},
		{"SkipAll and an Unsure one", client, append(skipAll[:1:1], maySkipAll...), nil, nil, 0, ""},
		{"Unsure SkipAll", client, maySkipAll, nil, nil, 0, temporary},
		{"Unsure SkipAll and a reason of the same check", client, append(is(false), maySkipAll...), nil, nil, 0, "450 4.7.1 a"},
		{"Unsure SkipAll of a check that fails, and no refusal", client, maySkipAll, failed, nil, checks.Watch, deferred},
		{"Unsure reason", client, is(true), nil, nil, 0, "450 4.7.1 a"},
		{"failed", client, nil, failed, nil, checks.Watch, deferred},
		{"failed, with a reason", client, is(false), failed, nil, 0, "550 5.7.1 a"},
		{"failed, and a later refusal", client, nil, failed, nil, 0, rejected},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first, last := newFake("first", atConnect, a), newFake("last", atConnect, late)
			first.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) { return c.first, c.err }
			if c.change != nil {
				c.change(&first.info, &last.info)
			}
			actions := map[string]checks.Action{"a": checks.Reject, "late": checks.Reject}
			if c.action != 0 {
				actions["late"] = c.action
			}
			p := pipeline(t, actions, func(o *checks.Options) {
				forwardedTo(t, actions)(o)
				o.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix(trusted + "/32")}
				o.OnError = checks.Tempfail
			}, first, last)
			talk := begin(p, c.client)
			talk.mail("a@example.net")
			d := talk.rcpt("bob@example.org")
			want(t, "reply", code(d), c.want)
			if unsure := strings.HasPrefix(c.want, "450"); d.Reply != nil && d.Reason.ID != "check-failed" && d.Outcomes[len(d.Outcomes)-1].Unsure != unsure {
				t.Errorf("unsure: %t", !unsure)
			}
		})
	}
}

// TestFailedCheckThatOnlyVouches tests that a check whose reasons are off defers no mail if it fails: only a vouch may be missing.
func TestFailedCheckThatOnlyVouches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		action checks.Action // of the reason of the check; the check vouches too
		want   string
	}{
		{"the reason is off", checks.Off, ""},
		{"the reason is watched", checks.Watch, "451 4.4.3 check-failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake("vouching", atConnect, reason("a"))
			f.info.Vouches = true
			f.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
				return []checks.Verdict{{Vouch: checks.SkipDelays, Unsure: true}}, errors.New("no answer")
			}
			talk := begin(pipeline(t, map[string]checks.Action{"a": c.action}, func(o *checks.Options) { o.OnError = checks.Tempfail }, f), "192.0.2.9")
			talk.mail("a@example.net")
			d := talk.rcpt("bob@example.org")
			want(t, "reply", code(d), c.want)
			if len(d.Failures) != 1 {
				t.Errorf("failures: %v", d.Failures)
			}
		})
	}
}

func trustedToo(first, last *checks.Info) { first.TrustedToo, last.TrustedToo = true, true }

func notForwarded(_, last *checks.Info) { last.NotForwarded = true }

func TestRefusalsHaveLinks(t *testing.T) {
	t.Parallel()
	made := 0
	withLinks := func(o *checks.Options) {
		o.Link = func(r *checks.Reason, at time.Time) (string, string) {
			made++
			return "id", "https://x/" + r.ID + at.Format("?2006")
		}
	}
	r := reason("r")
	for action, want := range map[checks.Action]string{checks.Reject: "550 5.7.1 r of 192.0.2.9; https://x/r?2026", checks.Tempfail: "450 4.7.1 r of 192.0.2.9; https://x/r?2026"} {
		c := begin(pipeline(t, map[string]checks.Action{"r": action}, withLinks, newFake("one", atConnect, r)), "192.0.2.9")
		c.s.Time = checktest.Now
		c.mail("a@example.com")
		if d := c.rcpt("u@example.org"); d.Reply == nil || d.Reply.String() != want || d.Record != "id" {
			t.Errorf("got %v, %q", d.Reply, d.Record)
		}
	}
	made = 0
	c := begin(pipeline(t, map[string]checks.Action{"r": checks.Watch}, withLinks, newFake("one", atConnect, r)), "192.0.2.9")
	c.mail("a@example.com")
	if d := c.rcpt("u@example.org"); d.Reply != nil || d.Record != "" || d.Outcomes[0].Reply.Link != "" || made != 0 {
		t.Errorf("a link for what is watched: %+v", d)
	}
	c = begin(pipeline(t, nil, nil, newFake("one", atConnect, r)), "192.0.2.9")
	c.mail("a@example.com")
	if d := c.rcpt("u@example.org"); d.Reply == nil || d.Reply.Link != "" || d.Record != "" {
		t.Errorf("a link without Options.Link: %+v", d)
	}
}

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
