package counters_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

// countingStore records the operations on a store.
type countingStore struct {
	checks.Store
	ops []string
}

func (c *countingStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	c.ops = append(c.ops, "get "+key)
	return c.Store.Get(ctx, key)
}

func (c *countingStore) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	c.ops = append(c.ops, "add "+key)
	return c.Store.Add(ctx, key, n, ttl)
}

// TestCost tests that a connection without errors costs two Gets, and one Add after its end, however many messages it has.
func TestCost(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	store := &countingStore{Store: h.store}
	c := h.connectTo(h.host(change{store: store}), someone)
	for range 10 {
		want(t, "a good message", c.deliver(), "")
		c.mail()
		want(t, "a greylisted one", c.rcpt("deferred"), "deferred")
		c.rset()
	}
	if got := strings.Join(store.ops, ", "); got != "get counters:block:192.0.2.9/32, get counters:networks" {
		t.Errorf("operations: %s", got)
	}
	c.quit()
	if got := strings.Join(store.ops[2:], ", "); got != "add counters:tally:192.0.2.9/32" {
		t.Errorf("operations at the end: %s", got)
	}
}

// BenchmarkDelivery is a connection with one good message, with the check and without it.
func BenchmarkDelivery(b *testing.B) {
	for _, name := range []string{"with", "without"} {
		b.Run(name, func(b *testing.B) {
			h := newSite(b, change{})
			if name == "without" {
				h.pipeline, _ = checks.New([]checks.Instance{{Check: refuser{}, Info: checks.Info{
					Name: "refuser", Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}, Reasons: []*checks.Reason{bad},
				}}}, checks.Options{Actions: map[string]checks.Action{"bad": checks.Reject}, ReplyAt: checks.RcptTo, Budget: time.Second})
			}
			b.ReportAllocs()
			for b.Loop() {
				if id := h.once(someone); id != "" {
					b.Fatal(id)
				}
			}
		})
	}
}

// BenchmarkBlocked is the refusal of a blocked client.
func BenchmarkBlocked(b *testing.B) {
	h := newSite(b, change{})
	c := h.connect(someone)
	c.guess(11)
	c.deliver()
	b.ReportAllocs()
	for b.Loop() {
		if id := h.once(someone); id != isBlocked {
			b.Fatal(id)
		}
	}
}
