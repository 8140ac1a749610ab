package greylist_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

func TestSuspicion(t *testing.T) {
	t.Parallel()
	greylist := func(w *site) { w.actions["first-contact"] = checks.Greylist }
	for _, c := range []struct {
		name     string
		set      func(*site)
		first    string // the reply
		outcomes string
		later    bool // still held 3 minutes later
	}{
		{name: "a suspicion", set: func(*site) {}, first: text(180), outcomes: "suspicious=greylist greylisted=tempfail"},
		{name: "no suspicion", set: func(w *site) { w.suspicions = nil }},
		{name: "the suspicion is watched", set: func(w *site) { w.actions["suspicious"] = checks.Watch }, outcomes: "suspicious=watch"},
		{name: "a vouch", set: func(w *site) { w.vouch = checks.SkipDelays }, outcomes: "suspicious=greylist"},
		{name: "greylisted is watched", set: func(w *site) { w.actions["greylisted"] = checks.Watch }, outcomes: "suspicious=greylist greylisted=watch"},
		{name: "first contact is watched", set: func(w *site) {
			w.suspicions, w.actions["first-contact"] = nil, checks.Watch
		}, outcomes: "first-contact=watch"},
		{name: "first contact is not reported beside a suspicion", set: func(w *site) { w.actions["first-contact"] = checks.Watch },
			first: text(180), outcomes: "suspicious=greylist greylisted=tempfail"},
		{name: "first contact without a suspicion", set: func(w *site) { w.suspicions = nil; greylist(w) },
			first:    "451 4.7.1 greylisted for 180 s more: 192.0.2.99 sends the first mail from <alice@example.net> to <bob@example.org>; please try again",
			outcomes: "first-contact=greylist greylisted=tempfail"},
		{name: "first contact with a vouch", set: func(w *site) {
			w.suspicions, w.vouch = nil, checks.SkipDelays
			greylist(w)
		}},
		{name: "the reply leaves out what only the verdict has", set: func(w *site) { w.suspicions = []*checks.Reason{explained} },
			first:    "451 4.7.1 greylisted for 180 s more: 192.0.2.99 may not send mail for example.net; please try again",
			outcomes: "explained=greylist greylisted=tempfail"},
		{name: "the reply has the first suspicion", set: func(w *site) { w.suspicions = []*checks.Reason{suspicious, explained} },
			first: text(180), outcomes: "suspicious=greylist explained=greylist greylisted=tempfail"},
		{name: "an exempt recipient", set: func(w *site) { w.exempt = []string{"bob"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			c.set(w)
			p := w.daemon(t)
			o := w.send(p, plain())
			wantReply(t, "reply", o.replies[0], c.first)
			wantReply(t, "outcomes", joined(o), c.outcomes)
			w.now = w.now.Add(3 * time.Minute)
			o = w.send(p, plain())
			wantHeld(t, "later", o, c.later)
			if strings.Contains(joined(o), "first-contact") || strings.Contains(joined(o), "greylisted") {
				t.Errorf("reported a known triplet: %s", joined(o))
			}
		})
	}
}

func TestBounceIsHeldAtTheEndOfTheMessage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  func(*site)
		why  string
	}{
		{"under suspicion", func(*site) {}, "192.0.2.99 has no reverse DNS name"},
		{"on first contact", func(w *site) { w.suspicions, w.actions["first-contact"] = nil, checks.Greylist },
			"192.0.2.99 sends the first mail from <> to <bob@example.org>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			c.set(w)
			p := w.daemon(t)
			bounce := with(func(m *mail) { m.from = "<>" })
			for _, seconds := range []int{180, 172} {
				o := w.send(p, bounce)
				wantReply(t, "RCPT", o.replies[0], "")
				wantReply(t, "message", o.replies[1], fmt.Sprintf("451 4.7.1 greylisted for %d s more: %s; please try again", seconds, c.why))
				w.now = w.now.Add(8 * time.Second)
			}
			w.now = w.now.Add(164 * time.Second)
			wantHeld(t, "retry", w.send(p, bounce), false)
			wantHeld(t, "next bounce", w.send(p, bounce), false)
		})
	}
}

func TestSuspicionOfTheHeader(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.suspicions = []*checks.Reason{badHeader}
	p := w.daemon(t)
	o := w.send(p, plain())
	wantReply(t, "RCPT", o.replies[0], "")
	wantReply(t, "message", o.replies[1], "451 4.7.1 greylisted for 180 s more: the date is wrong; please try again")
	wantReply(t, "outcomes", joined(o), "bad-header=greylist greylisted=tempfail")
	w.now = w.now.Add(time.Minute)
	wantHeld(t, "early", w.send(p, plain()), true)
	w.now = w.now.Add(2 * time.Minute)
	wantHeld(t, "retry", w.send(p, plain()), false)
}

func TestSuspicionsOfTwoStagesWaitOnce(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.suspicions = []*checks.Reason{suspicious, badHeader}
	p := w.daemon(t)
	wantHeld(t, "first", w.send(p, plain()), true)
	w.now = w.now.Add(3 * time.Minute)
	o := w.send(p, plain())
	wantHeld(t, "retry", o, false)
	if len(o.replies) != 2 {
		t.Errorf("replies %q", o.replies)
	}
}

func TestSeveralRecipients(t *testing.T) {
	t.Parallel()
	to := func(rcpts ...string) mail { return with(func(m *mail) { m.to = rcpts }) }
	t.Run("each is held separately at RCPT", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		p := w.daemon(t)
		w.send(p, to("a@example.org"))
		w.now = w.now.Add(3 * time.Minute)
		o := w.send(p, to("a@example.org", "b@example.org"))
		if want := []string{"", text(180), ""}; !slices.Equal(o.replies, want) {
			t.Errorf("got %q, want %q", o.replies, want)
		}
	})
	t.Run("a message waits for the last of them, and all wait at the same time", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		w.suspicions = []*checks.Reason{badHeader}
		p := w.daemon(t)
		w.send(p, to("a@example.org"))
		w.now = w.now.Add(3 * time.Minute)
		o := w.send(p, to("a@example.org", "b@example.org", "c@example.org"))
		if o.replies[3] == "" {
			t.Fatal("not held")
		}
		w.now = w.now.Add(time.Minute)
		if o = w.send(p, to("b@example.org", "d@example.org")); !strings.Contains(o.replies[2], " 180 s ") {
			t.Errorf("not held as long as the new one must wait: %q", o.replies)
		}
		w.now = w.now.Add(2 * time.Minute)
		wantHeld(t, "retry", w.send(p, to("a@example.org", "b@example.org", "c@example.org")), false)
	})
	t.Run("a refused recipient does not hold the message", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		w.suspicions = []*checks.Reason{suspicious, badHeader}
		p := w.daemon(t)
		w.send(p, to("a@example.org"))
		w.now = w.now.Add(3 * time.Minute)
		o := w.send(p, to("a@example.org", "b@example.org"))
		if o.replies[1] == "" || o.replies[2] != "" {
			t.Errorf("replies %q", o.replies)
		}
	})
	t.Run("a bounce to two recipients", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		p := w.daemon(t)
		m := to("a@example.org", "b@example.org")
		m.from = "<>"
		wantHeld(t, "first", w.send(p, m), true)
		w.now = w.now.Add(3 * time.Minute)
		wantHeld(t, "retry", w.send(p, m), false)
	})
}

func TestFailingStoreHoldsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		mail mail
		set  func(*site)
	}{
		{"at RCPT", plain(), func(*site) {}},
		{"at the end of the message", plain(), func(w *site) { w.suspicions = []*checks.Reason{badHeader} }},
		{"a bounce", with(func(m *mail) { m.from = "<>" }), func(*site) {}},
		{"a first contact", plain(), func(w *site) { w.suspicions, w.actions["first-contact"] = nil, checks.Greylist }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			c.set(w)
			p := w.daemon(t)
			w.store.Fail(errOutage)
			o := w.send(p, c.mail)
			wantHeld(t, "outage", o, false)
			if o.failures == 0 {
				t.Error("no failure was reported")
			}
			w.store.Fail(nil)
			wantHeld(t, "after the outage", w.send(p, c.mail), true)
			w.store.Fail(errOutage)
			wantHeld(t, "second outage", w.send(p, c.mail), false)
			w.onError = checks.Tempfail
			o = w.send(w.daemon(t), c.mail)
			if !strings.HasPrefix(strings.Join(o.replies, ""), "451 4.4.3") {
				t.Errorf("on_error tempfail: %q", o.replies)
			}
		})
	}
}

// TestVerdictsAreDeclared runs the check at its stages as the tests of the registry do.
func TestVerdictsAreDeclared(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	c := checktest.Build[greylist.Settings](t, greylist.Info, w.env, nil)
	r := checktest.Session{Client: "192.0.2.99", MailFrom: "a@example.net"}.Request(t)
	vs, err := checktest.Ask(t, greylist.Info, c, r)
	if got := checktest.IDs(vs); !slices.Equal(got, []string{"first-contact"}) || err != nil {
		t.Errorf("unsuspected: %q, %v", got, err)
	}
	r = checktest.Session{Client: "192.0.2.99", MailFrom: "b@example.net"}.Request(t, checks.Verdict{Reason: explained})
	vs, err = checktest.Ask(t, greylist.Info, c, r)
	if got := checktest.IDs(vs); !slices.Equal(got, []string{"greylisted"}) || err != nil {
		t.Errorf("suspected: %q, %v", got, err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*greylist.Settings)
		want   string // in the error; empty: none
	}{
		{"defaults", func(*greylist.Settings) {}, ""},
		{"no delay", func(s *greylist.Settings) { s.Delay = 0 }, "delay must be over 0"},
		{"a window shorter than the delay", func(s *greylist.Settings) { s.Window = time.Minute }, "window"},
		{"keep shorter than the window", func(s *greylist.Settings) { s.Keep = time.Hour }, "keep"},
		{"negative passes", func(s *greylist.Settings) { s.AutoAllow = -1 }, "auto_allow"},
		{"senders", func(s *greylist.Settings) {
			s.NoRetry = []string{"a.example.net", ".example.net", "192.0.2.1", "2001:db8::/32"}
		}, ""},
		{"a mailbox", func(s *greylist.Settings) { s.NoRetry = []string{"a@example.net"} }, `"a@example.net"`},
		{"a top-level domain", func(s *greylist.Settings) { s.NoRetry = []string{".com"} }, `".com"`},
		{"a mapped network", func(s *greylist.Settings) { s.NoRetry = []string{"::ffff:192.0.2.0/120"} }, ""},
		{"a network with bits after its prefix", func(s *greylist.Settings) { s.NoRetry = []string{"10.1.1.1/8"} }, `did you mean "10.0.0.0/8"?`},
		{"all at once", func(s *greylist.Settings) { s.Delay, s.NoRetry = 0, []string{"com", "192.0.2.0/33"} },
			"to off\nno_retry: \"com\" is not an address, a network or a host name; write it as 192.0.2.1, 192.0.2.0/24 or .example.net\nno_retry: \"192.0.2.0/33\""},
		{"a broken network", func(s *greylist.Settings) { s.NoRetry = []string{"192.0.2.0/33"} }, `"192.0.2.0/33"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := greylist.Info.Default.(greylist.Settings)
			c.change(&s)
			err := s.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
