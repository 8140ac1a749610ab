package resolver

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

var mx = checks.Ask("example.org", dns.TypeMX)

const mxAnswer = "MX 10 mx1.example.org. | MX 20 mx2.example.org."

// ask fails the test if the resolver does not answer the question mx.
func ask(t *testing.T, r *Resolver) {
	t.Helper()
	a, err := r.Lookup(context.Background(), mx)
	if got := short(a, err); got != mxAnswer {
		t.Errorf("got %q (%v)", got, err)
	}
}

// closedPort returns an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

func TestErrorsOfASingleServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		behaviour dnstest.Behaviour
		want      error
		queries   int
	}{
		"dead":          {dnstest.Dead, errTimeout, 2}, // only a time-out is repeated
		"SERVFAIL":      {dnstest.Rcode(dns.RcodeServerFailure), errServFail, 1},
		"REFUSED":       {dnstest.Rcode(dns.RcodeRefused), errRefused, 1},
		"FORMERR":       {dnstest.Rcode(dns.RcodeFormatError), errFormErr, 2}, // the second without EDNS
		"NOTIMP":        {dnstest.Rcode(dns.RcodeNotImplemented), errNotImp, 2},
		"other":         {dnstest.Rcode(dns.RcodeNotZone), errRcode, 1},
		"other names":   {dnstest.Lie, errMalformed, 1},
		"referral":      {dnstest.Refer, errReferral, 1},
		"truncated":     {truncateAll, errMalformed, 2},
		"no TCP":        {closeTCP, errUnreachable, 2},
		"fewer records": {missingRecords, errMalformed, 1},
		"no data":       {noData, errMalformed, 1},
		"no EDNS, SERVFAIL by header": {func(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
			resp.Rcode, resp.Question, resp.Answer, resp.Extra = dns.RcodeServerFailure, nil, nil, nil
			return resp
		}, errTimeout, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.Start(t, dnsText)
			s.Behave(c.behaviour)
			timeout := time.Minute
			if errors.Is(c.want, errTimeout) {
				timeout = 300 * time.Millisecond
			}
			r := start(t, Config{Servers: []string{s.Addr}, Timeout: timeout, attempts: 2})
			_, err := r.Lookup(context.Background(), mx)
			if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "dns: example.org. MX at "+s.Addr+": "+c.want.Error()) {
				t.Errorf("got %v", err)
			}
			// A query that timed out may arrive later.
			asked := func() int { return s.Asked("example.org", dns.TypeMX) }
			for began := time.Now(); asked() < c.queries && time.Since(began) < time.Minute; {
				time.Sleep(time.Millisecond)
			}
			if got := asked(); got != c.queries {
				t.Errorf("%d queries, want %d", got, c.queries)
			}
		})
	}
}

func truncateAll(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	resp.Truncated = true
	return resp
}

// closeTCP truncates answers over UDP and closes TCP connections.
func closeTCP(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	if w.RemoteAddr().Network() == "tcp" {
		w.Close()
		return nil
	}
	return dnstest.TruncateUDP(w, req, resp)
}

// missingRecords sends fewer records than its header announces.
func missingRecords(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	resp.Answer, resp.Extra = nil, nil
	packet, _ := resp.Pack()
	packet[7] = 2
	w.Write(packet)
	return nil
}

// noData sends a record without data, as in a dynamic update (RFC 2136).
func noData(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	resp.Answer = []dns.RR{&dns.ANY{Hdr: dns.RR_Header{
		Name: req.Question[0].Name, Rrtype: req.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}}}
	return resp
}

func TestNextServerIsAskedAfterAFailure(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]dnstest.Behaviour{
		"dead":        dnstest.Dead,
		"SERVFAIL":    dnstest.Rcode(dns.RcodeServerFailure),
		"REFUSED":     dnstest.Rcode(dns.RcodeRefused),
		"FORMERR":     dnstest.Rcode(dns.RcodeFormatError),
		"other names": dnstest.Lie,
		"referral":    dnstest.Refer,
		"no TCP":      closeTCP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := dnstest.Start(t, dnsText), dnstest.Start(t, dnsText)
			bad.Behave(b)
			timeout := time.Minute
			if name == "dead" {
				timeout = 300 * time.Millisecond
			}
			ask(t, start(t, Config{Servers: []string{bad.Addr, good.Addr}, Timeout: timeout}))
			if bad.Asked("example.org", dns.TypeMX) == 0 || good.Asked("example.org", dns.TypeMX) != 1 {
				t.Error("not asked in order")
			}
		})
	}
}

// TestConnectionRefusedIsNoTimeout tests that a Lookup does not wait for servers at which nothing listens.
func TestConnectionRefusedIsNoTimeout(t *testing.T) {
	t.Parallel()
	servers := []string{closedPort(t), closedPort(t), closedPort(t), closedPort(t)}
	r := start(t, Config{Servers: servers, Timeout: time.Minute})
	_, err := r.Lookup(context.Background(), mx)
	if !errors.Is(err, errUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if got := r.Stats().Unreachable; got != 4 {
		t.Errorf("%d failures", got)
	}
	if got := r.Stats().Unanswered; got != 1 {
		t.Errorf("%d questions in a row without an answer, want 1", got)
	}
	s := dnstest.Start(t, dnsText)
	ask(t, start(t, Config{Servers: append(servers, s.Addr), Timeout: time.Minute}))
}

// TestServerStopsDuringQueries tests that the queries pending at a server that stops move to the next one without a
// time-out.
func TestServerStopsDuringQueries(t *testing.T) {
	t.Parallel()
	stopping, good := dnstest.Start(t, dnsText), dnstest.Start(t, dnsText)
	const questions = 20
	arrived := make(chan bool, questions)
	stopping.Behave(func(dns.ResponseWriter, *dns.Msg, *dns.Msg) *dns.Msg {
		arrived <- true
		return nil
	})
	r := start(t, Config{Servers: []string{stopping.Addr, good.Addr}, Timeout: time.Minute})
	answers := make(chan string, questions)
	for i := range questions {
		go func() {
			a, err := r.Lookup(context.Background(), checks.Ask(strconv.Itoa(i)+".example.org", dns.TypeA))
			answers <- short(a, err)
		}()
	}
	for range questions {
		<-arrived
	}
	stopping.Close()
	// The kernel reports the closed port after the next packet to it.
	if _, err := r.Lookup(context.Background(), checks.Ask("more.example.org", dns.TypeA)); err != nil {
		t.Error(err)
	}
	for range questions {
		if got := <-answers; got != nxdomain {
			t.Errorf("got %q", got)
		}
	}
}

// TestDroppedEDNS tests a server that never receives a query with EDNS. After some questions it is asked without at once, and
// later with EDNS again. Queries with EDNS are counted, not time-outs: on a loaded machine one without may time out too.
func TestDroppedEDNS(t *testing.T) {
	t.Parallel()
	clock := new(checktest.Clock)
	s := dnstest.Start(t, dnsText)
	var withEDNS atomic.Int64
	count := func(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
		if req.IsEdns0() != nil {
			withEDNS.Add(1)
		}
		return resp
	}
	s.Behave(count, dropEDNS)
	r := start(t, Config{Servers: []string{s.Addr}, Timeout: 100 * time.Millisecond, Now: clock.Now, attempts: 100})
	ask := func(name string, want int64) {
		t.Helper()
		before := withEDNS.Load()
		if _, err := r.Lookup(t.Context(), checks.Ask(name, dns.TypeA)); err != nil {
			t.Error(err)
		}
		miltertest.Eventually(t, "queries that timed out arrive", func() bool { return withEDNS.Load()-before >= want })
		if got := withEDNS.Load() - before; got != want {
			t.Errorf("%s: %d queries with EDNS, want %d", name, got, want)
		}
	}
	for i, want := range []int64{1, 1, 1, 0, 0} {
		ask(strconv.Itoa(i)+".example.org", want)
	}
	clock.Advance(time.Hour)
	ask("later.example.org", 1)
	if got := r.Stats().Timeouts; got < 4 {
		t.Errorf("%d time-outs, want one for each query with EDNS", got)
	}
	s.Behave(count)
	ask("mended.example.org", 1)
}

// TestTCPTimeoutIsNoLostEDNS tests that a server is asked with EDNS again after a time-out over TCP.
func TestTCPTimeoutIsNoLostEDNS(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, dnsText)
	var withoutEDNS, overTCP atomic.Int64
	s.Behave(func(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
		if req.IsEdns0() == nil {
			withoutEDNS.Add(1)
		}
		if w.RemoteAddr().Network() == "tcp" && overTCP.Add(1) == 1 {
			return nil
		}
		return resp
	}, dnstest.TruncateUDP)
	r := start(t, Config{Servers: []string{s.Addr}, Timeout: time.Second})
	ask(t, r)
	if got := withoutEDNS.Load(); got != 0 || r.Stats().Timeouts == 0 {
		t.Errorf("%d queries without EDNS, %d time-outs", got, r.Stats().Timeouts)
	}
}

func TestRefusingServerIsAskedLast(t *testing.T) {
	t.Parallel()
	clock := new(checktest.Clock)
	first, second := dnstest.Start(t, dnsText), dnstest.Start(t, dnsText)
	first.Behave(dnstest.Rcode(dns.RcodeRefused))
	r := start(t, Config{Servers: []string{first.Addr, second.Addr}, Now: clock.Now})
	lookup := func(name string, wantFirst int) {
		t.Helper()
		if _, err := r.Lookup(context.Background(), checks.Ask(name, dns.TypeA)); err != nil {
			t.Error(err)
		}
		if got := first.Counts().UDP; got != wantFirst {
			t.Errorf("%s: the first server has %d queries, want %d", name, got, wantFirst)
		}
	}
	lookup("a.example.org", 1)
	first.Behave()
	lookup("b.example.org", 1) // demoted
	clock.Advance(11 * time.Second)
	lookup("c.example.org", 2)
	lookup("d.example.org", 3)
}

func TestSilentServerIsAskedLast(t *testing.T) {
	t.Parallel()
	silent, good := dnstest.Start(t, dnsText), dnstest.Start(t, dnsText)
	silent.Behave(dnstest.Dead)
	r := start(t, Config{Servers: []string{silent.Addr, good.Addr}, Timeout: 2 * time.Second, attempts: 1})
	if _, err := r.Lookup(context.Background(), checks.Ask("a.example.org", dns.TypeA)); !errors.Is(err, errTimeout) {
		t.Errorf("got %v", err)
	}
	ask(t, r)
}

func TestSocketsAreSharedAndReplaced(t *testing.T) {
	t.Parallel()
	clock := new(checktest.Clock)
	s := dnstest.Start(t, dnsText)
	var mu sync.Mutex
	ports := map[string]bool{}
	s.Behave(func(w dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
		mu.Lock()
		defer mu.Unlock()
		ports[w.RemoteAddr().String()] = true
		return resp
	})
	sockets := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ports)
	}
	r := start(t, Config{Servers: []string{s.Addr}, Now: clock.Now})
	lookups := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := r.Lookup(context.Background(), checks.Ask(strconv.Itoa(i)+".example.org", dns.TypeA)); err != nil {
				t.Fatal(err)
			}
		}
	}
	lookups(0, 200)
	if got := sockets(); got > 4 {
		t.Errorf("%d sockets for 200 queries", got)
	}
	clock.Advance(31 * time.Second)
	before := sockets()
	lookups(200, 300)
	if got := sockets(); got <= before {
		t.Error("the old sockets are still used")
	}
	lookups(300, 4800)
	if got := sockets(); got <= before+4 {
		t.Errorf("%d sockets for 4600 queries", got-before)
	}
}

func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 1000 {
		text.WriteString("many.example.org. A 10.0." + strconv.Itoa(i/256) + "." + strconv.Itoa(i%256) + "\n")
	}
	for i := range 40 {
		text.WriteString("some.example.org. A 10.0.0." + strconv.Itoa(i) + "\n")
	}
	text.WriteString("to-many.example.org. CNAME many.example.org.\n")
	s := dnstest.Start(t, text.String())
	r := start(t, Config{Servers: []string{s.Addr}})
	for _, c := range []struct {
		name         string
		records, tcp int
	}{
		{"some", 40, 0},
		{"many", 1000, 1},
		{"to-many", 1001, 2},
	} {
		a, err := r.Lookup(context.Background(), checks.Ask(c.name+".example.org", dns.TypeA))
		if err != nil || len(a.Records) != c.records {
			t.Errorf("%s: %d records, %v", c.name, len(a.Records), err)
		}
		if got := s.Counts().TCP; got != c.tcp || r.Stats().TCP != uint64(c.tcp) {
			t.Errorf("%s: %d over TCP, want %d", c.name, got, c.tcp)
		}
	}
}

func TestIPv6Server(t *testing.T) {
	t.Parallel()
	s, err := dnstest.Listen("[::1]:0", dnsText)
	if err != nil {
		if os.Getenv("MILTERD_TEST_REAL") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no IPv6 here: %v", err)
	}
	t.Cleanup(s.Close)
	ask(t, start(t, Config{Servers: []string{s.Addr}}))
}
