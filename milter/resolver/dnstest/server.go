// Package dnstest is a DNS server in this process that answers from zone text (see checktest.Zone), over UDP and TCP on one
// port. It counts what it is asked, and it can misbehave in the ways that servers and forgers do.
package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	clients    map[netip.AddrPort]bool
}

// Counts are the queries that came, whether they were answered or not.
type Counts struct {
	UDP, TCP int
	EDNS     int // of both, with an OPT record
}

// Start runs a server on a free port of 127.0.0.1 until the test ends.
func Start(tb testing.TB, zoneText string) *Server {
	tb.Helper()
	s, err := Listen("127.0.0.1:0", zoneText)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Listen runs a server at an address such as "127.0.0.53:53" until Close. The port 0 takes a free one.
func Listen(addr, zoneText string) (*Server, error) {
	s := &Server{
		done:    make(chan struct{}),
		asked:   map[checks.Question]int{},
		clients: map[netip.AddrPort]bool{},
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

// listen finds a port that is free in both protocols.
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

// Close ends the server and waits for the queries that it is working on. Closing twice does nothing.
func (s *Server) Close() {
	s.closing.Do(func() {
		close(s.done)
		for _, half := range []*dns.Server{s.udp, s.tcp} {
			half.ShutdownContext(context.Background()) // fails only if it never ran
		}
	})
}

// Set replaces the zone. The error has the line.
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

// Latency makes every later answer come so late.
func (s *Server) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Behave replaces what the server does to its answers, in this order. Without an argument it behaves well.
func (s *Server) Behave(b ...Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviours = b
}

// Asked tells how often a question was asked.
func (s *Server) Asked(name string, t uint16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[checks.Ask(name, t)]
}

// Counts tells how many queries came.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Clients tells from how many different addresses and ports queries came.
func (s *Server) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

// count remembers a query, and returns what the server is like at that moment.
func (s *Server) count(w dns.ResponseWriter, req *dns.Msg) (*checktest.Zone, []Behaviour, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[checks.Ask(req.Question[0].Name, req.Question[0].Qtype)]++
	if overTCP(w) {
		s.counts.TCP++
	} else {
		s.counts.UDP++
	}
	if req.IsEdns0() != nil {
		s.counts.EDNS++
	}
	if client, err := netip.ParseAddrPort(w.RemoteAddr().String()); err == nil {
		s.clients[client] = true
	}
	return s.zone, s.behaviours, s.latency
}

// serve answers one query. The package dns lets in those with one question only.
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
	w.WriteMsg(resp) // the client may be gone
}

// respond answers as a recursive server would; nil: not at all.
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

// authority finds the SOA record that goes with a negative answer (RFC 2308 section 3), if the zone text has one.
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
