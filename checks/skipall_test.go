package checks_test

import (
	"context"
	"testing"
	"time"

	"milterd/checks"
)

// TestSkipAll: after a vouch that skips all no check is asked, for any recipient, and neither are those of the header.
func TestSkipAll(t *testing.T) {
	t.Parallel()
	early, list := newFake("early", atConnect, reason("a")), newFake("list", []checks.Stage{checks.MailFrom})
	late, header := newFake("late", atConnect, reason("b")), newFake("header", []checks.Stage{checks.EndOfHeader}, reason("c"))
	list.say = func(context.Context, *checks.Session) ([]checks.Verdict, error) {
		return []checks.Verdict{{Vouch: checks.SkipAll}}, nil
	}
	p, err := checks.New([]checks.Instance{
		{Info: early.info, Check: early}, {Info: list.info, Check: list}, {Info: late.info, Check: late}, {Info: header.info, Check: header},
	}, checks.Options{
		Actions: map[string]checks.Action{"a": checks.Watch, "b": checks.Reject, "c": checks.Reject}, ReplyAt: checks.RcptTo, Budget: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	for _, rcpt := range []string{"u@example.org", "v@example.org"} {
		if d := talk.rcpt(rcpt); d.Reply != nil || len(d.Outcomes) != 0 {
			t.Errorf("%s: %+v", rcpt, d)
		}
	}
	if d := p.Run(context.Background(), talk.s, checks.EndOfHeader); d.Reply != nil || len(d.Outcomes) != 0 {
		t.Errorf("header: %+v", d)
	}
	if len(late.asked)+len(header.asked) != 0 {
		t.Errorf("asked all the same: %v, %v", late.asked, header.asked)
	}
}
