package main

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
)

// lastingDNS answers from a zone, and for a minute; what it says of the client's names lasts for a day.
type lastingDNS struct {
	mu   sync.Mutex
	zone checks.Resolver
	now  time.Time
}

func (r *lastingDNS) set(zone checks.Resolver, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.zone, r.now = zone, now
}

func (r *lastingDNS) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, err := r.zone.Lookup(ctx, q)
	ttl := time.Minute
	if q.Type == dns.TypePTR || q.Name == "host.other.example." {
		ttl = 24 * time.Hour
	}
	a.Until = r.now.Add(ttl)
	return a, err
}

// TestEvidenceConcludesNoLonger: what the evidence finds out beside the mail holds no longer for others than the answers that it
// came from, long as other facts may last that it comes from too.
func TestEvidenceConcludesNoLonger(t *testing.T) {
	t.Parallel()
	cfg, problems := config.Parse("test", []byte(`
profile: strict
actions: {first-contact: off, helo-mismatch: off}
hostname: mx.example.org
local_domains: [example.org]
`), all.Checks)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	start := time.Now()
	const names = `
9.2.0.11.in-addr.arpa. PTR host.other.example.
host.other.example. A 11.0.2.9
one.example. MX 10 mx.one.example.
mx.one.example. A 11.0.0.1
`
	zone := &lastingDNS{zone: checktest.NewZone(t, names+`one.example. TXT "v=spf1 ptr -all"`), now: start}
	env := checktest.Env(t, "")
	env.DNS = zone
	env.Store = checktest.NewStore(nil)
	p, err := newPipeline(cfg, env, func(*checks.Options) {})
	if err != nil {
		t.Fatal(err)
	}
	book := openEvidence(env, func() *config.Config { return cfg }, time.Now)
	t.Cleanup(func() { book.Close(time.Minute) })
	mail := func(at time.Time) string {
		s := &checks.Session{ID: "test", Client: netip.MustParseAddr("11.0.2.9"), Time: at}
		p.Run(t.Context(), s, checks.Connect)
		s.SetHelo("out.one.example", false)
		p.Run(t.Context(), s, checks.Helo)
		s.Envelope.MailFrom = checks.ParseAddress("x@one.example")
		p.Run(t.Context(), s, checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
		d := p.Run(t.Context(), s, checks.RcptTo)
		book.Decided(s, d)
		if d.Reply == nil {
			return ""
		}
		return d.Reason.ID
	}
	if got := mail(start); got != "helo-unresolvable" { // so that SPF is asked for by the evidence alone
		t.Fatalf("first mail: %q", got)
	}
	if err := book.Flush(t.Context()); err != nil { // it has found out all that it wants
		t.Fatal(err)
	}
	repaired := start.Add(2 * time.Hour)
	zone.set(checktest.NewZone(t, names+`
out.one.example. A 11.0.2.9
one.example. TXT "v=spf1 ip4:11.0.2.9 -all"
`), repaired)
	if got := mail(repaired); got != "" {
		t.Errorf("two hours later, all repaired: refused for %s", got)
	}
}
