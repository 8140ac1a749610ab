package all_test

import (
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestMissingAnswer plays each situation again for each question that it asks, with no answer to it. Mail that is accepted must
// not be refused for good then. Forged mail must be accepted without a mark only if the answer is one of the forged domain.
func TestMissingAnswer(t *testing.T) {
	t.Parallel()
	for _, s := range situations {
		if s.second != "" {
			continue
		}
		for _, profile := range []checks.Profile{checks.Safe, checks.Strict} {
			t.Run(s.name+"/"+profile.String(), func(t *testing.T) {
				t.Parallel()
				s := s // the profiles run in parallel
				s.asked = &checktest.Recorder{}
				_, usual := s.play(t, profile)
				questions, zone := s.asked.Asked(), s.zone
				s.asked = nil
				for _, q := range questions {
					s.zone = zone + "!SERVFAIL " + q + "\n"
					results, got := s.play(t, profile)
					if strings.HasPrefix(usual, "accept") && strings.HasPrefix(got, "5") {
						t.Errorf("without %s: got %q (%s), want %q or less", q, got, results, usual)
					}
					if ofStranger(q) && strings.HasPrefix(usual, "550 dmarc-reject") && strings.HasPrefix(got, "accept") {
						t.Errorf("without %s: got %q (%s), want %q", q, got, results, usual)
					}
				}
			})
		}
	}
}

// ofStranger reports whether a question is to the servers of a client, not to those of an author domain.
func ofStranger(question string) bool {
	name, _, _ := strings.Cut(question, " ")
	return slices.ContainsFunc([]string{"evil.example", "forwarder.example", "elsewhere.example", "arpa"}, func(domain string) bool {
		return checks.Under(name, domain)
	})
}
