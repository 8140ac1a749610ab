package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
	"milterd/milter/web/dashboard"
)

// What is read of the records at the start, so that a restart does not empty the charts: so many at a time with a pause between
// them, and no more than so many, the last ones.
const (
	seedPart  = 1000
	seedPause = 20 * time.Millisecond
	seedMost  = 500_000
	seedTries = 10 // as long as the store does not answer, each so long after the one before
	seedAgain = 5 * time.Second
)

// seedHistory counts in the background what was decided before the start, until stop is called. A store that is shared has the
// records of other hosts too, and one in memory has none.
func (d *daemon) seedHistory() (stop func()) {
	if d.explain.book == nil || d.store.Status().Driver != "embedded" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.seed(ctx, seedAgain); err != nil && ctx.Err() == nil {
			d.log.WithError(err).Warn("the charts begin at the start of the daemon: its records cannot be read")
		}
	}()
	return func() { cancel(); <-done }
}

func (d *daemon) seed(ctx context.Context, again time.Duration) error {
	q := records.Query{Since: d.started.Add(-d.history.Span()), Until: d.started}
	in := records.Range{Look: seedPart}
	for parts, failures := 0, 0; parts < seedMost/seedPart; {
		part, err := d.explain.book.Page(ctx, q, in)
		for _, r := range part.Records {
			d.history.Seed(r)
		}
		pause := seedPause
		if err != nil {
			if failures++; failures == seedTries {
				return err
			}
			pause = again
		} else {
			parts++
		}
		if part.Next > 0 {
			in.Before = part.Next
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

// operator does what the operator's pages offer, as the commands do, and leaves a line in the log of what was changed.
type operator struct{ *daemon }

// Triplets implements dashboard.Operator.
func (o operator) Triplets(ctx context.Context, what string) iter.Seq2[dashboard.Triplet, error] {
	return func(yield func(dashboard.Triplet, error) bool) {
		for t, err := range greylist.List(ctx, o.store, time.Now(), what) {
			if !yield(dashboard.Triplet{
				Identity: t.Identity, From: t.From, To: t.To, Client: t.Client, Suspicion: t.Suspicion, State: string(t.State),
				Attempts: t.Attempts, First: t.First, Last: t.Last, Until: t.Until, Passed: t.Passed,
			}, err) {
				return
			}
		}
	}
}

// Clients implements dashboard.Operator.
func (o operator) Clients(ctx context.Context, what string) iter.Seq2[dashboard.Client, error] {
	return func(yield func(dashboard.Client, error) bool) {
		for c, err := range greylist.Clients(ctx, o.store, what) {
			if !yield(dashboard.Client{Identity: c.Identity, Passes: c.Passes, Used: c.Used, Client: c.Client, Allowed: c.Allowed}, err) {
				return
			}
		}
	}
}

// Allow implements dashboard.Operator.
func (o operator) Allow(ctx context.Context, what string) error {
	c, err := greylist.Allow(ctx, o.store, time.Now(), what)
	o.told("greylist allow", c.Identity, nil, err)
	return err
}

// Forget implements dashboard.Operator.
func (o operator) Forget(ctx context.Context, what string) (int, error) {
	n, err := greylist.Forget(ctx, o.store, what)
	o.told("greylist forget", what, logrus.Fields{"entries": n}, err)
	return n, err
}

// Blocks implements dashboard.Operator.
func (o operator) Blocks(ctx context.Context) ([]dashboard.Block, error) {
	list, err := counters.Blocks(ctx, o.store, time.Now())
	blocks := make([]dashboard.Block, len(list))
	for i, b := range list {
		blocks[i] = blockOf(b)
	}
	return blocks, err
}

func blockOf(b counters.Blocked) dashboard.Block {
	client := b.Client.String()
	if b.Client.IsSingleIP() {
		client = b.Client.Addr().String()
	}
	return dashboard.Block{Client: client, Since: b.Since, Until: b.Until, Level: b.Level, Why: b.Why, InForce: b.InForce}
}

// Block implements dashboard.Operator.
func (o operator) Block(ctx context.Context, client, length, why string) (dashboard.Block, error) {
	d, err := config.ParseDuration(length)
	if err != nil {
		return dashboard.Block{}, fmt.Errorf("for how long? %w", err)
	}
	b, err := o.block(ctx, client, d, why)
	if err != nil {
		return dashboard.Block{}, err
	}
	o.told("block add", b.Client.String(), logrus.Fields{"until": b.Until.Format(time.RFC3339), "why": b.Why}, nil)
	return blockOf(b), nil
}

// Unblock implements dashboard.Operator.
func (o operator) Unblock(ctx context.Context, client string) (bool, error) {
	was, err := o.unblock(ctx, client)
	o.told("block remove", client, nil, err)
	return was, err
}

// told logs a change that succeeded.
func (o operator) told(what, client string, more logrus.Fields, err error) {
	if err == nil {
		o.log.WithField("client", client).WithFields(more).Info("by the operator's page: " + what)
	}
}

// block blocks a client by hand.
func (d *daemon) block(ctx context.Context, client string, length time.Duration, why string) (counters.Blocked, error) {
	p, err := parseClient(client)
	if err != nil {
		return counters.Blocked{}, err
	}
	if length <= 0 {
		return counters.Blocked{}, errors.New("want a duration over 0")
	}
	return counters.Block(ctx, d.store, p, time.Now(), length, why)
}

// unblock ends a block; false if there was none.
func (d *daemon) unblock(ctx context.Context, client string) (bool, error) {
	p, err := parseClient(client)
	if err != nil {
		return false, err
	}
	return counters.Unblock(ctx, d.store, p, time.Now())
}
