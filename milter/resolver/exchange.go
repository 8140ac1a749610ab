package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

const (
	// demotion is how long a failed server is asked after the others. Half of it repeats the time-out of a dead server
	// every 5 s; double delays the return to a restarted one.
	demotion = 10 * time.Second

	// maxTCP is the number of TCP connections to all servers together. It bounds the memory for answers of 64 KiB, and
	// recursive servers accept few connections from one client.
	maxTCP = 32
)

// upstreams are the servers to ask.
type upstreams struct {
	cfg          Config // with its defaults
	servers      []*server
	tcpSlots     chan struct{}
	elapsed      func() time.Duration // since some fixed moment
	stats        *counters
	internetSeen atomic.Bool // a server had a record for internetQuestion

	forgetAnswers func()                      // is called when a server is found to deny all names
	background    func(func(context.Context)) // runs a function in a goroutine, with a context that ends with the resolver
}

// exchange asks one server after the other until one answers, positively or negatively.
//
// Each server is asked once. A server that timed out is asked again, because a packet may be lost, and without EDNS, because
// some firewalls drop queries with it, until the attempts are used up or ctx is done.
func (u *upstreams) exchange(ctx context.Context, q checks.Question) (*dns.Msg, error) {
	queue := u.order()
	var last error
	var silent []*server // after a query with EDNS over UDP
	for timeouts := 0; timeouts < u.cfg.attempts && len(queue) > 0; {
		s := queue[0]
		queue = queue[1:]
		edns := s.takesEDNS() && !slices.Contains(silent, s)
		m, err := u.attempt(ctx, s, q, edns)
		if err == nil {
			err = u.noteAnswer(s, m)
		}
		if err == nil {
			s.demotedUntil.Store(0)
			s.noteEDNS(edns, slices.Contains(silent, s))
			return m, nil
		}
		last = fmt.Errorf("dns: %s at %s: %w", q, s.name, err)
		u.stats.failed(err)
		// Not for SERVFAIL: it is often caused by the zone in question.
		if errors.Is(err, errTimeout) || errors.Is(err, errUnreachable) || errors.Is(err, errRefused) || errors.Is(err, errDeniesAll) {
			s.demotedUntil.Store(int64(u.elapsed() + demotion))
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errTimeout) {
			timeouts++
			queue = append(queue, s)
			if edns && !errors.Is(err, errTCPTimeout) {
				silent = append(silent, s)
			}
		}
	}
	return nil, last
}

// order returns the servers as configured, with those that failed recently at the end.
func (u *upstreams) order() []*server {
	now := int64(u.elapsed())
	servers := make([]*server, 0, 2*len(u.servers)) // exchange appends
	var demoted []*server
	for _, s := range u.servers {
		if s.demotedUntil.Load() > now {
			demoted = append(demoted, s)
		} else {
			servers = append(servers, s)
		}
	}
	return append(servers, demoted...)
}

// attempt asks one server, and without EDNS if it rejects that (RFC 6891 sections 6.1.3, 6.2.2 and 7).
func (u *upstreams) attempt(ctx context.Context, s *server, q checks.Question, edns bool) (*dns.Msg, error) {
	m, err := u.ask(ctx, s, q, edns)
	if edns && (errors.Is(err, errFormErr) || errors.Is(err, errNotImp) || errors.Is(err, errBadVersion)) {
		return u.ask(ctx, s, q, false)
	}
	return m, err
}

// ask asks one server over UDP, and over TCP if the answer is truncated.
func (u *upstreams) ask(ctx context.Context, s *server, q checks.Question, edns bool) (*dns.Msg, error) {
	query, err := newQuery(q, edns)
	if err != nil {
		return nil, err
	}
	u.stats.queries.Add(1)
	m, err := s.udp(ctx, query, u.cfg.Timeout)
	if errors.Is(err, errTruncated) {
		return u.tcp(ctx, s, query)
	}
	return m, err
}

// close closes all sockets and waits for their goroutines. The caller makes sure that no query is in flight or follows.
func (u *upstreams) close() {
	for _, s := range u.servers {
		s.close()
	}
}
