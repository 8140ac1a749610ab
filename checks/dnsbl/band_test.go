package dnsbl_test

import (
	"testing"
	"time"

	"milterd/checks/dnsbl"
)

// listing answers rightly at its test points and lists so many of a hundred clients.
func listing(percent int) answers {
	clients := map[string]int{} // by name, from 1: each is asked about twice, for its text too
	none, listed := turned("", nil), turned("127.0.0.2", nil)
	return func(name string) (string, error) {
		if addr, _ := none(name); addr != "" {
			return addr, nil // the test point
		}
		if addr, _ := listed(name); addr == "" {
			return "", nil
		}
		if clients[name] == 0 {
			clients[name] = len(clients) + 1
		}
		if n := clients[name]; n*percent/100 > (n-1)*percent/100 {
			return "127.0.0.2", nil
		}
		return "", nil
	}
}

func TestListsEveryone(t *testing.T) {
	t.Parallel()
	s := newSite(t, listing(100))
	refused := 0
	for range 200 {
		if s.mail() {
			refused++
		}
	}
	s.want(dnsbl.Off, "it lists everyone: 64 of 64")
	// The 64th is not refused any more.
	if refused != 63 {
		t.Errorf("%d clients refused by a list that lists everyone", refused)
	}
	s.pass(time.Minute)
	s.want(dnsbl.On, "") // its test points are right
	for range 64 {
		s.mail()
	}
	s.want(dnsbl.Off, "it lists everyone")
	s.pass(time.Minute)
	s.want(dnsbl.Off, "it lists everyone")
	s.pass(time.Minute)
	s.want(dnsbl.On, "")
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
		{name: "nearly all, where half was normal", before: 50, then: 95, why: "where 50 % were normal"},
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
