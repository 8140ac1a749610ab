// Package dnstest provides a DNS server for tests. It answers from zone text (see checktest.Zone) over UDP and TCP,
// counts queries, and can be made to behave like faulty servers and attackers, see Behaviour.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

// Server is a running server. All methods are safe for concurrent use.
type Server struct {
	Addr string // "address:port", of UDP and TCP

	udp, tcp *dns.Server
	done     chan struct{} // closed by Close
	closing  sync.Once

	mu         sync.Mutex
	zone       *checktest.Zone
	behaviours []Behaviour
	latency    time.Duration
	asked      map[checks.Question]int
	counts     Counts
}

// Counts are numbers of received queries, answered or not.
type Counts struct {
	UDP, TCP int
}

// Start starts a server on a free port of 127.0.0.1. It is closed at the end of the test.
func Start(tb testing.TB, zoneText string) *Server {
	tb.Helper()
	s, err := Listen("127.0.0.1:0", zoneText)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Listen starts a server at an address such as "127.0.0.53:53". Port 0 means a free port. The caller calls Close.
func Listen(addr, zoneText string) (*Server, error) {
	s := &Server{
		done:  make(chan struct{}),
		asked: map[checks.Question]int{},
	}
	if err := s.Set(zoneText); err != nil {
		return nil, err
	}
	conn, listener, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	s.Addr = conn.LocalAddr().String()
	s.udp = &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(s.serve)}
	s.tcp = &dns.Server{Listener: listener, Handler: dns.HandlerFunc(s.serve)}
	for _, half := range []*dns.Server{s.udp, s.tcp} {
		started := make(chan struct{})
		half.NotifyStartedFunc = func() { close(started) }
		go half.ActivateAndServe() // ends at Shutdown
		<-started
	}
	return s, nil
}

// listen opens a port over UDP and TCP.
func listen(addr string) (net.PacketConn, net.Listener, error) {
	for try := 0; ; try++ {
		conn, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		listener, err := net.Listen("tcp", conn.LocalAddr().String())
		if err == nil {
			return conn, listener, nil
		}
		conn.Close()
		if try == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, err
		}
	}
}

// Close stops the server and waits for its goroutines. It may be called more than once.
func (s *Server) Close() {
	s.closing.Do(func() {
		close(s.done)
		for _, half := range []*dns.Server{s.udp, s.tcp} {
			half.ShutdownContext(context.Background()) // fails only if the server never ran
		}
	})
}

// Set replaces the zone. An error contains the line.
func (s *Server) Set(zoneText string) error {
	z, err := checktest.ParseZone(zoneText)
	if err != nil {
		return fmt.Errorf("dnstest: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = z
	return nil
}

// Latency sets the delay of all later answers.
func (s *Server) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Behave replaces the behaviours of the server, applied in this order. Without arguments it answers normally.
func (s *Server) Behave(b ...Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviours = b
}

// Asked returns how often a question was asked.
func (s *Server) Asked(name string, t uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[checks.Ask(name, t)]
}

// Counts returns the numbers of queries so far.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// count counts a query and returns the current settings.
func (s *Server) count(w dns.ResponseWriter, req *dns.Msg) (*checktest.Zone, []Behaviour, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[checks.Ask(req.Question[0].Name, req.Question[0].Qtype)]++
	if overTCP(w) {
		s.counts.TCP++
	} else {
		s.counts.UDP++
	}
	return s.zone, s.behaviours, s.latency
}

// serve answers one query. It has exactly one question: the package dns rejects others.
func (s *Server) serve(w dns.ResponseWriter, req *dns.Msg) {
	z, behaviours, latency := s.count(w, req)
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-s.done:
			return
		}
	}
	resp := respond(z, req)
	for _, behave := range behaviours {
		if resp != nil {
			resp = behave(w, req, resp)
		}
	}
	if resp == nil {
		return
	}
	if !overTCP(w) {
		size := dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		resp.Truncate(size)
	}
	w.WriteMsg(resp) // fails if the client is gone
}

// respond returns the answer of a recursive server, or nil for none.
func respond(z *checktest.Zone, req *dns.Msg) *dns.Msg {
	resp := new(dns.Msg).SetReply(req)
	resp.RecursionAvailable = true
	resp.Compress = true
	if req.IsEdns0() != nil {
		resp.SetEdns0(1232, false)
	}
	q := checks.Ask(req.Question[0].Name, req.Question[0].Qtype)
	a, err := z.Lookup(context.Background(), q)
	switch {
	case errors.Is(err, checktest.ErrTimeout):
		return nil
	case err != nil:
		resp.Rcode = dns.RcodeServerFailure
		return resp
	case a.NXDomain:
		resp.Rcode = dns.RcodeNameError
	}
	resp.Answer = a.Records
	end, found := q.Name, false
	for _, rr := range a.Records {
		if alias, ok := rr.(*dns.CNAME); ok && q.Type != dns.TypeCNAME {
			end = dns.CanonicalName(alias.Target)
		} else {
			found = true
		}
	}
	if !found {
		resp.Ns = authority(z, end)
	}
	return resp
}

// authority returns the SOA record for a negative answer (RFC 2308 section 3), if the zone has one.
func authority(z *checktest.Zone, name string) []dns.RR {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		a, err := z.Lookup(context.Background(), checks.Ask(name[off:], dns.TypeSOA))
		if err != nil || len(a.Records) == 0 {
			continue
		}
		if soa, ok := a.Records[0].(*dns.SOA); ok {
			return []dns.RR{soa}
		}
	}
	return nil
}

func overTCP(w dns.ResponseWriter) bool { return w.RemoteAddr().Network() == "tcp" }
