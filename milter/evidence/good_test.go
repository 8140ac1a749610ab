package evidence

import (
	"slices"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestGoodSenders has a sender with the reason judged, beside enough spam to call the reason safe otherwise.
func TestGoodSenders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seen func(*site)
		good string // name of the sender and why it is good; empty: it is not
	}{
		"answered": {func(s *site) {
			s.write("carol@partner.example")
			s.mail(3, "own.partner.example", "carol@partner.example", watched)
		}, "partner.example answered"},
		"answered later": {func(s *site) {
			s.mail(3, "own.partner.example", "carol@partner.example", watched)
			s.flush()
			s.write("carol@partner.example")
		}, "partner.example answered"},
		"answered, but forged": {func(s *site) {
			s.write("carol@partner.example")
			s.mail(3, "bot.example", "carol@partner.example", watched)
		}, ""},
		"answered, not verified, on two days": {func(s *site) {
			s.write("carol@partner.example")
			s.mail(3, "isp.example", "carol@partner.example", watched)
			s.mail(9, "isp.example", "carol@partner.example", watched)
		}, "partner.example from isp.example answered"},
		"clean on three days": {func(s *site) {
			s.clean("own.good.example", "a@good.example", 1, 2, 3)
			s.mail(5, "own.good.example", "a@good.example", watched)
		}, "good.example delivers"},
		"clean on two days": {func(s *site) {
			s.clean("own.good.example", "a@good.example", 1, 1, 1, 2)
			s.mail(5, "own.good.example", "a@good.example", watched)
		}, ""},
		"clean from another host of the domain": {func(s *site) {
			s.clean("own.good.example", "a@good.example", 1, 2, 3)
			s.mail(5, "own.second.good.example", "a@good.example", watched)
		}, "good.example delivers"},
		"clean, but forged": {func(s *site) {
			s.clean("own.good.example", "a@good.example", 1, 2, 3)
			s.mail(5, "bot.example", "a@good.example", watched)
		}, ""},
		"clean from the same client, another sender": {func(s *site) {
			s.clean("relay.example", "a@good.example", 1, 2, 3)
			s.mail(5, "relay.example", "b@other.example", watched)
		}, "other.example from relay.example delivers"},
		"clean on days of several weeks": {func(s *site) {
			s.clean("own.good.example", "a@good.example", 1, 8, 20)
			s.mail(21, "own.good.example", "a@good.example", watched)
		}, "good.example delivers"},
		"only messages with the reason": {func(s *site) {
			for day := range 13 {
				s.mail(day, "own.bulk.example", "a@bulk.example", watched)
			}
		}, ""},
		"only messages with another fault": {func(s *site) {
			for day := range 5 {
				s.mail(day, "own.bulk.example", "a@bulk.example", did{fault, checks.Watch})
			}
			s.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, ""},
		"clean in spite of reasons that are no faults": {func(s *site) {
			for day := range 3 {
				s.mail(day, "own.good.example", "a@good.example", did{unusual, checks.Watch}, did{showOnly, checks.Watch})
			}
			s.mail(5, "own.good.example", "a@good.example", watched, did{unusual, checks.Watch})
		}, "good.example delivers"},
		"not all checks ran": {func(s *site) {
			for day := range 5 {
				s.decide(requestOf(session(day, "own.bulk.example", "a@bulk.example")), checks.Decision{Partial: true})
			}
			s.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, ""},
		"trusted client": {func(s *site) {
			for day := range 5 {
				s.decide(checktest.Trusted(s.t, session(day, "own.bulk.example", "a@bulk.example")), checks.Decision{})
			}
			s.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, ""},
		"clean, but refused as often": {func(s *site) {
			s.clean("own.bulk.example", "a@bulk.example", 1, 2, 3)
			for range 3 {
				s.mail(4, "own.bulk.example", "a@bulk.example", did{fault, checks.Reject})
			}
			s.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, ""},
		"clean, but listed as often, on watch": {func(s *site) {
			s.clean("own.bulk.example", "a@bulk.example", 1, 2, 3)
			for range 3 {
				s.mail(4, "own.bulk.example", "a@bulk.example", did{listed, checks.Watch})
			}
			s.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, ""},
		"clean, and refused less often": {func(s *site) {
			s.clean("own.good.example", "a@good.example", 1, 2, 3)
			s.mail(4, "own.good.example", "a@good.example", did{fault, checks.Reject})
			s.mail(5, "own.good.example", "a@good.example", watched)
		}, "good.example delivers"},
		"regular": {func(s *site) {
			for _, day := range []int{0, 7, 14, 21} {
				s.mail(day, "net.example", "a@small.example", watched)
			}
		}, "small.example from net.example regular"},
		"regular on three days": {func(s *site) {
			for _, day := range []int{0, 7, 21} {
				s.mail(day, "net.example", "a@small.example", watched)
			}
		}, ""},
		"regular, but denied": {func(s *site) {
			for _, day := range []int{0, 7, 14, 21} {
				s.mail(day, "net.example", "a@small.example", watched)
			}
			s.mail(22, "net.example", "a@small.example", did{listed, checks.Reject})
		}, ""},
		"regular, but refused for another reason": {func(s *site) {
			for _, day := range []int{0, 7, 14, 21} {
				s.mail(day, "net.example", "a@small.example", watched, did{fault, checks.Reject})
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.setTime(start.AddDate(0, 0, 30))
			s.spam(100, 20, 14)
			c.seen(s)
			verdict, good := Safe, []string(nil)
			if c.good != "" {
				verdict, good = Unsafe, []string{c.good}
			}
			w := s.watch()
			if got := goodNames(w.Affected); w.Verdict != verdict || !slices.Equal(got, good) {
				t.Errorf("%s: %s; good %q, want %s, %q\n%+v", w.Verdict, w.Why, got, verdict, good, w)
			}
		})
	}
}

// TestCleanInSpiteOfTheReason judges a reason that is no fault: messages that it applied to are clean, but not for this
// reason.
func TestCleanInSpiteOfTheReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		with []int // days of clean messages with the reason
		want string
	}{
		{"all", []int{0, 1, 2, 3, 4}, ""},
		{"on other days", []int{4, 5, 6}, "delivers"},
		{"on one of the days", []int{2, 5, 6}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.setTime(start.AddDate(0, 0, 10))
			if c.name != "all" {
				s.clean("own.a.example", "x@a.example", 0, 1, 2)
			}
			for _, day := range c.with {
				s.mail(day, "own.a.example", "x@a.example", did{unusual, checks.Watch})
			}
			r, _, err := s.Reports(t.Context(), []Setting{{Check: "spf", Reason: unusual, Actions: []checks.Action{checks.Watch}}})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Reasons[0].Affected[0].Good; got != c.want {
				t.Errorf("good for %q, want %q", got, c.want)
			}
		})
	}
}
