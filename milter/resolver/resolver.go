// Package resolver asks the DNS through recursive servers, as a stub resolver with a cache (RFC 1034 section 5.3.1).
//
// It is made for a filter that asks the same few questions again and again, mostly before it needs the answers:
//
//   - Equal questions wait for one query, however many ask; Renew has one more asked.
//   - Positive and negative answers (RFC 2308) are kept by their TTL, failures for some seconds (RFC 9520).
//   - Queries share few UDP sockets, which takes less than half the processor time of a socket for each.
//   - Questions can be announced: they are then asked in the background, within limits.
//
// It does not validate DNSSEC: use a validating server on the same host for that. It speaks EDNS0 (RFC 6891) with an
// answer size that no path fragments, and TCP where an answer is truncated.
//
// Against forgery (RFC 5452) it has random IDs, random ports (chosen by the kernel, and given up after some seconds or
// some hundred queries), connected sockets, and one query in flight per question. A packet that does not fit its
// question is dropped, and the wait for the right one goes on.
package resolver

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Config is how to ask. The zero value asks the servers of the system.
type Config struct {
	// Servers are the recursive servers, in the order of preference: "192.0.2.53", "192.0.2.53:5353", "2001:db8::53",
	// "[2001:db8::53]:53". They are addresses: a name would need a resolver. Empty: those of ResolvConf.
	Servers []string

	// ResolvConf is a file as in resolv.conf(5), of which the servers are read, once. Search lists and options are
	// ignored: names are absolute here, and five seconds to a time-out are more than an MTA has. Empty: the system's,
	// and if there is none, the server at 127.0.0.1.
	ResolvConf string

	// Timeout is how long to wait for one answer. 0: 2 s.
	Timeout time.Duration

	// Attempts is after how many time-outs a question is given up. Timeout × Attempts is the longest that a question
	// takes. Every other failure makes the next server be asked at once, each once. 0: 3.
	Attempts int

	// CacheSize is how much the cache may hold, in octets of memory, about. A common answer takes some 400. 0: 32 MiB.
	CacheSize int

	// Now is the clock of the cache. nil: time.Now.
	Now func() time.Time

	// Log takes the panics of what was announced. nil: they are only counted.
	Log *logrus.Entry
}

// Defaults, see Config.
const (
	defaultTimeout  = 2 * time.Second
	defaultAttempts = 3
	defaultCache    = 32 << 20
)

// Resolver is a checks.Resolver and a checks.Announcer. Make it with New and end it with Close. All methods are safe for
// concurrent use.
type Resolver struct {
	exchange func(context.Context, checks.Question) (*dns.Msg, error)
	servers  *upstreams
	cache    *cache
	budget   time.Duration // of one question, all attempts together
	now      func() time.Time
	log      *logrus.Entry
	stats    counters

	ctx    context.Context // done: closed
	cancel context.CancelFunc

	outstanding atomic.Int64 // announced questions that are not answered yet

	mu       sync.Mutex
	inFlight map[checks.Question]*flight
	running  sync.WaitGroup // goroutines of flights and announcements; those begin under mu while ctx is not done
}

var (
	_ checks.Resolver  = (*Resolver)(nil)
	_ checks.Announcer = (*Resolver)(nil)
)

// New makes a resolver. It reads a file perhaps, but asks nothing yet. The error is one of the configuration.
func New(cfg Config) (*Resolver, error) {
	if cfg.Timeout < 0 || cfg.Attempts < 0 || cfg.CacheSize < 0 {
		return nil, fmt.Errorf("dns: negative setting: timeout %v, attempts %d, cache size %d",
			cfg.Timeout, cfg.Attempts, cfg.CacheSize)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Attempts = cmp.Or(cfg.Attempts, defaultAttempts)
	cfg.CacheSize = cmp.Or(cfg.CacheSize, defaultCache)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		cfg.Log = logrus.NewEntry(silent)
	}
	addrs, err := cfg.addresses()
	if err != nil {
		return nil, err
	}
	began := cfg.Now()
	elapsed := func() time.Duration { return cfg.Now().Sub(began) }
	store, err := newCache(cfg.CacheSize, elapsed)
	if err != nil {
		return nil, fmt.Errorf("dns: cache: %w", err)
	}
	r := &Resolver{
		cache:    store,
		budget:   time.Duration(cfg.Attempts) * cfg.Timeout,
		now:      cfg.Now,
		log:      cfg.Log,
		inFlight: map[checks.Question]*flight{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.servers = newUpstreams(addrs, cfg.Timeout, cfg.Attempts, elapsed, &r.stats)
	r.exchange = r.servers.exchange
	return r, nil
}

// Lookup implements checks.Resolver. A caller whose context ends gets its error and leaves; the query goes on for those
// who wait too, and for the cache. Any other error is an *Error.
func (r *Resolver) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if err := ctx.Err(); err != nil {
		return checks.Answer{}, fmt.Errorf("dns: %s: %w", q, err)
	}
	if !renewing(ctx) {
		if a, ok, err := r.cached(q); ok {
			return a, err
		}
	}
	name, ok := canonical(q.Name)
	if !ok {
		return checks.Answer{NXDomain: true}, nil
	}
	q.Name = name
	if renews(ctx, q) {
		r.forget(q)
	}
	f := r.join(q)
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return checks.Answer{}, fmt.Errorf("dns: %s: %w", q, ctx.Err())
	}
}

// Known implements checks.Knower: what the cache has. When the context is done nothing is known, as in Lookup: what is judged when
// the time is up must not depend on which answers happen to be there.
func (r *Resolver) Known(ctx context.Context, q checks.Question) (a checks.Answer, ok bool, err error) {
	if renewing(ctx) || ctx.Err() != nil {
		return checks.Answer{}, false, nil
	}
	return r.cached(q)
}

func (r *Resolver) cached(q checks.Question) (a checks.Answer, ok bool, err error) {
	k, ok := r.cache.get(q)
	if ok {
		r.stats.hits.Add(1)
	}
	return k.answer, ok, k.err
}

// Close ends all queries, announced ones too, and waits until nothing of the resolver runs any more. Who waits for an
// answer gets ErrClosed, and so does a later Lookup. Closing twice does nothing.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.running.Wait()
	r.servers.close()
}
