package greylist_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

func TestLifeOfATriplet(t *testing.T) {
	t.Parallel()
	type step struct {
		after time.Duration // since the step before
		reply string        // to RCPT
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"held first, passes when the delay is over, to the second", []step{{0, text(180)}, {179 * time.Second, text(1)}, {time.Second, ""}}},
		{"an early retry does not restart the clock", []step{
			{0, text(180)}, {8 * time.Second, text(172)}, {100 * time.Second, text(72)}, {60 * time.Second, text(12)}, {12 * time.Second, ""},
		}},
		{"passes at the end of the window", []step{{0, text(180)}, {48 * time.Hour, ""}}},
		{"begins anew after the window", []step{{0, text(180)}, {48*time.Hour + time.Second, text(180)}, {3 * time.Minute, ""}}},
		{"an early retry does not stretch the window", []step{{0, text(180)}, {time.Minute, text(120)}, {48 * time.Hour, text(180)}}},
		{"passes at once when it has passed", []step{{0, text(180)}, {3 * time.Minute, ""}, {time.Second, ""}, {34 * day, ""}}},
		{"is kept since its last use", []step{{0, text(180)}, {3 * time.Minute, ""}, {34 * day, ""}, {34 * day, ""}, {34 * day, ""}}},
		{"is forgotten after 35 d without use", []step{{0, text(180)}, {3 * time.Minute, ""}, {35 * day, text(180)}, {3 * time.Minute, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			for i, s := range c.steps {
				w.now = w.now.Add(s.after)
				wantReply(t, fmt.Sprint("step ", i), w.send(p, plain()).replies[0], s.reply)
			}
		})
	}
}

func TestTimesDoNotHangOnTheStoresClock(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.env.Store = checktest.NewStore(nil) // nothing ever expires
	p := w.daemon(t)
	wantHeld(t, "first", w.send(p, plain()), true)
	w.now = w.now.Add(48*time.Hour + time.Second)
	wantHeld(t, "after the window", w.send(p, plain()), true)
	w.now = w.now.Add(3 * time.Minute)
	wantHeld(t, "retry", w.send(p, plain()), false)
	w.now = w.now.Add(35 * 24 * time.Hour)
	wantHeld(t, "after 35 d", w.send(p, plain()), true)
	other := with(func(m *mail) { m.client = "198.51.100.99" })
	wantHeld(t, "another client", w.send(p, other), true)
	w.now = w.now.Add(-300 * 24 * time.Hour)
	if got := w.send(p, other).replies[0]; !strings.Contains(got, " 180 s ") {
		t.Errorf("a clock that was set back: %q", got)
	}
}

func TestSuspicion(t *testing.T) {
	t.Parallel()
	greylist := func(w *site) { w.actions["first-contact"] = checks.Greylist }
	for _, c := range []struct {
		name     string
		set      func(*site)
		first    string // the reply
		outcomes string
		later    bool // held 3 minutes later
	}{
		{name: "a suspicion holds", set: func(*site) {}, first: text(180), outcomes: "suspicious=greylist greylisted=tempfail"},
		{name: "none does not", set: func(w *site) { w.suspects = nil }},
		{name: "one that is watched does not", set: func(w *site) { w.actions["suspicious"] = checks.Watch }, outcomes: "suspicious=watch"},
		{name: "somebody vouches", set: func(w *site) { w.vouches = checks.SkipDelays }, outcomes: "suspicious=greylist"},
		{name: "greylisted is watched", set: func(w *site) { w.actions["greylisted"] = checks.Watch }, outcomes: "suspicious=greylist greylisted=watch"},
		{name: "first contact is watched", set: func(w *site) {
			w.suspects, w.actions["first-contact"] = nil, checks.Watch
		}, outcomes: "first-contact=watch"},
		{name: "first contact beside a suspicion is not told of", set: func(w *site) { w.actions["first-contact"] = checks.Watch },
			first: text(180), outcomes: "suspicious=greylist greylisted=tempfail"},
		{name: "first contact holds everyone", set: func(w *site) { w.suspects = nil; greylist(w) },
			first:    "451 4.7.1 greylisted for 180 s more: 192.0.2.99 sends the first mail from <alice@example.net> to <bob@example.org>; please try again",
			outcomes: "first-contact=greylist greylisted=tempfail"},
		{name: "but whom somebody vouches for", set: func(w *site) {
			w.suspects, w.vouches = nil, checks.SkipDelays
			greylist(w)
		}},
		{name: "what only the verdict knew is left out", set: func(w *site) { w.suspects = []*checks.Reason{explained} },
			first:    "451 4.7.1 greylisted for 180 s more: 192.0.2.99 may not send mail for example.net; please try again",
			outcomes: "explained=greylist greylisted=tempfail"},
		{name: "the first suspicion is told", set: func(w *site) { w.suspects = []*checks.Reason{suspicious, explained} },
			first: text(180), outcomes: "suspicious=greylist explained=greylist greylisted=tempfail"},
		{name: "an exempt recipient never waits", set: func(w *site) { w.exempt = []string{"bob"} }},
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
				t.Errorf("a known one is told of: %s", joined(o))
			}
		})
	}
}

func TestClientIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		first, second mail
		same          bool
	}{
		{"hosts of one organisational domain", mail{client: "192.0.2.10"}, mail{client: "198.51.100.10"}, true},
		{"a host with a name, a host without", mail{client: "192.0.2.10"}, mail{client: "192.0.2.11"}, false},
		{"neighbours in a /24", mail{client: "192.0.2.98"}, mail{client: "192.0.2.99"}, true},
		{"two /24", mail{client: "192.0.2.99"}, mail{client: "198.51.100.99"}, false},
		{"neighbours in a /64", mail{client: "2001:db8::1:1"}, mail{client: "2001:db8::2:2"}, true},
		{"two /64", mail{client: "2001:db8:0:1::1"}, mail{client: "2001:db8:0:2::1"}, false},
		{"neighbours whose names spell their addresses", mail{client: "192.0.2.20"}, mail{client: "192.0.2.21"}, false},
		{"the same whose name spells its address", mail{client: "192.0.2.20"}, mail{client: "192.0.2.20"}, true},
		{"a pool with SPF", mail{client: "203.0.113.7", from: "a@spf.example.com"}, mail{client: "198.51.100.70", from: "a@spf.example.com"}, true},
		{"a pool with SPF for bounces", mail{client: "203.0.113.7", helo: "spf.example.com", from: "<>"}, mail{client: "198.51.100.70", helo: "spf.example.com", from: "<>"}, true},
		{"an SPF record that is too wide", mail{client: "203.0.113.7", from: "a@wide.example.com"}, mail{client: "198.51.100.70", from: "a@wide.example.com"}, false},
		{"a new sender for each message", mail{client: "192.0.2.99", from: "prvs=1234abcdef=a@x.example"}, mail{client: "192.0.2.99", from: "prvs=2345abcdef=a@X.example"}, true},
		{"another sender", mail{client: "192.0.2.99", from: "a@x.example"}, mail{client: "192.0.2.99", from: "b@x.example"}, false},
		{"another recipient", mail{client: "192.0.2.99", to: []string{"u@example.org"}}, mail{client: "192.0.2.99", to: []string{"v@example.org"}}, false},
		{"a recipient in capitals", mail{client: "192.0.2.99", to: []string{"u@example.org"}}, mail{client: "192.0.2.99", to: []string{"U@EXAMPLE.org"}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			for _, m := range []*mail{&c.first, &c.second} {
				if m.from == "" {
					m.from = "a@example.net"
				}
				if m.to == nil {
					m.to = []string{"u@example.org"}
				}
			}
			wantHeld(t, "first", w.send(p, c.first), true)
			w.now = w.now.Add(4 * time.Minute)
			wantHeld(t, "second", w.send(p, c.second), !c.same)
		})
	}
}

func TestAutoAllow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		client string
		from   string
		other  string // a client that is not allowed with it
		near   string // one that is
	}{
		{name: "organisational domain and /24", client: "198.51.100.10", other: "192.0.2.10", near: "198.51.100.11"},
		{name: "a network", client: "192.0.2.99", other: "198.51.100.99", near: "192.0.2.98"},
		{name: "an address spelled in its name", client: "192.0.2.20", other: "192.0.2.21", near: "192.0.2.20"},
		{name: "a domain with SPF", client: "203.0.113.7", from: "@spf.example.com", other: "192.0.2.99", near: "198.51.100.70"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			if c.from == "" {
				c.from = "@example.net"
			}
			number := 0
			try := func(client string) bool { // a new triplet each time
				number++
				return w.send(p, mail{client: client, from: string(rune('a'+number/26)) + string(rune('a'+number%26)) + c.from, to: []string{"u@example.org"}}).held()
			}
			pass := func() { // two messages, half an hour apart
				m := mail{client: c.client, from: "pass" + c.from, to: []string{fmt.Sprintf("u%d@example.org", number)}}
				wantHeld(t, "first", w.send(p, m), true)
				w.now = w.now.Add(30 * time.Minute)
				wantHeld(t, "retry", w.send(p, m), false)
				wantHeld(t, "again", w.send(p, m), false)
				number++
			}
			for i := range 9 { // at 0:30, 1:00, 1:30 ... the 5th count is the 9th pass
				pass()
				if held := try(c.client); held != (i < 8) {
					t.Fatalf("after %d passes: held %v", i+1, held)
				}
			}
			if try(c.near) {
				t.Errorf("%s waits", c.near)
			}
			if !try(c.other) {
				t.Errorf("%s does not wait", c.other)
			}
			w.now = w.now.Add(34 * 24 * time.Hour)
			if try(c.client) {
				t.Error("waits after 34 d")
			}
			w.now = w.now.Add(35 * 24 * time.Hour)
			if !try(c.client) {
				t.Error("does not wait after 35 d without use")
			}
		})
	}
}

func TestAutoAllowOff(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.change = func(c *greylist.Settings) { c.AutoAllow = 0 }
	p := w.daemon(t)
	for i := range 20 {
		m := with(func(m *mail) { m.to = []string{fmt.Sprintf("u%d@example.org", i)} })
		wantHeld(t, "first", w.send(p, m), true)
		w.now = w.now.Add(2 * time.Hour)
		wantHeld(t, "retry", w.send(p, m), false)
	}
}

func TestNullReversePathIsHeldAtTheEndOfTheHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		set  func(*site)
		why  string
	}{
		{"under suspicion", func(*site) {}, "192.0.2.99 has no reverse DNS name"},
		{"on first contact", func(w *site) { w.suspects, w.actions["first-contact"] = nil, checks.Greylist },
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
				wantReply(t, "header", o.replies[1], fmt.Sprintf("451 4.7.1 greylisted for %d s more: %s; please try again", seconds, c.why))
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
	w.suspects = []*checks.Reason{badHeader}
	p := w.daemon(t)
	o := w.send(p, plain())
	wantReply(t, "RCPT", o.replies[0], "")
	wantReply(t, "header", o.replies[1], "451 4.7.1 greylisted for 180 s more: the date is wrong; please try again")
	wantReply(t, "outcomes", joined(o), "bad-header=greylist greylisted=tempfail")
	w.now = w.now.Add(time.Minute)
	wantHeld(t, "early", w.send(p, plain()), true)
	w.now = w.now.Add(2 * time.Minute)
	wantHeld(t, "retry", w.send(p, plain()), false)
}

func TestASuspicionOfEachStageWaitsOnce(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.suspects = []*checks.Reason{suspicious, badHeader}
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
	t.Run("each is held by itself at RCPT", func(t *testing.T) {
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
	t.Run("a message waits for the last of them, and all wait together", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		w.suspects = []*checks.Reason{badHeader}
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
	t.Run("a refused one does not hold the message", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		w.suspects = []*checks.Reason{suspicious, badHeader}
		p := w.daemon(t)
		w.send(p, to("a@example.org"))
		w.now = w.now.Add(3 * time.Minute)
		o := w.send(p, to("a@example.org", "b@example.org"))
		if o.replies[1] == "" || o.replies[2] != "" {
			t.Errorf("replies %q", o.replies)
		}
	})
	t.Run("of a bounce the one that passed does not pass for the other", func(t *testing.T) {
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

func TestAFailingStoreNeverHolds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		mail mail
		set  func(*site)
	}{
		{"at RCPT", plain(), func(*site) {}},
		{"at the end of the header", plain(), func(w *site) { w.suspects = []*checks.Reason{badHeader} }},
		{"a bounce", with(func(m *mail) { m.from = "<>" }), func(*site) {}},
		{"a first contact", plain(), func(w *site) { w.suspects, w.actions["first-contact"] = nil, checks.Greylist }},
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
				t.Error("the failure was not told of")
			}
			w.store.Fail(nil)
			wantHeld(t, "state back", w.send(p, c.mail), true)
			w.store.Fail(errOutage)
			wantHeld(t, "outage again", w.send(p, c.mail), false)
			w.onError = checks.Tempfail
			o = w.send(w.daemon(t), c.mail)
			if !strings.HasPrefix(strings.Join(o.replies, ""), "451 4.4.3") {
				t.Errorf("on_error tempfail: %q", o.replies)
			}
		})
	}
}

func TestGarbageInTheStoreIsWrittenOver(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	p := w.daemon(t)
	wantHeld(t, "first", w.send(p, plain()), true)
	for r := range w.store.Scan(context.Background(), "") {
		if err := w.store.Put(context.Background(), r.Key, []byte("}"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	wantReply(t, "garbage", w.send(p, plain()).replies[0], text(180))
	w.now = w.now.Add(3 * time.Minute)
	wantHeld(t, "retry", w.send(p, plain()), false)
}

func TestSendersThatNeverRetry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client, from string
		set                []string
		held               bool
	}{
		{name: "a shipped domain by the client's name", client: "192.0.2.30", from: "a@example.net"},
		{name: "a name that leads elsewhere", client: "192.0.2.31", from: "a@example.net", held: true},
		{name: "a sender's domain without SPF", client: "192.0.2.99", from: "a@amazonses.com", held: true},
		{name: "a sender's domain with SPF", client: "192.0.2.32", from: "a@outlook.example.com", set: []string{".example.com"}},
		{name: "an SPF pass that is too wide", client: "192.0.2.32", from: "a@wide.example.com", set: []string{".example.com"}, held: true},
		{name: "a host", client: "192.0.2.10", from: "a@example.net", set: []string{"MAIL1.example.net"}},
		{name: "another host", client: "198.51.100.10", from: "a@example.net", set: []string{"mail1.example.net"}, held: true},
		{name: "a host is no domain", client: "198.51.100.10", from: "a@example.net", set: []string{"example.net"}, held: true},
		{name: "a domain", client: "198.51.100.10", from: "a@example.net", set: []string{".example.net"}},
		{name: "a network", client: "192.0.2.99", from: "a@example.net", set: []string{"192.0.2.64/26"}},
		{name: "an address", client: "2001:db8::9", from: "a@example.net", set: []string{"2001:db8::9"}},
		{name: "another address", client: "2001:db8::8", from: "a@example.net", set: []string{"2001:db8::9"}, held: true},
		{name: "a bounce", client: "192.0.2.30", from: "<>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			w.change = func(s *greylist.Settings) { s.NoRetry = c.set }
			wantHeld(t, "first", w.send(w.daemon(t), mail{client: c.client, from: c.from, to: []string{"u@example.org"}}), c.held)
		})
	}
}

func TestTwoDaemonsBehaveAsOne(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	one, two := w.daemon(t), w.daemon(t)
	wantHeld(t, "first at one", w.send(one, plain()), true)
	w.now = w.now.Add(time.Minute)
	wantReply(t, "early at two", w.send(two, plain()).replies[0], text(120))
	w.now = w.now.Add(2 * time.Minute)

	// At the same moment at both: everybody passes, and one pass is counted.
	daemons := []*checks.Pipeline{one, two}
	var held atomic.Int32
	together := func(mails func(i int) mail) {
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if w.send(daemons[i%2], mails(i)).held() {
					held.Add(1)
				}
			})
		}
		wg.Wait()
	}
	together(func(int) mail { return plain() })
	if n := held.Load(); n != 0 {
		t.Errorf("%d of 32 held", n)
	}
	for hour := 1; hour < 5; hour++ {
		wantPasses(t, w, hour)
		w.now = w.now.Add(time.Hour)
		together(func(int) mail { return plain() })
	}
	wantPasses(t, w, 5)

	held.Store(0)
	together(func(i int) mail { return with(func(m *mail) { m.to = []string{fmt.Sprintf("u%d@example.org", i)} }) })
	if n := held.Load(); n != 0 {
		t.Errorf("%d of 32 held after auto_allow", n)
	}
	// The first sight is one, whoever sees it.
	together(func(int) mail { return with(func(m *mail) { m.client = "198.51.100.99" }) })
	if n := held.Load(); n != 32 {
		t.Errorf("%d of 32 held at first sight", n)
	}
	triplets := 0
	for tr, err := range greylist.List(context.Background(), w.store, w.now, "198.51.100.99") {
		triplets++
		if err != nil || tr.State != greylist.Waiting || !tr.First.Equal(w.now) {
			t.Errorf("%+v, %v", tr, err)
		}
	}
	if triplets != 1 {
		t.Errorf("%d triplets", triplets)
	}
}

func wantPasses(t *testing.T, w *site, want int) {
	t.Helper()
	for c, err := range greylist.Clients(context.Background(), w.store, "") {
		if err != nil || c.Passes != want || c.Identity != "192.0.2.0/24" {
			t.Errorf("got %+v, %v, want %d passes", c, err, want)
		}
	}
}

// BenchmarkDecision takes what is new in each transaction: the client's name, its identity, the store's records.
func BenchmarkDecision(b *testing.B) {
	benched := mail{client: "192.0.2.10", from: "alice@example.net", to: []string{"user@example.org"}}
	for _, c := range []struct {
		name string
		set  func(w *site, p *checks.Pipeline)
	}{
		{"known", func(w *site, p *checks.Pipeline) {
			w.send(p, benched)
			w.now = w.now.Add(3 * time.Minute)
			w.send(p, benched)
		}},
		{"early", func(w *site, p *checks.Pipeline) { w.send(p, benched) }},
		{"first", func(w *site, _ *checks.Pipeline) { w.env.Store = noStore{} }},
		{"unsuspected", func(w *site, _ *checks.Pipeline) { w.suspects = nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newSite(b)
			c.set(w, w.daemon(b))
			check := checktest.Build[greylist.Settings](b, greylist.Info, w.env, nil)
			s := checktest.Session{Client: "192.0.2.10", Helo: "mail1.example.net", MailFrom: "alice@example.net"}.Request(b)
			s.Time, s.Stage = w.now, checks.RcptTo
			b.ReportAllocs()
			for b.Loop() {
				one := checks.NewRequest(s.Session, checks.RcptTo, suspicions(w.suspects)...) // has found out nothing
				if _, err := check.Check(context.Background(), one); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// suspicions are verdicts of earlier checks with these reasons.
func suspicions(reasons []*checks.Reason) []checks.Verdict {
	var vs []checks.Verdict
	for _, r := range reasons {
		vs = append(vs, checks.Verdict{Reason: r})
	}
	return vs
}

// noStore has no record and keeps none.
type noStore struct{ checks.Store }

func (noStore) Get(context.Context, string) ([]byte, bool, error) { return nil, false, nil }
func (noStore) PutNew(context.Context, string, []byte, time.Duration) (bool, error) {
	return true, nil
}

func TestAnUnknownClientWaitsToo(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	c := checktest.Build[greylist.Settings](t, greylist.Info, w.env, nil)
	for _, want := range []int{1, 0} {
		s := checktest.Session{MailFrom: "a@example.net", Time: w.now}.Request(t, checks.Verdict{Reason: suspicious})
		s.Stage = checks.RcptTo
		vs, err := c.Check(context.Background(), s)
		if len(vs) != want || err != nil {
			t.Errorf("%d verdicts, %v, want %d", len(vs), err, want)
		}
		w.now = w.now.Add(3 * time.Minute)
	}
}

// TestEveryVerdictIsDeclared takes the check through its stages as the registry's tests do.
func TestEveryVerdictIsDeclared(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	c := checktest.Build[greylist.Settings](t, greylist.Info, w.env, nil)
	s := checktest.Session{Client: "192.0.2.99", MailFrom: "a@example.net"}.Request(t)
	vs, err := checktest.Ask(t, greylist.Info, c, s)
	if got := checktest.IDs(vs); !slices.Equal(got, []string{"first-contact"}) || err != nil {
		t.Errorf("unsuspected: %q, %v", got, err)
	}
	s = checktest.Session{Client: "192.0.2.99", MailFrom: "b@example.net"}.Request(t, checks.Verdict{Reason: explained})
	vs, err = checktest.Ask(t, greylist.Info, c, s)
	if got := checktest.IDs(vs); !slices.Equal(got, []string{"greylisted"}) || err != nil {
		t.Errorf("suspected: %q, %v", got, err)
	}
}
