package all_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

// slowly is a resolver that takes five seconds for the names below a domain, and never answers for those below "never" in it. A forger
// who runs the servers of a domain can do that, and two such answers use up the budget of a stage.
type slowly struct {
	checks.Resolver
	below string
	mu    sync.Mutex
	asked map[checks.Question]time.Time
}

// ask returns when there is an answer to a question.
func (s *slowly) ask(q checks.Question) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[q].IsZero() {
		s.asked[q] = time.Now()
	}
	if !checks.Under(q.Name, s.below) {
		return s.asked[q]
	}
	return s.asked[q].Add(5 * time.Second)
}

// Announce implements checks.Announcer.
func (s *slowly) Announce(queries []checks.Query) {
	for _, q := range queries {
		s.ask(q.Question)
	}
}

// Lookup implements checks.Resolver.
func (s *slowly) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if checks.Under(q.Name, "never."+s.below) {
		<-ctx.Done()
	}
	select {
	case <-ctx.Done():
		return checks.Answer{}, ctx.Err()
	case <-time.After(time.Until(s.ask(q))):
		return s.Resolver.Lookup(ctx, q)
	}
}

// TestSlowAnswers tests that a forger does not hide a policy by slow answers for other domains.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	const (
		np       = "_dmarc.evil.example TXT \"v=DMARC1; p=none; np=quarantine\"\n"
		slowHelo = "helo.evil.example A 11.0.10.9\nhelo.evil.example TXT \"v=spf1 include:a.evil.example -all\"\na.evil.example TXT \"v=spf1 -all\"\n"
		quiet    = "quiet.example MX 10 mail.bank.example\nquiet.example TXT \"v=spf1 -all\"\n"
	)
	for _, s := range []situation{
		{name: "the name in HELO", host: "evil", helo: "helo.evil.example", from: "a@bank.example", author: "a@bank.example",
			zone: slowHelo, safe: "550 dmarc-reject"},
		{name: "the name in HELO, and a domain that sends no mail", host: "evil", helo: "helo.evil.example", from: "a@quiet.example", author: "a@free.example",
			zone: slowHelo + quiet, safe: "550 spf-no-mail"},
		{name: "the name of the client, and a domain that sends no mail", host: "11.0.99.9", from: "a@quiet.example", author: "a@free.example",
			zone: "9.99.0.11.in-addr.arpa PTR never.evil.example\n" + quiet, safe: "550 spf-no-mail"},
		{name: "the key of a signature", host: "evil", from: "<>", author: "a@bank.example", sign: []string{"evil.example"}, safe: "550 dmarc-reject"},
		{name: "the key of a signature, with SPF fail", host: "elsewhere", from: "x@evil.example", author: "a@bank.example", sign: []string{"sub.evil.example"},
			zone: "s._domainkey.sub.evil.example CNAME s._domainkey.bank.example\n", safe: "550 dmarc-reject"},
		{name: "the key of a signature, without any answer", host: "elsewhere", from: "<>", author: "a@bank.example", sign: []string{"never.evil.example"}, safe: "550 dmarc-reject"},
		{name: "another author that does not exist", host: "elsewhere", from: "x@elsewhere.example", author: "x@gone.evil.example, a@bank.example", sign: []string{"evil.example"}, zone: np, safe: "550 dmarc-reject"},
		{name: "a subdomain that does not exist", host: "elsewhere", from: "x@elsewhere.example", author: "x@gone.evil.example, a@gone.corp.example", sign: []string{"evil.example"}, zone: np, safe: "550 dmarc-reject"},
	} {
		t.Run(s.name, func(t *testing.T) {
			s.slow = "evil.example"
			synctest.Test(t, func(t *testing.T) {
				if results, got := s.play(t, checks.Safe); !strings.HasPrefix(got, s.safe) {
					t.Errorf("got %q (%s), want %q", got, results, s.safe)
				}
			})
		})
	}
}
