package checks_test

import (
	"context"
	"errors"
	"testing"

	"milterd/checks"
)

// TestSkipAll shows that no check runs after a SkipAll, for any recipient and at the end of the message.
func TestSkipAll(t *testing.T) {
	t.Parallel()
	early, list := newFake("early", atConnect, reason("a")), newFake("list", []checks.Stage{checks.MailFrom})
	late, header := newFake("late", atConnect, reason("b")), newFake("header", []checks.Stage{checks.EndOfHeader}, reason("c"))
	list.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Vouch: checks.SkipAll}}, nil
	}
	talk := begin(pipeline(t, map[string]checks.Action{"a": checks.Watch}, nil, early, list, late, header), "192.0.2.9")
	talk.mail("a@example.net")
	for _, rcpt := range []string{"u@example.org", "v@example.org"} {
		if d := talk.rcpt(rcpt); d.Reply != nil || len(d.Outcomes) != 0 {
			t.Errorf("%s: %+v", rcpt, d)
		}
	}
	if d := talk.message(); d.Reply != nil || len(d.Outcomes) != 0 {
		t.Errorf("header: %+v", d)
	}
	if len(late.asked)+len(header.asked) != 0 {
		t.Errorf("asked all the same: %v, %v", late.asked, header.asked)
	}
}

// TestUnsureSkipAll shows that an Unsure SkipAll makes refusals temporary, at RCPT and at the end of the message.
func TestUnsureSkipAll(t *testing.T) {
	t.Parallel()
	list, late := newFake("list", []checks.Stage{checks.MailFrom}), newFake("late", atConnect, reason("b"))
	header := newFake("header", []checks.Stage{checks.EndOfHeader}, reason("c"))
	actions := map[string]checks.Action{"b": checks.Reject, "c": checks.Reject}
	for _, c := range []struct {
		name  string
		vouch checks.Vouch
		code  int
	}{
		{"all", checks.SkipAll, 450},
		{"delays alone", checks.SkipDelays, 550},
	} {
		list.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
			return []checks.Verdict{{Vouch: c.vouch, Unsure: true}}, errors.New("no answer")
		}
		for _, at := range []checks.Stage{checks.RcptTo, checks.MailFrom} {
			p := pipeline(t, actions, func(o *checks.Options) { o.ReplyAt = at }, list, late)
			talk := begin(p, "192.0.2.9")
			d := talk.mail("a@example.net")
			if at == checks.RcptTo {
				d = talk.rcpt("u@example.org")
			}
			if d.Reply == nil || d.Reply.Code != c.code {
				t.Errorf("%s, at %v: %+v", c.name, at, d.Reply)
			}
			if v := talk.run.Request().Vouch(0); v != checks.NoVouch {
				t.Errorf("%s: a vouch that no check gave: %v", c.name, v)
			}
		}
		talk := begin(pipeline(t, actions, nil, list, header), "192.0.2.9")
		talk.mail("a@example.net")
		talk.rcpt("u@example.org")
		if d := talk.message(); d.Reply == nil || d.Reply.Code != c.code {
			t.Errorf("%s, header: %+v", c.name, d.Reply)
		}
	}
}

// TestVouches shows that a check with Info.Vouches runs even if its reasons are off.
func TestVouches(t *testing.T) {
	t.Parallel()
	for name, vouches := range map[string]bool{"asked": true, "not asked": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake("one", atConnect, reason("a"))
			f.info.Vouches = vouches
			if got := pipeline(t, map[string]checks.Action{"a": checks.Off}, nil, f).RunsAny(); got != vouches {
				t.Errorf("needed: %t", got)
			}
		})
	}
}
