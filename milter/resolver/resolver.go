// Package resolver is a stub DNS resolver with a cache (RFC 1034 section 5.3.1). It asks recursive servers.
//
//   - Equal questions that are asked at the same time share one query.
//   - Positive and negative answers (RFC 2308) are cached for their TTL, failures for some seconds (RFC 9520).
//   - Queries share a few UDP sockets, see socket.go; BenchmarkCold compares them with a socket for each query.
//   - Answers of a server that denies all names are failures, see denial.go.
//   - Announced questions are asked in the background, within limits, so that a later Lookup finds the answers.
//
// It sends EDNS0 (RFC 6891) with an answer size that is not fragmented, and uses TCP for truncated answers. It does not
// validate DNSSEC.
//
// Against forged answers (RFC 5452) it uses random query IDs, random source ports that change, connected sockets, and
// one query per question at a time. A packet that does not answer a query in flight is dropped.
//
// Start at Resolver.Lookup: join and run (flight.go), exchange (exchange.go), udp (server.go), parse (message.go).
package resolver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Resolver is a checks.Resolver and a checks.Announcer. New returns one; Close must be called to release it. All
// methods are safe for concurrent use.
type Resolver struct {
	exchange  func(context.Context, checks.Question) (*dns.Msg, error) // upstreams.exchange; tests replace it
	upstreams *upstreams
	cache     *cache
	budget    time.Duration // for one question, with all attempts
	log       *logrus.Entry
	stats     counters

	ctx    context.Context // done after Close
	cancel context.CancelFunc

	outstanding atomic.Int64 // announced questions without an answer

	mu       sync.Mutex
	inFlight map[checks.Question]*flight
	running  sync.WaitGroup // goroutines; started by another one, or while mu is held and ctx is not done
}

var (
	_ checks.Resolver  = (*Resolver)(nil)
	_ checks.Announcer = (*Resolver)(nil)
)

// New returns a resolver. It may read a file, but sends nothing. An error is about the configuration.
func New(cfg Config) (*Resolver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	addrs, err := cfg.addresses()
	if err != nil {
		return nil, err
	}
	began := cfg.Now()
	elapsed := func() time.Duration { return cfg.Now().Sub(began) }
	r := &Resolver{
		cache:    newCache(maxCache, elapsed),
		budget:   time.Duration(cfg.attempts) * cfg.Timeout,
		log:      cfg.Log,
		inFlight: map[checks.Question]*flight{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.upstreams = &upstreams{
		cfg: cfg, tcpSlots: make(chan struct{}, maxTCP), elapsed: elapsed, stats: &r.stats,
		forgetAnswers: r.forgetAll, background: func(f func(context.Context)) { r.running.Go(func() { f(r.ctx) }) },
	}
	for _, addr := range addrs {
		r.upstreams.servers = append(r.upstreams.servers, &server{addr: addr, name: addr.String(), elapsed: elapsed, stats: &r.stats})
	}
	r.exchange = r.upstreams.exchange
	return r, nil
}

// Lookup implements checks.Resolver. If ctx ends, Lookup returns its error, and the query continues for other callers
// and for the cache. Any other error names the question, the server and the cause.
func (r *Resolver) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if err := ctx.Err(); err != nil {
		return checks.Answer{}, errorOf(q, err)
	}
	renewal := renewalOf(ctx)
	if renewal == nil {
		if e, ok := r.cache.get(q); ok {
			r.stats.hits.Add(1)
			return e.answer, e.err
		}
	}
	name, ok := canonical(q.Name)
	if !ok {
		return checks.Answer{NXDomain: true}, nil
	}
	q.Name = name
	if renewal != nil && renewal.isFirst(q) {
		r.forget(q)
	}
	f := r.join(q)
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return checks.Answer{}, errorOf(q, ctx.Err())
	}
}

// Close ends all queries, including those for announced questions, and waits for all goroutines of the resolver.
// Pending and later calls of Lookup fail. It may be called more than once.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.running.Wait()
	r.upstreams.close()
}
