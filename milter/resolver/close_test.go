package resolver

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/resolver/dnstest"
)

// TestCloseEndsAllGoroutines counts goroutines and so is not parallel to other tests.
func TestCloseEndsAllGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	clock := new(checktest.Clock)
	silent, good := dnstest.Start(t, dnsText), dnstest.Start(t, dnsText)
	good.Behave(dnstest.TruncateUDP)
	r, err := New(Config{Servers: []string{good.Addr, closedPort(t)}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	stuck, err := New(Config{Servers: []string{silent.Addr}, Timeout: time.Hour, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan bool, 100)
	silent.Behave(func(dns.ResponseWriter, *dns.Msg, *dns.Msg) *dns.Msg { arrived <- true; return nil })
	failed := make(chan error, 50)
	for i := range 100 {
		q := checks.Ask(strconv.Itoa(i)+".example.org", dns.TypeA)
		r.Announce([]checks.Query{{Question: q}})
		if _, err := r.Lookup(context.Background(), q); err != nil {
			t.Error(err)
		}
		clock.Advance(time.Second) // makes the resolver replace sockets, some with pending queries
		if i%2 == 0 {
			stuck.Announce([]checks.Query{{Question: q}})
		} else {
			go func() {
				_, err := stuck.Lookup(context.Background(), q)
				failed <- err
			}()
		}
		<-arrived
	}
	r.Close()
	stuck.Close()
	for range 50 {
		if err := <-failed; !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
	}
	good.Close()
	silent.Close()
	// A goroutine may be counted for a moment after its last statement.
	for began := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Since(began) > 10*time.Second {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
