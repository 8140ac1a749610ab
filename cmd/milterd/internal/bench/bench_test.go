package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/all"
	milterdconfig "milterd/cmd/milterd/internal/config"
	"milterd/milter/store"
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
		{"_dmarc.d257.example", dns.TypeTXT, []string{`TXT "v=DMARC1; p=reject"`}, false},
		{"s1._domainkey.d257.example", dns.TypeTXT, []string{keyRecord()}, false},
		{"s2._domainkey.d257.example", dns.TypeTXT, nil, true},
		{"_dmarc.example", dns.TypeTXT, nil, true},
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
			if got.errors != 0 || got.messages != 100 || got.refused != 50 {
				t.Errorf("%d errors (%v), %d messages, %d refused; want 0, 100, 50", got.errors, got.firstErr, got.messages, got.refused)
			}
			for st, want := range map[stage]int{negotiation: 20, mail: 100, rcpt: 100, field: 50 * 20, endOfMessage: 50, message: 100} {
				if n := got.latency[st].count(); n != want {
					t.Errorf("%s: %d durations, want %d", events[st].name, n, want)
				}
			}
		})
	}
}

// TestBaselines checks that they accept everything, and for what the MTA waits: for replies to HELO and header fields from
// go-milter's server only.
func TestBaselines(t *testing.T) {
	t.Parallel()
	for name, serve := range baselines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := runBeside(t, serve, load{conns: 2, perConn: 2, hosts: 10, minSessions: 6, body: bodyOf(100)})
			if got.messages != 12 || got.refused != 0 || got.dkimPass != 0 {
				t.Errorf("%d messages, %d refused, %d with dkim=pass; want 12, 0, 0", got.messages, got.refused, got.dkimPass)
			}
			for st, waits := range map[stage]bool{helo: name == "go-milter", field: name == "go-milter", rcpt: true, endOfMessage: true} {
				if n := got.latency[st].count(); n > 0 != waits {
					t.Errorf("%s: %d waits", events[st].name, n)
				}
			}
		})
	}
}

// runBeside runs a load against a baseline.
func runBeside(t *testing.T, serve func(net.Listener, string) error, l load) *tally {
	t.Helper()
	server, err := startNameServer()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	go serve(ln, server.addr())
	t.Cleanup(func() { ln.Close() })
	l.socket = ln.Addr().String()
	got := l.run()
	if got.errors != 0 {
		t.Fatalf("%d errors, the first: %v", got.errors, got.firstErr)
	}
	return got
}

// TestSigned checks that the signatures are valid, with short and long bodies, and that the filter of go-msgauth verifies them.
func TestSigned(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"a letter": 4 << 10, "a body in several parts": 200 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := load{conns: 2, perConn: 2, hosts: 10, minSessions: 6, body: bodyOf(size)}.sign(0, 10)
			if err != nil {
				t.Fatal(err)
			}
			if got := runBeside(t, serveMsgauth, l); got.dkimPass != 12 {
				t.Errorf("%d messages of 12 have dkim=pass", got.dkimPass)
			}
			l.body = "another " + l.body
			if got := runBeside(t, serveMsgauth, l); got.dkimPass != 0 {
				t.Errorf("%d messages with another body have dkim=pass", got.dkimPass)
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
		{{rate: 100}, {rate: 300}},
		{{rate: 50}, {rate: 200}},
		{{rate: 200}, {rate: 200}},
	}
	of := func(figure func([]result, int) float64) float64 {
		return median(rounds, func(_ int, round []result) float64 { return figure(round, 1) })
	}
	if got := of(rate); got != 200 {
		t.Errorf("median %v, want 200", got)
	}
	if got := of(ratio(rate)); got != 3 {
		t.Errorf("median of the ratios %v, want 3", got)
	}
	rounds = [][]result{
		{{filter: bareMilterd, cpu: 1}, {cpu: 2}},
		{{filter: bareMilterd, cpu: 3}, {cpu: 3.5}},
		{{filter: bareMilterd, cpu: 2}, {cpu: 2}},
	}
	if got := of(added); got != 0.5 {
		t.Errorf("median of the added CPU time %v, want 0.5", got)
	}
}

// TestFill tests that a store is filled with triplets of which every fifth has passed, and with records that expire soon.
func TestFill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := fill(dir, 100); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(store.Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for prefix, want := range map[string]int{"greylist:wait:": 75, "greylist:pass:": 20, "expires:": 5} {
		count := 0
		for _, err := range db.Scan(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			count++
		}
		if count != want {
			t.Errorf("%d records of %s, want %d", count, prefix, want)
		}
	}
}

// TestFlags tests that values with which a run has no result are refused before it.
func TestFlags(t *testing.T) {
	t.Parallel()
	if err := checkFlags([]string{"bin/milterd"}, names(), 1, heldShare); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"two programs of a name":     checkFlags([]string{"old/milterd", "new/milterd"}, names(), 1, 100),
		"the name of a baseline":     checkFlags([]string{"bin/go-msgauth"}, names(), 1, 100),
		"no rounds":                  checkFlags([]string{"bin/milterd"}, names(), 0, 100),
		"no message in flight":       checkFlags([]string{"bin/milterd"}, names(), 1, heldShare-1),
		"unknown scenario":           checkFlags([]string{"bin/milterd"}, []string{"hot1", "hot"}, 1, 100),
		"no scenario":                checkFlags([]string{"bin/milterd"}, []string{""}, 1, 100),
		"more records than hosts":    second(parseSizes("100,20000000")),
		"a store twice":              second(parseSizes("100,0100")),
		"not a number":               second(parseSizes("100,")),
		"fewer records than nothing": second(parseSizes("-1")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if sizes, err := parseSizes("100,0"); err != nil || !slices.Equal(sizes, []int{100, 0}) {
		t.Errorf("sizes: %v, %v", sizes, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestHeldHosts tests that no message in flight is refused for a fault of its host.
func TestHeldHosts(t *testing.T) {
	t.Parallel()
	for n := range heldHosts {
		if f := faultOf(n); f != none {
			t.Errorf("host %d has the fault %d", n, f)
		}
	}
}

// TestStartOfABrokenFilter tests that a program that ends at once is an error with the start of its output, without a wait for its
// socket.
func TestStartOfABrokenFilter(t *testing.T) {
	t.Parallel()
	began := time.Now()
	_, err := start("broken", t.TempDir(), "sh", "-c", "echo no such key; head -c 100000 /dev/zero; exit 1")
	if err == nil || !strings.Contains(err.Error(), "no such key") || len(err.Error()) > 5000 || time.Since(began) >= startTimeout {
		t.Errorf("after %s: %.200v", time.Since(began), err)
	}
}

// TestConfigurations tests that milterd takes the configurations of all filters, and that noAuth has an effect.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"milterd": "", bareMilterd: noAuth, "redis": redisStore("/tmp/redis.sock")} {
		text := configOf("/tmp/m.sock", "127.0.0.1:53", t.TempDir(), more)
		cfg, problems := milterdconfig.Parse(name, []byte(text), all.Checks)
		if len(problems) > 0 {
			t.Errorf("%s: %v\n%s", name, problems, text)
		} else if got := cfg.Policy.Actions["from-multiple"] == checks.Off; got != (more == noAuth) {
			t.Errorf("%s: from-multiple is off: %v", name, got)
		}
	}
}
