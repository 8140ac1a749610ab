package greylist_test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestFloodOfSenders tests that a client that makes up senders fills the store to a limit, that its mail waits beyond it and is
// delivered later, and that other networks and deliveries that wait already are not affected.
func TestFloodOfSenders(t *testing.T) {
	t.Parallel()
	const limit = 10_000
	w := newSite(t)
	p := w.daemon(t)
	stored := func() (n int) {
		for range w.store.Scan(context.Background(), "greylist:wait:") {
			n++
		}
		return n
	}
	madeUp := func(i int) mail { return with(func(m *mail) { m.from = fmt.Sprintf("u%d@example.org", i) }) }
	for i := range limit + 100 {
		if o := w.send(p, madeUp(i)); !o.held() || o.failures > 0 {
			t.Fatalf("message %d: %+v", i, o)
		}
	}
	if n := stored(); n != limit {
		t.Errorf("%d records, want %d", n, limit)
	}
	wantHeld(t, "another network", w.send(p, with(func(m *mail) { m.client = "198.51.100.99" })), true)
	if n := stored(); n != limit+1 {
		t.Errorf("%d records with another network, want %d", n, limit+1)
	}
	w.now = w.now.Add(5 * time.Minute)
	wantHeld(t, "retry of a delivery that is stored", w.send(p, madeUp(0)), false)
	wantHeld(t, "retry of a delivery that is not stored", w.send(p, madeUp(limit)), true)
	w.now = w.now.Add(time.Hour)
	wantHeld(t, "an hour later", w.send(p, madeUp(limit)), true)
	w.now = w.now.Add(3 * time.Minute)
	wantHeld(t, "retry of the delivery that began an hour later", w.send(p, madeUp(limit)), false)
}

// TestFloodOfUnknownClients tests that clients behind a private address have no common limit.
func TestFloodOfUnknownClients(t *testing.T) {
	t.Parallel()
	const limit = 10_000
	w := newSite(t)
	p := w.daemon(t)
	from := func(i int) mail {
		return with(func(m *mail) { m.client, m.from = "10.0.0.9", fmt.Sprintf("u%d@example.org", i) })
	}
	for i := range limit + 1 {
		wantHeld(t, "first attempt", w.send(p, from(i)), true)
	}
	w.now = w.now.Add(5 * time.Minute)
	wantHeld(t, "retry", w.send(p, from(limit)), false)
}
