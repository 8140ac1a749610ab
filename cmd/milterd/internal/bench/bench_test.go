package main

import (
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/miekg/dns"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		qtype uint16
		want  []string
		gone  bool
	}{
		{"1.1.0.11.in-addr.arpa", dns.TypePTR, []string{"PTR mail.d257.example."}, false},
		{"1.1.0.12.in-addr.arpa", dns.TypePTR, nil, true},
		{"mail.d257.example", dns.TypeA, []string{"A 11.0.1.1"}, false},
		{"mail.d257.example", dns.TypeAAAA, nil, false},
		{"nobody.d257.example", dns.TypeA, nil, true},
		{"d257.example", dns.TypeMX, []string{"MX 10 mx.d257.example."}, false},
		{"d257.example", dns.TypeTXT, []string{`TXT "v=spf1 mx a -all"`}, false},
		{"d0257.example", dns.TypeTXT, nil, true},
		{"2.0.0.127.list.example", dns.TypeA, []string{"A 127.0.0.2"}, false},
		{"1.0.0.127.list.example", dns.TypeA, nil, true},
		{"1.1.0.11.list.example", dns.TypeA, nil, true},
		{"example", dns.TypeA, nil, true},
	} {
		if got, exists := records(c.name, c.qtype); !slices.Equal(got, c.want) || exists == c.gone {
			t.Errorf("%s %s: got %q, exists: %t", c.name, dns.TypeToString[c.qtype], got, exists)
		}
	}
	faults := map[fault]int{}
	for n := range 6000 {
		faults[faultOf(n)]++
	}
	for f := noPTR; f < allFaults; f++ {
		if faults[f] != 100 {
			t.Errorf("fault %d: %d hosts of 6000", f, faults[f])
		}
	}
}

// refuser refuses every second recipient.
type refuser struct {
	gomilter.NoOpMilter
	rcpts *atomic.Int64
}

func (r refuser) RcptTo(string, *gomilter.Modifier) (gomilter.Response, error) {
	if r.rcpts.Add(1)%2 == 0 {
		return gomilter.RespReject, nil
	}
	return gomilter.RespContinue, nil
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		load load
	}{
		{"a fixed number of hosts", load{conns: 4, perConn: 5, hosts: 100, minSessions: 20}},
		{"new hosts", load{conns: 4, perConn: 5, minSessions: 20, newHost: new(atomic.Int64)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			var rcpts atomic.Int64
			srv := gomilter.Server{NewMilter: func() gomilter.Milter { return refuser{rcpts: &rcpts} }}
			go srv.Serve(ln)
			defer srv.Close()
			c.load.socket = ln.Addr().String()
			got := c.load.run()
			if got.Errors != 0 || got.Messages != 100 || got.Refused != 50 {
				t.Errorf("%d errors (%v), %d messages, %d refused; want 0, 100, 50", got.Errors, got.FirstErr, got.Messages, got.Refused)
			}
			for st, want := range map[stage]int{negotiation: 20, mail: 100, rcpt: 100, field: 50 * 20, endOfMessage: 50, message: 100} {
				if n := got.latency[st].count(); n != want {
					t.Errorf("%s: %d durations, want %d", events[st].name, n, want)
				}
			}
		})
	}
}

// TestBaselines checks that they accept everything, and that the MTA waits for replies to HELO and header fields from go-milter's
// server only.
func TestBaselines(t *testing.T) {
	t.Parallel()
	for name, serve := range baselines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			go serve(ln)
			defer ln.Close()
			got := load{conns: 2, perConn: 2, hosts: 10, minSessions: 6, socket: ln.Addr().String()}.run()
			if got.Errors != 0 || got.Messages != 12 || got.Refused != 0 {
				t.Errorf("%d errors (%v), %d messages, %d refused; want 0, 12, 0", got.Errors, got.FirstErr, got.Messages, got.Refused)
			}
			for st, waits := range map[stage]bool{helo: name == "go-milter", field: name == "go-milter", rcpt: true, endOfMessage: true} {
				if n := got.latency[st].count(); n > 0 != waits {
					t.Errorf("%s: %d waits", events[st].name, n)
				}
			}
		})
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	if q := h.quantile(.5); q != 0 {
		t.Errorf("median of an empty histogram: %v", q)
	}
	for ms := range 1000 {
		h.add(time.Duration(ms+1) * time.Millisecond)
	}
	for share, want := range map[float64]float64{.5: 500, .99: 990, 1: 1000} {
		if got := h.quantile(share); got < want*.98 || got > want*1.02 {
			t.Errorf("quantile %v: %v ms, want %v", share, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	rounds := [][]result{
		{{Rate: 100}, {Rate: 300}},
		{{Rate: 50}, {Rate: 200}},
		{{Rate: 200}, {Rate: 200}},
	}
	if got := median(rounds, 1, rate); got != 200 {
		t.Errorf("median %v, want 200", got)
	}
	if got := median(rounds, 1, ratio(rate)); got != 3 {
		t.Errorf("median of the ratios %v, want 3", got)
	}
}
