package evidence

import (
	"context"
	"time"
)

// ledger is the evidence of a report, with sums of the entries of each sender and of each client.
type ledger struct {
	since, until time.Time
	sums         hits
	entries      []*entry
	senders      map[string]*entry // verified ones; only Hits, Against, Clean and answered
	clients      map[string]*entry // the same
}

// ledger reads the evidence of all hosts.
func (c *Collector) ledger(ctx context.Context) (*ledger, error) {
	_ = c.Flush(ctx) // the report works without the last minute too
	now := c.opts.Now()
	entries, sums, err := c.read(ctx, now)
	if err != nil {
		return nil, err
	}
	l := &ledger{
		since: time.Unix((week(now)-weeks+1)*weekSeconds, 0).UTC(), until: now.UTC(), sums: sums, entries: entries,
		senders: map[string]*entry{}, clients: map[string]*entry{},
	}
	for _, e := range entries {
		if err := c.findAnswered(ctx, e, now); err != nil {
			return nil, err
		}
		if e.Client != unknownClient { // any number of clients
			addTo(l.clients, e.Client, e)
		}
		if e.Verified {
			addTo(l.senders, e.Sender, e)
		}
	}
	return l, nil
}

// addTo adds the evidence for and against a sender or a client to its sum.
func addTo(sums map[string]*entry, name string, e *entry) {
	if e.Clean.N == 0 && e.Against.N == 0 && !e.answered {
		return
	}
	sum := sums[name]
	if sum == nil {
		sum = &entry{}
		sums[name] = sum
	}
	sum.add(&entry{Hits: e.Hits, Against: e.Against, Clean: e.Clean})
	sum.answered = sum.answered || e.answered
}
