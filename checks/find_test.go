package checks_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

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
