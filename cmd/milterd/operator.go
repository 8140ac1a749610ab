package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/web/dashboard"
)

// operator implements dashboard.Operator. It does what the commands greylist and block do, and logs each change.
type operator struct{ *daemon }

// Triplets implements dashboard.Operator.
func (o operator) Triplets(ctx context.Context, what string) iter.Seq2[dashboard.Triplet, error] {
	return func(yield func(dashboard.Triplet, error) bool) {
		for t, err := range greylist.List(ctx, o.store, time.Now(), what) {
			if !yield(dashboard.Triplet{
				Identity:  t.Identity,
				From:      t.From,
				To:        t.To,
				Client:    t.Client,
				Suspicion: t.Suspicion,
				State:     string(t.State),
				Attempts:  t.Attempts,
				First:     t.First,
				Last:      t.Last,
				Until:     t.Until,
				Passed:    t.Passed,
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
	if err == nil {
		o.logChange("greylist allow", c.Identity, nil)
	}
	return err
}

// Forget implements dashboard.Operator.
func (o operator) Forget(ctx context.Context, what string) (int, error) {
	n, err := greylist.Forget(ctx, o.store, what)
	if err == nil {
		o.logChange("greylist forget", what, logrus.Fields{"entries": n})
	}
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

// Block implements dashboard.Operator.
func (o operator) Block(ctx context.Context, client, length, why string) (dashboard.Block, error) {
	d, err := config.ParseDuration(length)
	if err != nil {
		return dashboard.Block{}, fmt.Errorf("duration of the block: %w", err)
	}
	b, err := o.addBlock(ctx, blockArgs{Client: client, For: d, Why: why})
	if err != nil {
		return dashboard.Block{}, err
	}
	o.logChange("block add", b.Client.String(), logrus.Fields{"until": b.Until.Format(time.RFC3339), "why": b.Why})
	return blockOf(b), nil
}

// Unblock implements dashboard.Operator.
func (o operator) Unblock(ctx context.Context, client, sender string) (bool, error) {
	p, err := parseClient(client)
	if err != nil {
		return false, err
	}
	removed, err := counters.Unblock(ctx, o.store, p, sender, time.Now())
	if removed {
		o.logChange("block remove", client, logrus.Fields{"sender": sender})
	}
	return removed, err
}

func (o operator) logChange(command, client string, more logrus.Fields) {
	o.log.WithField("client", client).WithFields(more).Info("changed on the operator's pages: " + command)
}

func blockOf(b counters.Blocked) dashboard.Block {
	client := b.Client.String()
	if b.Client.IsSingleIP() {
		client = b.Client.Addr().String()
	}
	return dashboard.Block{Client: client, Sender: b.Sender, Since: b.Since, Until: b.Until, Level: b.Level, Why: b.Why, InForce: b.InForce}
}
