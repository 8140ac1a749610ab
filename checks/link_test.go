package checks_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestALinkHasTheLastLineForItself(t *testing.T) {
	t.Parallel()
	const link = "https://mx.example.org/why/rdns-missing?r=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
	for _, c := range []struct {
		name, text, link string
		lines            int
		last             string
	}{
		{"short", "192.0.2.9 has no reverse DNS name", link, 2, link},
		{"long", strings.Repeat("word ", 100), link, 4, link},
		{"far too long", strings.Repeat("word ", 1000), link, 6, link},
		{"one long word", strings.Repeat("x", 2000), link, 6, link},
		{"no link", "192.0.2.9 has no reverse DNS name", "", 1, "192.0.2.9 has no reverse DNS name"},
		{"too long a link", "no", "https://" + strings.Repeat("x", 300), 1, "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := checks.Reply{Code: 550, Enhanced: "5.7.1", Text: c.text, Link: c.link}
			checkLines(t, r)
			lines := r.Lines()
			if len(lines) != c.lines || lines[len(lines)-1] != "550 5.7.1 "+c.last {
				t.Errorf("got %q", lines)
			}
			if c.last == c.link && c.name == "short" && lines[0] != "550-5.7.1 "+c.text+";" {
				t.Errorf("got %q", lines)
			}
		})
	}
	r := checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no", Link: link}
	if got := r.String(); got != "550 5.7.1 no; "+link {
		t.Error(got)
	}
	if got := r.Temporary(); got.Link != link {
		t.Errorf("%+v", got)
	}
}

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

func TestAgain(t *testing.T) {
	t.Parallel()
	one, two, other := newFake("one", atConnect, reason("r1")), newFake("two", atConnect, reason("r2")), newFake("other", atConnect, reason("r3"))
	watching := &observing{fake: newFake("observer", atConnect)}
	z := checks.Traced(checktest.NewZone(t, "a. A 192.0.2.1"))
	one.say = func(ctx context.Context, _ *checks.Request) ([]checks.Verdict, error) {
		_, err := z.Lookup(ctx, checks.Ask("a", dns.TypeA))
		return []checks.Verdict{{Reason: one.info.Reasons[0]}}, err
	}
	p := pipeline(t, map[string]checks.Action{"r2": checks.Watch}, nil, one, two, other, watching)
	s := checktest.Session{Client: "192.0.2.9", Helo: "h", MailFrom: "a@example.com"}.Session(t)
	for range 2 { // nothing is remembered
		var got []string
		for _, res := range p.Again(context.Background(), s, []string{"one", "two", "observer"}) {
			for _, o := range res.Outcomes {
				got = append(got, res.Check+" "+o.Reason.ID+" "+o.Action.String()+" "+o.Reply.Text)
			}
			if res.Check == "one" && len(res.Asked) != 1 {
				t.Errorf("asked %v", res.Asked)
			}
		}
		// What refuses hides nothing that comes after it.
		if want := []string{"one r1 reject r1 of 192.0.2.9", "two r2 watch r2 of 192.0.2.9"}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	}
	if len(watching.events) > 0 || len(other.asked) != 0 || one.asked[checks.Connect] != 2 || s.Rcpt().Refused != "" {
		t.Errorf("%d events, the other %v, one %v, %+v", len(watching.events), other.asked, one.asked, s.Rcpt())
	}
}
