package main

import (
	"context"
	"time"

	"milterd/milter/records"
)

// At the start, the newest records are read for the charts, in parts with pauses between them, so that mail does not
// wait for the store.
const (
	seedPart    = 1000 // records
	seedPause   = 20 * time.Millisecond
	seedRecords = 500_000 // at most
)

// startSeeding counts the records from before the start of the daemon in the history, in the background until stop is
// called. It reads the embedded store only: a shared store has the records of other hosts, and one in memory is
// empty.
func (d *daemon) startSeeding() (stop func()) {
	if d.records == nil || d.store.Status().Driver != "embedded" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.seedHistory(ctx); err != nil && ctx.Err() == nil {
			d.log.WithError(err).Warn("cannot read the records: the charts lack decisions from before the start of the daemon")
		}
	}()
	return func() { cancel(); <-done }
}

func (d *daemon) seedHistory(ctx context.Context) error {
	q := records.Query{Since: d.started.Add(-d.history.Span()), Until: d.started}
	in := records.Range{Look: seedPart}
	for range seedRecords / seedPart {
		part, err := d.records.Page(ctx, q, in)
		for _, r := range part.Records {
			d.history.Seed(r)
		}
		if err != nil || part.Next == 0 {
			return err
		}
		in.Before = part.Next
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(seedPause):
		}
	}
	return nil
}
