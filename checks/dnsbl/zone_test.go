package dnsbl_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

// listsAll is a list with good test points that lists everything else.
var listsAll = turned("127.0.0.2", nil)

// listsNone is a list with good test points that lists nothing else.
var listsNone = turned("", nil)

// mails sends mail from n new client networks and returns how many were refused.
func (s *site) mails(n int) (refused int) {
	for range n {
		if s.mail() {
			refused++
		}
	}
	return refused
}

func TestZoneThatListsTheWorld(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsAll)
	refused := 0
	for range 300 { // two days
		refused += s.mails(1)
		s.pass(10 * time.Minute)
	}
	if refused != 11 {
		t.Errorf("%d client networks were refused, want 11", refused)
	}
	s.want("off", "it lists the world: it listed the last 12 client networks")
	if st := s.Report()[0]; st.Counts["queries"] != 300 {
		t.Errorf("asked %d times, want 300", st.Counts["queries"])
	}
	s.dns.set(listsNone)
	if s.mail() {
		t.Error("refused while the zone lists the world")
	}
	s.want("on", "")
	for _, line := range []string{"zone switched off", "zone switched on again"} {
		if n := strings.Count(s.log.String(), line); n != 1 {
			t.Errorf("%d lines %q in the log: %s", n, line, &s.log)
		}
	}

	s.dns.set(listsAll)
	if n := s.mails(100); n != 11 {
		t.Errorf("%d client networks were refused the second time, want 11", n)
	}
	s.want("off", "it lists the world")
	s.dns.set(listsNone)
	s.mail()
	s.want("on", "")
}

// TestUnlistedNetworkEndsTheRun tests that eleven listed networks and one unlisted network do not suspend the zone.
func TestUnlistedNetworkEndsTheRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsAll)
	for range 20 {
		s.dns.set(listsAll)
		if n := s.mails(11); n != 11 {
			t.Fatalf("%d refused of 11 listed", n)
		}
		s.dns.set(listsNone)
		s.mail()
	}
	s.want("on", "")
}

// manyNames is a DNS with one list, in which 192.0.2.9 has another name at each question.
type manyNames struct {
	list  answers
	names *atomic.Int32
}

func (m manyNames) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	switch {
	case q.Type == dns.TypePTR:
		name := fmt.Sprintf("mail.n%d.example.", m.names.Add(1))
		return checks.Answer{Records: []dns.RR{&dns.PTR{Ptr: name}}}, nil
	case !strings.Contains(q.Name, ".bl.example"):
		return all("192.0.2.9").Lookup(ctx, q)
	}
	return m.list.Lookup(ctx, q)
}

// visit is one session.
type visit struct{ client, helo, from string }

// TestOnlyClientNetworksCount tests that the run counts client networks, whatever the zone is asked about.
func TestOnlyClientNetworksCount(t *testing.T) {
	t.Parallel()
	domains := func(i int) visit {
		return visit{"192.0.2.9", fmt.Sprintf("mail.h%d.example", i), fmt.Sprintf("user@s%d.example", i)}
	}
	for _, test := range []struct {
		name  string
		query dnsbl.Query
		visit func(i int) visit
		one   bool // all visits are from one network
	}{
		{name: "one client, many sender domains", query: dnsbl.Sender, visit: domains, one: true},
		{name: "one client, many HELO names", query: dnsbl.Helo, visit: domains, one: true},
		{name: "one client, many names of its own", query: dnsbl.ClientName, one: true,
			visit: func(int) visit { return visit{client: "192.0.2.9"} }},
		{name: "many addresses of one IPv4 network", query: dnsbl.Client, one: true,
			visit: func(i int) visit { return visit{client: fmt.Sprintf("192.0.2.%d", i)} }},
		{name: "many addresses of one IPv6 network", query: dnsbl.Client, one: true,
			visit: func(i int) visit { return visit{client: fmt.Sprintf("2001:db8:1:%x::9", i)} }},
		{name: "no client address", query: dnsbl.Sender, one: true,
			visit: func(i int) visit { return visit{from: fmt.Sprintf("user@s%d.example", i)} }},

		{name: "many clients, one sender domain", query: dnsbl.Sender,
			visit: func(i int) visit { return visit{client: fmt.Sprintf("192.0.%d.9", i), from: "user@s.example"} }},
		{name: "many clients, one HELO name", query: dnsbl.Helo,
			visit: func(i int) visit { return visit{client: fmt.Sprintf("192.0.%d.9", i), helo: "mail.h.example"} }},
		{name: "many IPv6 networks", query: dnsbl.Client,
			visit: func(i int) visit { return visit{client: fmt.Sprintf("2001:db8:%x::9", i)} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, "")
			env.DNS = manyNames{list: listsAll, names: new(atomic.Int32)}
			c := build(t, env, zone(t, "bl.example", test.query))
			refused := 0
			for i := range 20 {
				v := test.visit(i + 1)
				vs, _ := ask(t, c, checktest.Session{Client: v.client, Helo: v.helo, MailFrom: v.from}.Request(t))
				if len(vs) > 0 {
					refused++
				}
			}
			want, state := 11, "off"
			if test.one {
				want, state = 20, "on"
			}
			if st := c.Report()[0]; refused != want || st.State != state {
				t.Errorf("%d of 20 refused, the zone is %s; want %d, %s", refused, st.State, want, state)
			}
		})
	}
}

// TestSuspendedZoneThatDies tests that a zone that lists the world is tested as any other, and is not asked while it is dead.
func TestSuspendedZoneThatDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsAll)
	s.mails(12)
	s.want("off", "it lists the world")
	s.dns.set(turned("", errors.New("SERVFAIL")))
	for range 5 {
		s.n++
		r := checktest.Session{Client: fmt.Sprintf("192.0.%d.9", s.n), Time: s.now}.Request(t)
		if vs, err := s.Check(t.Context(), r); len(vs) > 0 || err != nil {
			t.Errorf("got %q, %v; want neither verdict nor error", ids(vs), err)
		}
	}
	s.want("off", "SERVFAIL")
	s.mail()
	if st := s.Report()[0]; st.Counts["queries"] != 17 {
		t.Errorf("asked %d times, want 17", st.Counts["queries"])
	}
	s.dns.set(listsAll)
	s.pass(2 * time.Minute)
	s.want("off", "it lists the world")
	if n := s.mails(20); n > 0 {
		t.Errorf("%d refused", n)
	}
	s.dns.set(listsNone)
	s.mail()
	s.want("on", "")
}
