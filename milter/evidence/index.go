package evidence

import (
	"context"
	"errors"
	"sync"
	"time"

	"milterd/milter/periodic"
)

const (
	// refreshInterval is how often the index is read again. With half of it, the store is read twice as often; with twice as
	// much, a new good sender is known up to two hours late.
	refreshInterval = time.Hour
	// retryInterval is how soon a reading that failed is repeated. With half of it, a store that is down is asked twice as often; with
	// twice as much, mail that a known relay passes on is deferred for a minute more after the store is back.
	retryInterval = time.Minute
)

const (
	// refreshTimeout bounds one reading of the whole evidence, which asks the store 774 times, one after the other. With half of it, a
	// store that takes 200 ms for each is too slow; with twice as much, a reading that hangs is noticed five minutes later.
	refreshTimeout = 5 * time.Minute
	// firstTimeout bounds how long the start waits for the first reading. With half of it, a slow store has more mail of the first
	// minute deferred; with twice as much, a daemon whose store does not answer starts a second later.
	firstTimeout = time.Second
)

// senderIndex has the domains that IsGood and Relays look up. It never changes.
type senderIndex struct{ good, relays map[string]bool }

// IsGood implements checks.Senders. What it says is up to an hour old.
func (c *Collector) IsGood(domain string) bool {
	index := c.index.Load()
	return index != nil && index.good[domain]
}

// Relays implements checks.Senders. What it says is up to an hour old.
func (c *Collector) Relays(domain string) bool {
	index := c.index.Load()
	return index != nil && index.relays[domain]
}

var errUnread = errors.New("the evidence of earlier mail has not been read from the store since the start")

// Unread implements checks.Senders.
func (c *Collector) Unread() error {
	if c.index.Load() == nil {
		return errUnread
	}
	return nil
}

// keepFresh reads the index at once and then each refreshInterval, or retryInterval after a failure, until the Collector is closed. It
// logs when readings begin to fail, and when one succeeds again.
func (c *Collector) keepFresh() {
	const every = int(refreshInterval / retryInterval)
	left := 0 // calls until the next reading
	failed := false
	first := sync.OnceFunc(func() { close(c.tried) })
	periodic.Run(c.ctx, retryInterval, refreshTimeout, func(ctx context.Context) {
		defer first()
		if left--; left > 0 {
			return
		}
		err := c.refreshIndex(ctx)
		if err == nil {
			left = every
		}
		if c.opts.Log != nil && c.ctx.Err() == nil && failed != (err != nil) {
			c.logReading(err)
		}
		failed = err != nil
	})
}

// logReading logs the first reading that failed, or with nil the first one that succeeded again.
func (c *Collector) logReading(err error) {
	if err == nil {
		c.opts.Log.Info("the known relays and good senders are read again from the store")
		return
	}
	effect := "those of the last reading count"
	if c.Unread() != nil {
		effect = "mail that only they may bring is deferred"
	}
	c.opts.Log.WithError(err).Warn("cannot read the known relays and good senders from the store: " + effect)
}

// refreshIndex reads the index from the store. If it cannot, the last index stays.
func (c *Collector) refreshIndex(ctx context.Context) error {
	entries, _, err := c.read(ctx, c.opts.Now())
	if err != nil {
		return err
	}
	c.index.Store(newSenderIndex(entries))
	return nil
}

// newSenderIndex makes the index of all entries.
func newSenderIndex(entries []*entry) *senderIndex {
	index := &senderIndex{good: map[string]bool{}, relays: map[string]bool{}}
	for domain, sum := range domainSums(entries) {
		if sum.isGood() {
			index.good[domain] = true
			index.relays[domain] = sum.hasRelayed() && sum.Against.N == 0
		}
	}
	return index
}

// domainSums returns the sums of the entries of each domain, whether it is the client's or that of a verified sender.
func domainSums(entries []*entry) map[string]*entry {
	sums := map[string]*entry{}
	for _, e := range entries {
		client := e.clientDomain()
		if client != "" {
			addTo(sums, client, e)
		}
		if e.Verified && e.Sender != "" && e.Sender != client {
			addTo(sums, e.Sender, e)
		}
	}
	return sums
}
