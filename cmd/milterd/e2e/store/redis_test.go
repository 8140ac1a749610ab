// Package store tests daemons whose store is shared, fails, or survives a crash.
package store

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/store"
)

// openStore connects the test to the Redis of a pair.
func openStore(t *testing.T, p *daemontest.Pair) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Driver: "redis", URL: p.Redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// parallel calls f for each number below n from so many goroutines. It ends the test at the first error.
func parallel(t testing.TB, goroutines, n int, f func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range goroutines {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// A greylisting delay that a test can wait for. It is counted from the full second in which it begins.
const (
	delaySeconds = 2
	shortDelay   = "checks: {greylist: {delay: 2s}}\n"
)

// early reports whether the delay of an attempt cannot be over. On a loaded machine it may be over before the next attempt.
func early(attempt time.Time) bool { return time.Since(attempt) < (delaySeconds-1)*time.Second }

// TestRedisGreylisting tests that a client that was deferred by one host passes at the other.
func TestRedisGreylisting(t *testing.T) {
	t.Parallel()
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe", Extra: shortDelay}, "")
	a, b := p.Hosts[0], p.Hosts[1]
	const client = "192.0.2.9"
	began := time.Now()
	a.MustRefuse(t, client, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 2 s more", "")
	first := daemontest.DecodeJSON[[]daemontest.Triplet](t, b, "greylist", "list")[0].First
	miltertest.Eventually(t, "the retry passes at the other host", func() bool {
		r, err := b.Mail(client, daemontest.GoodSender, "alice@mx.test")
		if err != nil || r != "" && !strings.HasPrefix(r, "451 4.7.1 greylisted") {
			t.Fatal(r, err)
		}
		return r == ""
	})
	if early(began) {
		t.Errorf("passed after %v", time.Since(began))
	}
	a.MustAccept(t, client, daemontest.GoodSender, "alice@mx.test")
	// Commands see and change the records of both hosts.
	list := daemontest.DecodeJSON[[]daemontest.Triplet](t, a, "greylist", "list")
	if len(list) != 1 || list[0].State != "passed" || !list[0].First.Equal(first) || list[0].Attempts < 2 {
		t.Errorf("at the first host: %+v; want the first attempt at %v", list, first)
	}
	if got := daemontest.DecodeJSON[struct{ Removed int }](t, a, "greylist", "forget", client, "--yes"); got.Removed == 0 {
		t.Error("nothing to forget")
	}
	b.MustRefuse(t, client, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 2 s more", "")
}

// TestRedisBlock tests that both hosts refuse a client that was blocked by one, until the block is removed at the other.
func TestRedisBlock(t *testing.T) {
	t.Parallel()
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe"}, "")
	a, b := p.Hosts[0], p.Hosts[1]
	b.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	if r := a.GuessRecipients(t, daemontest.GoodClient, daemontest.Limit); r != "" {
		t.Errorf("at the limit: %q", r)
	}
	if r := a.GuessRecipients(t, daemontest.GoodClient, daemontest.Limit+1); !strings.HasPrefix(r, "450 4.7.1 127.0.0.10 named too many unknown recipients") {
		t.Errorf("beyond the limit: %q", r)
	}
	for _, d := range p.Hosts {
		d.MustRefuse(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until", "for too many unknown recipients")
		d.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "postmaster@mx.test")
		if list := daemontest.DecodeJSON[[]daemontest.BlockedClient](t, d, "block", "list"); len(list) != 1 || list[0].Level != 1 || !list[0].InForce {
			t.Errorf("block list: %+v", list)
		}
	}
	b.MustRun(t, "block", "remove", daemontest.GoodClient)
	for _, d := range p.Hosts {
		d.MustAccept(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test")
	}
}

// TestRedisCounts tests that two hosts count every refusal of concurrent connections of a client once.
func TestRedisCounts(t *testing.T) {
	t.Parallel()
	const limit = 120
	p := daemontest.StartPair(t, daemontest.Config{
		Profile: "safe", Actions: map[string]string{"spf-no-mail": "reject"}, Extra: fmt.Sprintf("checks: {counters: {errors: %d}}\n", limit),
	}, "")
	s := openStore(t, p)
	client := checks.ClientOf(netip.MustParseAddr(daemontest.GoodClient))
	block := func() *counters.Blocked {
		b, err := counters.Covering(t.Context(), s, client, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	refused := func(i int) error {
		r, err := p.Hosts[i%2].Mail(daemontest.GoodClient, "a@nomail.test", "alice@mx.test")
		if err == nil && !strings.HasPrefix(r, "550 5.7.23") && !strings.HasPrefix(r, "450 4.7.1") {
			err = fmt.Errorf("refused mail got %q", r)
		}
		return err
	}
	// At the limit the client is not blocked.
	parallel(t, 8, limit, refused)
	if n, b := countedErrors(t, s, client), block(); n != limit || b != nil {
		t.Fatalf("after %d refusals: %d are counted, %+v", limit, n, b)
	}
	for _, d := range p.Hosts {
		c, err := d.Connect(daemontest.GoodClient)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := c.Envelope(daemontest.GoodSender, "alice@mx.test"); r != "" || err != nil {
			t.Errorf("at the limit: %q, %v", r, err)
		}
		c.Close()
	}
	// Many connections exceed the limit at the same time, which makes one block, the first.
	parallel(t, 8, 30, refused)
	for _, d := range p.Hosts {
		d.MustRefuse(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until", "for too many refused mails")
	}
	// The block clears the count. Refusals in flight may be counted after that.
	if n, b := countedErrors(t, s, client), block(); b == nil || !b.InForce || b.Level != 1 || n >= 30 {
		t.Errorf("after the block: %d are counted, %+v", n, b)
	}
}

// countedErrors returns the number of refusals that are counted of a client without deliveries.
func countedErrors(t testing.TB, s *store.Store, client netip.Prefix) int {
	t.Helper()
	value, ok, err := s.Get(t.Context(), "counters:tally:"+client.String())
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(string(value))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRedisTriplets tests that concurrent deliveries to two hosts make one record for each triplet, and that one pass of
// the client is counted per hour.
func TestRedisTriplets(t *testing.T) {
	t.Parallel()
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe", Extra: shortDelay}, "")
	const deliveries, triplets = 40, 20
	deliver := func(i int) (string, error) {
		return p.Hosts[i%2].Mail("192.0.2.9", "a@none.test", fmt.Sprintf("u%d@mx.test", i/2))
	}
	began := time.Now()
	parallel(t, 8, deliveries, func(i int) error {
		r, err := deliver(i)
		if err == nil && !strings.HasPrefix(r, "451 4.7.1 greylisted for ") && (r != "" || early(began)) {
			err = fmt.Errorf("first attempt got %q", r)
		}
		return err
	})
	miltertest.Eventually(t, "the delay is over", func() bool {
		list := daemontest.DecodeJSON[[]daemontest.Triplet](t, p.Hosts[0], "greylist", "list")
		if len(list) != triplets {
			t.Fatalf("%d triplets, want %d", len(list), triplets)
		}
		return !slices.ContainsFunc(list, func(tr daemontest.Triplet) bool { return time.Since(tr.First) <= delaySeconds*time.Second })
	})
	parallel(t, 8, deliveries, func(i int) error {
		r, err := deliver(i)
		if err == nil && r != "" {
			err = fmt.Errorf("retry got %q", r)
		}
		return err
	})
	shown := daemontest.DecodeJSON[daemontest.GreylistSelection](t, p.Hosts[1], "greylist", "show", "192.0.2.9")
	if len(shown.Triplets) != triplets || len(shown.Clients) != 1 || shown.Clients[0].Passes != 1 {
		t.Errorf("%d triplets, clients %+v; want %d, and one client that passed once", len(shown.Triplets), shown.Clients, triplets)
	}
}
