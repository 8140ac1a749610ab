package resolver

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

const (
	// sulk is how long a server that failed is asked after the others.
	sulk = 10 * time.Second

	// maxTCP is how many TCP connections there are at a time, to all servers. It bounds the memory that answers of
	// 64 KiB take while they are parsed, and recursive servers take few connections of one client.
	maxTCP = 32
)

// upstreams are the servers to ask.
type upstreams struct {
	servers  []*server
	timeout  time.Duration // of each wait for an answer
	attempts int           // that may time out
	tcpSlots chan struct{}
	elapsed  func() time.Duration // since some moment
	stats    *counters
}

func newUpstreams(addrs []netip.AddrPort, timeout time.Duration, attempts int,
	elapsed func() time.Duration, stats *counters) *upstreams {
	u := &upstreams{timeout: timeout, attempts: attempts, elapsed: elapsed, stats: stats,
		tcpSlots: make(chan struct{}, maxTCP)}
	for _, addr := range addrs {
		u.servers = append(u.servers, &server{addr: addr, name: addr.String(), elapsed: elapsed, stats: stats})
	}
	return u
}

// exchange asks one server after the other until one answers, positively or negatively. Each has one chance, but a
// time-out may be a lost packet: for that it gets further ones, until the attempts are used up or ctx is done. The
// error is an *Error.
func (u *upstreams) exchange(ctx context.Context, q checks.Question) (*dns.Msg, error) {
	queue := u.order()
	var last error
	for timeouts := 0; timeouts < u.attempts && len(queue) > 0; {
		s := queue[0]
		queue = queue[1:]
		m, err := u.attempt(ctx, s, q)
		if err == nil {
			s.sulking.Store(0)
			return m, nil
		}
		last = &Error{Question: q, Server: s.name, Err: err}
		u.stats.failed(err)
		// SERVFAIL is as often the fault of the name asked for.
		if errors.Is(err, ErrTimeout) || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrRefused) {
			s.sulking.Store(int64(u.elapsed() + sulk))
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrTimeout) {
			timeouts++
			queue = append(queue, s)
		}
	}
	return nil, last
}

// order lists the servers as configured, but those last that failed lately.
func (u *upstreams) order() []*server {
	now := int64(u.elapsed())
	well := make([]*server, 0, 2*len(u.servers))
	var ill []*server
	for _, s := range u.servers {
		if s.sulking.Load() > now {
			ill = append(ill, s)
		} else {
			well = append(well, s)
		}
	}
	return append(well, ill...)
}

// attempt asks one server: with EDNS, and if it does not know that, without (RFC 6891 section 6.2.2 and 7).
func (u *upstreams) attempt(ctx context.Context, s *server, q checks.Question) (*dns.Msg, error) {
	m, err := u.ask(ctx, s, q, true)
	if errors.Is(err, ErrFormErr) || errors.Is(err, ErrNotImp) {
		return u.ask(ctx, s, q, false)
	}
	return m, err
}

// ask asks one server over UDP, and over TCP if the answer does not fit there.
func (u *upstreams) ask(ctx context.Context, s *server, q checks.Question, edns bool) (*dns.Msg, error) {
	query, err := newQuery(q, edns)
	if err != nil {
		return nil, err
	}
	u.stats.queries.Add(1)
	m, err := s.udp(ctx, query, u.timeout)
	if errors.Is(err, errTruncated) {
		return u.tcp(ctx, s, query)
	}
	return m, err
}

// close ends all sockets and waits for their goroutines. No query may be in flight or come after it.
func (u *upstreams) close() {
	for _, s := range u.servers {
		s.close()
	}
}

// server is one recursive server with its UDP sockets.
type server struct {
	addr    netip.AddrPort
	name    string // of addr
	elapsed func() time.Duration
	stats   *counters
	sulking atomic.Int64 // until when, in nanoseconds of elapsed; 0: not

	mu      sync.Mutex
	sockets [poolSize]*socket // those that take queries; nil: to be opened
	readers sync.WaitGroup    // the goroutines of all sockets, of given up ones too
}

func (s *server) close() {
	s.mu.Lock()
	for _, k := range s.sockets {
		if k != nil {
			k.retire()
		}
	}
	s.mu.Unlock()
	s.readers.Wait()
}
