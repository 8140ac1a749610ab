package evidence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

func TestThreshold(t *testing.T) {
	t.Parallel()
	partner := func(s *site) {
		s.write("carol@partner.example")
		s.mail(3, "own.partner.example", "carol@partner.example", watched)
	}
	for name, c := range map[string]struct {
		seen    func(*site)
		verdict Verdict
	}{
		"nothing":                       {func(*site) {}, Unknown},
		"enough spam":                   {func(s *site) { s.spam(100, 20, 14) }, Safe},
		"too few occasions":             {func(s *site) { s.spam(99, 20, 14) }, Unknown},
		"too few clients":               {func(s *site) { s.spam(100, 19, 14) }, Unknown},
		"too short a time":              {func(s *site) { s.spam(100, 20, 13) }, Unknown},
		"evidence has expired":          {func(s *site) { s.spam(100, 20, 14); s.setTime(start.AddDate(0, 0, 70)) }, Unknown},
		"one good sender, nothing else": {partner, Unsafe},
		"one good of a thousand":        {func(s *site) { s.spam(999, 20, 14); partner(s) }, Safe},
		"more than one of a thousand":   {func(s *site) { s.spam(998, 20, 14); partner(s) }, Unsafe},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.setTime(start.AddDate(0, 0, 30))
			c.seen(s)
			if w := s.watch(); w.Verdict != c.verdict {
				t.Errorf("%s: %s, want %s\n%+v", w.Verdict, w.Why, c.verdict, w)
			}
		})
	}
}

func TestReasonThatCanOnlyBeWatched(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mail(1, "own.good.example", "a@good.example", did{showOnly, checks.Watch})
	r, _, err := s.Reports(t.Context(), []Setting{{Reason: showOnly, Actions: []checks.Action{checks.Watch}}})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Reasons[0].Verdict; v != Never {
		t.Errorf("got %s", v)
	}
}

func TestWatchCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.setTime(start.AddDate(0, 0, 8))
	s.mail(1, "own.good.example 192.0.2.0/24", "a@good.example")
	s.mail(2, "own.good.example 192.0.2.0/24", "a@good.example", watched)
	s.mail(3, "own.good.example 198.51.100.0/24", "a@good.example", watched)
	s.mail(3, "203.0.113.0/24", "x@forged.example", watched, did{fault, checks.Reject})
	s.mail(7, "203.0.113.0/24", "", watched)
	got := s.watch()
	if got.Occasions != 4 || got.Days != 3 || got.Passed != 3 || got.RefusedOtherwise != 1 || got.Clients != 2 || got.Accepted != 1 || got.SPF != 1 || got.Senders != 3 {
		t.Errorf("got %+v", got)
	}
	if got.First != start.AddDate(0, 0, 2).Add(2*time.Second) || got.Last != start.AddDate(0, 0, 7).Add(5*time.Second) {
		t.Errorf("from %v to %v", got.First, got.Last)
	}
	var names []string
	for _, s := range got.Affected {
		names = append(names, fmt.Sprint(s.Name(), " ", s.Occasions))
	}
	want := []string{"good.example 2", "<> of 203.0.113.0/24 1", "forged.example from 203.0.113.0/24 1"}
	if !slices.Equal(names, want) {
		t.Errorf("senders %q, want %q", names, want)
	}
}

// TestWronged tests which senders a report on actions names as likely false refusals.
func TestWronged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seen        func(*site)
		held, back  int // senders
		refused     int // transactions
		quarantined int // messages
		wronged     []string
	}{
		"spam": {seen: func(s *site) { s.mail(1, "own.spam.example", "x@spam.example", rejected) }, refused: 1},
		"refused, then repaired": {seen: func(s *site) {
			s.mail(1, "own.good.example", "a@good.example", rejected)
			s.clean("own.good.example", "a@good.example", 2, 3, 4)
		}, refused: 1, wronged: []string{"good.example delivers"}},
		"clean before, but not after": {seen: func(s *site) {
			s.clean("own.good.example", "a@good.example", 0, 1, 2, 3)
			s.mail(9, "own.good.example", "a@good.example", rejected)
		}, refused: 1},
		"answered afterwards": {seen: func(s *site) {
			s.mail(1, "own.late.example", "a@late.example", rejected)
			s.flush()
			s.write("a@late.example")
		}, refused: 1, wronged: []string{"late.example answered"}},
		"refused each day": {seen: func(s *site) {
			for day := range 25 {
				s.mail(day, "own.spam.example", "x@spam.example", rejected)
			}
		}, refused: 25},
		"held, came back": {seen: func(s *site) {
			s.write("a@good.example")
			s.mail(1, "own.good.example", "a@good.example", suspicious, deferred)
			s.mail(1, "own.good.example", "a@good.example", suspicious)
		}, held: 1, back: 1},
		"held, did not come back": {seen: func(s *site) {
			s.write("a@good.example")
			s.mail(1, "own.good.example", "a@good.example", suspicious, deferred)
			s.mail(1, "own.spam.example", "a@spam.example", suspicious, deferred)
		}, held: 2, wronged: []string{"good.example answered"}},
		"quarantined": {seen: func(s *site) {
			s.write("a@good.example")
			s.quarantine(1, "own.good.example", "a@good.example", "bob@example.org", "carl@example.org")
			s.quarantine(1, "own.spam.example", "a@spam.example", "bob@example.org")
			s.mail(2, "own.good.example", "a@good.example", tagging)
			s.mail(3, "own.good.example", "a@good.example", quarantining, did{fault, checks.Reject})
		}, quarantined: 2, wronged: []string{"good.example answered"}},
		"held a short time ago": {seen: func(s *site) {
			s.write("a@good.example")
			s.mail(29, "own.good.example", "a@good.example", suspicious, deferred)
		}, held: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.setTime(start.AddDate(0, 0, 30))
			c.seen(s)
			_, r, err := s.Reports(t.Context(), settings(checks.Reject))
			if err != nil {
				t.Fatal(err)
			}
			got := r.Reasons[0]
			if got.Quarantined != c.quarantined || got.Refused != c.refused || got.HeldSenders != c.held || got.CameBack != c.back || !slices.Equal(goodNames(got.Wronged), c.wronged) {
				t.Errorf("got %+v, want %+v", got, c)
			}
		})
	}
}

func TestNamesArePrintable(t *testing.T) {
	t.Parallel()
	hostile := "evil\x1b[2J\r\nroot\u202e" + strings.Repeat("x", 500)
	for _, s := range []Sender{{Sender: hostile, Verified: true}, {Client: hostile}, {Sender: hostile, Client: hostile}} {
		for _, c := range s.Name() {
			if c < ' ' || c > '~' {
				t.Errorf("%q has %q", s.Name(), c)
			}
		}
		if len(s.Name()) > 200 {
			t.Errorf("%d bytes", len(s.Name()))
		}
	}
}
