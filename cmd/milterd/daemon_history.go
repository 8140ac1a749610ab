package main

import (
	"context"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

// At the start, the newest records are read for the charts, in parts with pauses between them, so that mail does not
// wait for the store.
const (
	seedPart    = 1000 // records
	seedPause   = 20 * time.Millisecond
	seedRecords = 500_000 // at most
	seedTries   = 10      // failures before it gives up
	seedRetry   = 5 * time.Second
)

// startSeeding counts the records from before the start of the daemon in the history, in the background until stop is
// called. It reads the embedded store only: a shared store has the records of other hosts, and one in memory is
// empty.
func (d *daemon) startSeeding() (stop func()) {
	if d.records == nil || d.store.Status().Driver != "embedded" {
		return func() {}
	}
	return inBackground(func(ctx context.Context) {
		err := checks.Protect(func() error { return d.seedHistory(ctx, seedRetry) })
		if err != nil && ctx.Err() == nil {
			d.log.WithError(err).Warn("cannot read the records: the charts lack decisions from before the start of the daemon")
		}
	})
}

// seedHistory reads the records, the newest first. It tries again while the store does not answer: the disk of a host that
// has just started may be slow.
func (d *daemon) seedHistory(ctx context.Context, retryPause time.Duration) error {
	q := records.Query{Since: d.started.Add(-d.history.Span()), Until: d.started, Look: seedPart}
	for parts, failures := 0, 0; parts < seedRecords/seedPart; {
		part, err := d.records.Page(ctx, q)
		for _, r := range part.Records {
			d.history.Seed(r)
		}
		pause := seedPause
		if err != nil {
			if failures++; failures == seedTries {
				return err
			}
			pause = retryPause
		} else {
			parts++
		}
		if part.Next > 0 {
			q.Before = part.Next
		} else if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}
