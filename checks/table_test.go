package checks_test

import (
	"strings"
	"testing"

	"milterd/checks"
)

// TestBounceWatch tests that a reason with BounceWatch is only watched with a null reverse-path, unless the operator named it.
func TestBounceWatch(t *testing.T) {
	t.Parallel()
	form, other := reason("form"), reason("other")
	form.BounceWatch = true
	named := map[string]bool{"form": true}
	strict := recipients(t, "strict@example.org")
	for _, c := range []struct {
		name                    string
		reason                  *checks.Reason
		action                  checks.Action
		named, policy           map[string]bool
		from, rcpt, reply, seen string
	}{
		{name: "a bounce", reason: form, action: checks.Reject, from: "<>", seen: "form=watch"},
		{name: "a bounce that would be greylisted", reason: form, action: checks.Greylist, from: "<>", seen: "form=watch"},
		{name: "a bounce, the reason is off", reason: form, action: checks.Off, from: "<>"},
		{name: "mail with a sender", reason: form, action: checks.Reject, from: "<a@example.net>", reply: "550 5.7.1 form", seen: "form=reject"},
		{name: "a bounce, another reason", reason: other, action: checks.Reject, from: "<>", reply: "550 5.7.1 other", seen: "other=reject"},
		{name: "a bounce, the operator named the reason", reason: form, action: checks.Reject, named: named, from: "<>", reply: "550 5.7.1 form", seen: "form=reject"},
		{name: "named for others only", reason: form, action: checks.Reject, named: named, from: "<>", rcpt: "strict@example.org", seen: "form=watch"},
		{name: "named by the policy", reason: form, action: checks.Reject, policy: named, from: "<>", rcpt: "strict@example.org", reply: "550 5.7.1 form", seen: "form=reject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			actions := map[string]checks.Action{c.reason.ID: c.action}
			p := pipeline(t, actions, func(o *checks.Options) {
				o.Named = c.named
				o.Policies = []checks.Policy{{Recipients: strict, Actions: o.Actions, Named: c.policy}}
			}, newFake("fields", []checks.Stage{checks.EndOfHeader}, c.reason))
			s := begin(p, "192.0.2.9")
			s.mail(c.from)
			if c.rcpt == "" {
				c.rcpt = "bob@example.org"
			}
			s.rcpt(c.rcpt)
			d := s.message()
			want(t, "reply", code(d), c.reply)
			want(t, "outcomes", outcomes(d), c.seen)
		})
	}
}

func TestActionIsAtMostMost(t *testing.T) {
	t.Parallel()
	r := reason("a")
	r.Most = checks.Watch
	talk := begin(pipeline(t, nil, nil, newFake("one", atConnect, r)), "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "outcomes", outcomes(talk.rcpt("u@example.org")), "a=watch")
}

func TestMissingAction(t *testing.T) {
	t.Parallel()
	f := newFake("one", atConnect, reason("a"))
	_, err := checks.New([]checks.Instance{{Info: f.info, Check: f}}, checks.Options{})
	if err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
}
