package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

var _ checks.Senders = (*Collector)(nil)

// relay has mail of some authors by a client, a message every second day.
func (s *site) relay(client, from string, authors int, reasons ...did) {
	for i := range authors {
		s.relayed(2*i, client, from, fmt.Sprintf("author%d.example", i), reasons...)
	}
}

// TestRelays tests who is a known relay of other people's mail, and who is a good sender.
func TestRelays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		mail        func(s *site)
		good, relay bool // list.example
	}{
		{"nothing", func(*site) {}, false, false},
		{"clean mail of five authors", func(s *site) { s.relay("list.example", "x@srs.example", 5) }, true, true},
		{"with the network of the client", func(s *site) { s.relay("list.example 192.0.2.0/24", "x@srs.example", 5) }, true, true},
		{"by a verified sender", func(s *site) { s.relay("own.host.example", "x@list.example", 5) }, true, true},
		{"a sender that is not verified", func(s *site) { s.relay("host.example", "x@list.example", 5) }, false, false},
		{"four authors", func(s *site) { s.relay("list.example", "x@srs.example", 4) }, true, false},
		{"five authors in one day", func(s *site) {
			s.clean("list.example", "x@srs.example", 0, 8, 10)
			s.relayed(0, "list.example", "x@srs.example", "a.example b.example c.example d.example e.example")
		}, true, false},
		{"its own mail", func(s *site) {
			for day := range 10 {
				s.relayed(day, "list.example", "x@list.example", "list.example")
			}
		}, true, false},
		{"customers whose domains are verified", func(s *site) {
			for day := range 10 {
				domain := fmt.Sprintf("customer%d.example", day)
				s.relayed(day, "own.list.example", "x@"+domain, domain)
			}
		}, false, false},
		{"mail that a reason watches, regularly", func(s *site) { s.relay("list.example", "x@srs.example", 8, watched) }, true, true},
		{"mail that a reason watches, not for two weeks", func(s *site) { s.relay("list.example", "x@srs.example", 5, watched) }, false, false},
		{"a refusal", func(s *site) {
			s.relay("list.example", "x@srs.example", 5)
			s.mail(3, "list.example", "y@srs.example", rejected)
		}, true, false},
		{"a refusal for want of an answer", func(s *site) {
			s.relay("list.example", "x@srs.example", 5)
			s.unsure(3, "list.example", "y@srs.example", judged)
			s.mail(3, "list.example", "y@srs.example", did{unanswered, checks.Tempfail})
		}, true, true},
		{"a block for want of an answer", func(s *site) {
			s.relay("list.example", "x@srs.example", 5)
			s.unsure(3, "list.example", "y@srs.example", listed)
		}, true, true},
		{"a listing that is only watched", func(s *site) {
			s.relay("list.example", "x@srs.example", 5)
			s.mail(3, "list.example", "y@srs.example", did{listed, checks.Watch})
		}, true, false},
		{"a client without a domain", func(s *site) { s.relay("192.0.2.0/24", "x@srs.example", 5) }, false, false},
		{"a user wrote to the sender", func(s *site) {
			s.write("x@list.example")
			s.mail(0, "own.host.example", "x@list.example", watched)
		}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.mail(s)
			s.setTime(start.AddDate(0, 0, 20))
			s.settle()
			if good, relay := s.IsGood("list.example"), s.Relays("list.example"); good != c.good || relay != c.relay {
				t.Errorf("good %t, relay %t, want %t, %t", good, relay, c.good, c.relay)
			}
		})
	}
}

// unsure refuses mail because an answer is missing.
func (s *site) unsure(day int, client, from string, reason *checks.Reason) {
	s.Decided(requestOf(session(day, client, from)), checks.Decision{
		Reply: &checks.Reply{}, Reason: reason, Action: checks.Tempfail,
		Outcomes: []checks.Outcome{{Check: "helo", Reason: reason, Action: checks.Tempfail, Unsure: true}},
	})
}

// settle writes the evidence and reads the known senders.
func (s *site) settle() {
	s.t.Helper()
	if err := s.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.refreshIndex(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// TestUnread tests that the known senders are unknown until the store answers, and stay known when it is gone.
func TestUnread(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.relay("list.example", "x@srs.example", 5)
	s.setTime(start.AddDate(0, 0, 20))
	s.settle()
	if other := s.open(s.store); other.Unread() != nil || !other.Relays("list.example") {
		t.Errorf("after the start: %v, relay %t", other.Unread(), other.Relays("list.example"))
	}
	s.store.Fail(errors.New("gone"))
	other := s.open(s.store)
	if other.refreshIndex(t.Context()) == nil || other.Unread() == nil || other.Relays("list.example") {
		t.Errorf("the store is down: %v, relay %t", other.Unread(), other.Relays("list.example"))
	}
	s.store.Fail(nil)
	if other.refreshIndex(t.Context()) != nil || other.Unread() != nil || !other.Relays("list.example") {
		t.Errorf("the store is back: %v, relay %t", other.Unread(), other.Relays("list.example"))
	}
	s.store.Fail(errors.New("gone"))
	if other.refreshIndex(t.Context()) == nil || other.Unread() != nil || !other.Relays("list.example") {
		t.Errorf("the store is down again: %v, relay %t", other.Unread(), other.Relays("list.example"))
	}
}

// TestRelaysOfOtherHosts tests that a host knows what another host with the same store saw.
func TestRelaysOfOtherHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.relay("list.example", "x@srs.example", 5)
	s.setTime(start.AddDate(0, 0, 20))
	s.settle()
	other := s.open(s.store)
	if err := other.refreshIndex(t.Context()); err != nil || !other.Relays("list.example") {
		t.Error("not known there")
	}
	s.setTime(start.AddDate(0, 0, 60))
	if err := other.refreshIndex(t.Context()); err != nil || other.Relays("list.example") {
		t.Error("still known after 60 days")
	}
}

func TestForwarders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.relay("list.example 192.0.2.0/24", "x@srs.example", 6)
	s.relay("list.example 198.51.100.0/24", "x@srs.example", 6)
	s.relay("203.0.113.0/24", "x@srs.example", 5)
	s.relay("spf.example", "x@spf.example", 5)
	s.mail(3, "spf.example", "y@spf.example", rejected)
	s.relay("few.example", "x@few.example", 4)
	s.relay("unknown", "x@srs.example", 9)
	s.setTime(start.AddDate(0, 0, 20))
	r, err := s.Forwarders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.Forwarders {
		got = append(got, fmt.Sprintf("%s spf=%t messages=%d days=%d authors=%d against=%d known=%t %s", f.Client, f.SPF, f.Messages, f.Days, len(f.Authors), f.Against, f.Known, f.Last.Sub(f.First)))
	}
	want := []string{
		"list.example spf=false messages=12 days=6 authors=6 against=0 known=true 240h0m0s",
		"203.0.113.0/24 spf=false messages=5 days=5 authors=5 against=0 known=false 192h0m0s",
		"spf.example spf=true messages=5 days=5 authors=5 against=1 known=false 192h0m0s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Until != s.now() || r.Lost != 0 {
		t.Errorf("until %v, lost %d", r.Until, r.Lost)
	}
}

// TestAuthorsBounded tests that a flood of authors does not fill an entry.
func TestAuthorsBounded(t *testing.T) {
	t.Parallel()
	e := &entry{Client: "list.example", Verified: true, Sender: "sender.example"}
	var authors []string
	for i := range 1000 {
		authors = append(authors, fmt.Sprintf("a%d.example", i), strings.Repeat("x", 200)+".example")
	}
	e.addRelayed(append(authors, "list.example", "sender.example", ""), newTally(start.Add(time.Hour)))
	if len(e.Authors) != maxAuthors || e.Relayed.N != 1 {
		t.Errorf("%d authors, %d messages", len(e.Authors), e.Relayed.N)
	}
}
