package dnsbl_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

// listing answers rightly at its test points and lists so many of a hundred clients, evenly.
func listing(percent int) answers {
	return listingIf(func(n int) bool { return n*percent/100 > (n-1)*percent/100 })
}

// byLot is listing, but which ones is drawn by lot.
func byLot(percent int) answers {
	lots := rand.New(rand.NewPCG(1, 2))
	return listingIf(func(int) bool { return lots.IntN(100) < percent })
}

// listingIf answers rightly at its test points and asks for each client, counted from 1, whether it is listed.
func listingIf(is func(n int) bool) answers {
	clients := map[string]bool{} // each is asked about twice, for its text too
	none, listed := turned("", nil), turned("127.0.0.2", nil)
	return func(name string) (string, error) {
		if addr, _ := none(name); addr != "" {
			return addr, nil // the test point
		}
		if addr, _ := listed(name); addr == "" {
			return "", nil
		}
		if _, known := clients[name]; !known {
			clients[name] = is(len(clients) + 1)
		}
		if clients[name] {
			return "127.0.0.2", nil
		}
		return "", nil
	}
}

// mails lets so many new clients send and counts the refused.
func (s *site) mails(n int) (refused int) {
	for range n {
		if s.mail() {
			refused++
		}
	}
	return refused
}

// At a small site a list that lists everyone must cost no more than at a large one, for as long as that goes on.
func TestListsEveryone(t *testing.T) {
	t.Parallel()
	s := newSite(t, listing(100))
	refused := 0
	for range 300 { // two days
		refused += s.mails(1)
		s.pass(10 * time.Minute)
	}
	if refused != 11 {
		t.Errorf("%d clients refused by a list that lists everyone", refused)
	}
	s.want(dnsbl.Off, "it lists everyone: 12 of 12")
	if st := s.Zones()[0]; st.Queries != 300 {
		t.Errorf("asked %d times", st.Queries)
	}
	s.dns.set(turned("", nil))
	if s.mail() {
		t.Error("refused while the zone is in doubt")
	}
	s.want(dnsbl.On, "")
	for _, line := range []string{"zone switched off", "zone switched on again"} {
		if n := strings.Count(s.log.String(), line); n != 1 {
			t.Errorf("%d lines %q in the log: %s", n, line, &s.log)
		}
	}

	// Not listing one is enough once only.
	s.dns.set(listing(100))
	s.mails(100)
	s.want(dnsbl.Off, "it lists everyone")
	s.dns.set(turned("", nil))
	s.mail()
	s.mailFrom(fmt.Sprintf("192.%d.%d.10", s.n/256, s.n%256)) // the same network
	s.want(dnsbl.Off, "it lists everyone")
	s.mail()
	s.want(dnsbl.On, "")
}

// reload replaces the check as the daemon does when its configuration is read again.
func (s *site) reload(settings dnsbl.Zone) {
	env := checktest.Env(s.t, "")
	env.DNS = &s.dns
	env.Log.Logger.SetOutput(&s.log)
	next := build(s.t, env, settings)
	next.Inherit(s.Check)
	next.Tend(s.t.Context(), s.now)
	s.Check = next
}

// A reload forgets nothing of a zone, unless that is another one now.
func TestReload(t *testing.T) {
	t.Parallel()
	same := zone(t, "bl.example", dnsbl.Client)
	s := newSite(t, listing(100))
	s.mails(100)
	old := s.Check
	for range 5 {
		s.reload(same)
		if n := s.mails(20); n > 0 {
			t.Errorf("%d clients refused by a list that was known to list everyone", n)
		}
		s.want(dnsbl.Off, "it lists everyone: 12 of 12")
	}
	s.dns.set(turned("", nil))
	s.mail()
	s.want(dnsbl.On, "")
	if st := old.Zones()[0]; st.State != dnsbl.Off {
		t.Errorf("what is still in use learned from what replaced it: %+v", st)
	}

	dead := func(string) (string, error) { return "", errors.New("SERVFAIL") }
	// Only a zone that is off is tested at once: somebody may have mended it.
	s.dns.set(dead)
	s.reload(same)
	s.want(dnsbl.On, "")
	s.pass(time.Hour)
	s.want(dnsbl.Off, "SERVFAIL")
	s.dns.set(turned("", nil))
	s.reload(same)
	s.want(dnsbl.On, "")

	s.dns.set(dead)
	other := zone(t, "bl.example", dnsbl.Client)
	other.Allow = true
	s.reload(other)
	s.want(dnsbl.Off, "SERVFAIL")
}

// A zone that is to be tested more often is so from the reload on.
func TestReloadWithOtherHealth(t *testing.T) {
	t.Parallel()
	s := newSite(t, turned("", nil))
	s.mail()
	env := checktest.Env(t, "")
	env.DNS = &s.dns
	next := checktest.Build(t, dnsbl.Info, env, func(c *dnsbl.Settings) {
		c.Health, c.Zones = 5*time.Minute, []dnsbl.Zone{zone(t, "bl.example", dnsbl.Client)}
	}).(*dnsbl.Check)
	next.Inherit(s.Check)
	s.Check = next
	s.dns.set(func(string) (string, error) { return "", errors.New("SERVFAIL") })
	s.pass(4 * time.Minute)
	s.want(dnsbl.On, "")
	s.pass(2 * time.Minute)
	s.want(dnsbl.Off, "SERVFAIL")
}

// What a list that lists everyone costs where the site knows what share it lists: honest mail hardly more than where it does not.
func TestListsEveryoneSuddenly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ before, refused int }{{0, 11}, {30, 11}, {50, 11}, {80, 31}, {90, 66}} {
		s := newSite(t, listing(test.before))
		s.mails(1000)
		s.want(dnsbl.On, "")
		s.dns.set(listing(100))
		refused := s.mails(200)
		if honest := refused * (100 - test.before) / 100; refused > test.refused || honest > 11 {
			t.Errorf("%d %% listed before: %d refused, %d more than before", test.before, refused, honest)
		}
		s.want(dnsbl.Off, "it lists everyone")
	}
}

// A zone in doubt is tested as others, and when it does not answer mail does not ask it.
func TestInDoubtAndDead(t *testing.T) {
	t.Parallel()
	s := newSite(t, listing(100))
	s.mails(12)
	s.want(dnsbl.Off, "it lists everyone")
	fails := errors.New("SERVFAIL")
	s.dns.set(turned("", fails))
	for range 5 {
		s.n++
		session := checktest.Session{Client: fmt.Sprintf("192.0.%d.9", s.n), Time: s.now}.Session(t)
		if vs, err := s.Check.Check(t.Context(), session); len(vs) > 0 || err != nil {
			t.Errorf("got %q, %v: what it says counts for nothing", ids(vs), err)
		}
	}
	s.want(dnsbl.Off, "SERVFAIL")
	s.mail()
	if st := s.Zones()[0]; st.Queries != 17 {
		t.Errorf("asked %d times", st.Queries)
	}
	s.dns.set(listing(100))
	s.pass(2 * time.Minute)
	s.want(dnsbl.Off, "it lists everyone")
	if n := s.mails(20); n > 0 {
		t.Errorf("%d refused", n)
	}
	s.dns.set(turned("", nil))
	s.mail()
	s.want(dnsbl.On, "")
}

// Chance: a good zone at a site with much spam is hardly ever in doubt, and not for long.
func TestGoodZoneStaysOn(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{50, 70, 90} {
		s := newSite(t, byLot(percent))
		refused := s.mails(1500)
		if st := s.Zones()[0]; uint64(refused) > st.Hits || float64(refused) < 0.98*float64(st.Hits) {
			t.Errorf("%d %%: %d refused of %d listed", percent, refused, st.Hits)
		}
	}
}

func TestNormalBand(t *testing.T) {
	t.Parallel()
	const sample = 64
	for _, test := range []struct {
		name         string
		before, then int // of a hundred
		why          string
	}{
		{name: "always half", before: 50, then: 50},
		{name: "a little more", before: 50, then: 65},
		{name: "a little less", before: 50, then: 30},
		{name: "nothing, where half was normal", before: 50, then: 0, why: "it lists 0 % of what it is asked, where 50 % were normal"},
		{name: "nearly all, where half was normal", before: 50, then: 90, why: "where 50 % were normal"},
		{name: "nothing, where little was normal", before: 5, then: 0},
		{name: "half, where little was normal", before: 2, then: 50, why: "where 2 % were normal"},
		{name: "nothing ever", before: 0, then: 0},
		{name: "half, where nothing was normal", before: 0, then: 50, why: "where 0 % were normal"},
		{name: "everyone, where nearly everyone is normal", before: 98, then: 100},
		{name: "nearly everyone, as always", before: 90, then: 92},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, listing(test.before))
			for range 10 * sample {
				s.mail()
			}
			s.want(dnsbl.On, "")
			s.dns.set(listing(test.then))
			for range sample {
				s.mail()
			}
			if test.why == "" {
				s.want(dnsbl.On, "")
				return
			}
			s.want(dnsbl.Off, test.why)
			// With good test points it is the world that has changed: this becomes normal.
			s.pass(time.Minute)
			for range 20 * sample {
				s.mail()
			}
			s.want(dnsbl.On, "")
			s.dns.set(listing(test.before))
			for range sample {
				s.mail()
			}
			s.want(dnsbl.Off, "were normal")
		})
	}
}

// A client that comes again and again says nothing of a list, and neither does the rest of its network.
func TestBusyClientIsNoSample(t *testing.T) {
	t.Parallel()
	s := newSite(t, turned("127.0.0.2", nil))
	for range 100 {
		for _, client := range []string{"192.0.2.9", "192.0.2.10", "2001:db8::9", "2001:db8::a"} {
			if !s.mailFrom(client) {
				t.Fatal("not refused")
			}
		}
	}
	s.want(dnsbl.On, "")
	if st := s.Zones()[0]; st.Queries != 400 || st.Hits != 400 {
		t.Errorf("counted %+v", st.Counts)
	}
	if !s.mailFrom("192.0.3.9") {
		t.Error("not refused")
	}
}
