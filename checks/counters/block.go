package counters

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

// levelMemory is how long after the end of a block the next one is longer. A client that sends once a week would always get
// the shortest block with half of it, and pay for two weeks with twice as much.
const levelMemory = 7 * 24 * time.Hour

// maxSkew is how far apart the clocks of hosts with a common store may be. With half of it, a block that one host began would
// not hold on another whose clock is 40 s behind.
const maxSkew = time.Minute

// blockVersion is the version of the record. Hosts of different versions of milterd may share a store.
const blockVersion = 1

// block is the record of a client that passed limits, or that the operator blocked. A nil block is no block.
type block struct {
	Version int    `json:"v"`
	InForce bool   `json:"inforce,omitempty"` // false: pending; a block in force has one span
	Level   int    `json:"level,omitempty"`   // 1 for the first block; 0 if by the operator
	Note    string `json:"note,omitempty"`    // by the operator
	Spans   []span `json:"spans"`             // one for each limit that was passed

	of subject // in the key of the record
}

// span is the time of a block for one limit, in Unix seconds.
type span struct {
	Limit string `json:"limit,omitempty"` // id of the reason; empty if by the operator
	Since int64  `json:"since"`
	Until int64  `json:"until"`
}

// byOperator reports whether the operator began the block. It is in force then.
func (b *block) byOperator() bool { return b.Level == 0 }

// findBlock returns the block that holds for a subject: its own, or else one that the operator began, of the client or of a network
// with it. If the client has become a good sender, the block that it has for its own limits does not hold for its pairs.
func findBlock(ctx context.Context, store checks.Store, s subject, now time.Time) (*block, error) {
	b, err := getBlock(ctx, store, s)
	if b = b.at(now); b != nil || err != nil {
		return b, err
	}
	if s.sender != "" {
		b, err = getBlock(ctx, store, subject{client: s.client})
		if b = b.at(now); err != nil || b != nil && b.byOperator() {
			return b, err
		}
	}
	return networkBlock(ctx, store, s.client, now)
}

// getBlock returns the block of a subject itself, which may have ended.
func getBlock(ctx context.Context, store checks.Store, s subject) (*block, error) {
	value, ok, err := store.Get(ctx, s.key(blockKind))
	if err != nil || !ok {
		return nil, err
	}
	return decodeBlock(value, s)
}

func decodeBlock(value []byte, of subject) (*block, error) {
	b := new(block)
	if err := json.Unmarshal(value, b); err != nil {
		return nil, fmt.Errorf("counters: block %q: %w", value, err)
	}
	if b.Version != blockVersion {
		return nil, fmt.Errorf("counters: block of version %d, want %d", b.Version, blockVersion)
	}
	if len(b.Spans) == 0 {
		return nil, fmt.Errorf("counters: block %q has no spans", value)
	}
	b.of = of
	return b, nil
}

// put writes the block, with PutNew if fresh is set. It reports whether it did.
func (b *block) put(ctx context.Context, store checks.Store, now time.Time, fresh bool) (bool, error) {
	value, err := json.Marshal(b)
	if err != nil {
		return false, err
	}
	key, ttl := b.of.key(blockKind), b.whole().until().Sub(now)
	if fresh {
		return store.PutNew(ctx, key, value, ttl)
	}
	err = store.Put(ctx, key, value, ttl)
	return err == nil, err
}

// at returns the block without the spans that have ended. Spans that begin in the future are omitted too: the clock that wrote
// them was wrong, or the clock of this host is, so their end is unknown.
func (b *block) at(now time.Time) *block {
	over := func(sp span) bool {
		return !now.Before(sp.until()) || now.Add(maxSkew).Before(time.Unix(sp.Since, 0))
	}
	if b == nil || !slices.ContainsFunc(b.Spans, over) {
		return b
	}
	rest := *b
	rest.Spans = slices.DeleteFunc(slices.Clone(b.Spans), over)
	if len(rest.Spans) == 0 {
		return nil
	}
	return &rest
}

// span returns the span of a limit, or nil if the client has not passed it.
func (b *block) span(limit *checks.Reason) *span {
	if b == nil {
		return nil
	}
	for i := range b.Spans {
		if b.Spans[i].Limit == limit.ID {
			return &b.Spans[i]
		}
	}
	return nil
}

func (b *block) has(limit *checks.Reason) bool { return b.span(limit) != nil }

// whole returns the time from the beginning of the first span to the end of the last.
func (b *block) whole() span {
	w := b.Spans[0]
	for _, sp := range b.Spans {
		w.Since, w.Until = min(w.Since, sp.Since), max(w.Until, sp.Until)
	}
	return w
}

// why returns the end of the sentence "is blocked for ...".
func (b *block) why() string {
	var phrases []string
	for _, limit := range limits {
		if b.has(limit) {
			phrases = append(phrases, phrase(limit))
		}
	}
	why := cmp.Or(b.Note, strings.Join(phrases, " and "))
	if b.of.sender != "" {
		why += " in mail from " + b.of.sender
	}
	return why
}

func (sp span) until() time.Time { return time.Unix(sp.Until, 0).UTC() }

// verdict returns the verdict of a span. The end is rounded up to the minute, so that a retry then is accepted.
func (b *block) verdict(reason *checks.Reason, sp *span) checks.Verdict {
	return checks.Verdict{Reason: reason, Detail: map[string]string{
		"network": checks.FormatNetwork(b.of.client),
		"until":   sp.until().Add(time.Minute - time.Second).Truncate(time.Minute).Format(checks.TimeLayout),
		"why":     b.why(),
	}}
}

// pass records that this connection passed a limit. If another connection writes its record at the same time, this one is
// dropped: the next violation finds the other.
func (c *check) pass(ctx context.Context, r *checks.Request, conn *connection, limit *checks.Reason) error {
	old, err := getBlock(ctx, c.env.Store, conn.subject)
	if err != nil {
		return err
	}
	b := old.at(r.Time)
	if b == nil || !b.InForce && !b.has(limit) {
		if b, err = c.extend(ctx, r, conn, b, limit); err != nil {
			return err
		}
		if stored, err := b.put(ctx, c.env.Store, r.Time, old == nil); err != nil || !stored {
			return err
		}
	}
	conn.block, conn.passed = b, append(conn.passed, limit)
	conn.clear(limit)
	return nil
}

// extend returns the block with a span for one more limit. b may be nil.
func (c *check) extend(ctx context.Context, r *checks.Request, conn *connection, b *block, limit *checks.Reason) (*block, error) {
	longer := block{Version: blockVersion, of: conn.subject}
	if b != nil {
		longer = *b
	} else {
		level, err := getLevel(ctx, c.env.Store, conn.subject)
		if err != nil {
			return nil, err
		}
		longer.Level = level + 1
	}
	length := c.Block[min(max(longer.Level, 1), len(c.Block))-1]
	longer.Spans = append(slices.Clone(longer.Spans), span{
		Limit: limit.ID, Since: r.Time.Unix(), Until: r.Time.Add(length).Unix(),
	})
	return &longer, nil
}

// getLevel returns how many blocks in force the subject had without levelMemory between them.
func getLevel(ctx context.Context, store checks.Store, s subject) (int, error) {
	value, ok, err := store.Get(ctx, s.key(levelKind))
	if err != nil || !ok {
		return 0, err
	}
	level, err := strconv.Atoi(string(value))
	if err != nil {
		return 0, fmt.Errorf("counters: level %q: %w", value, err)
	}
	return max(level, 0), nil
}

// putLevel stores the level of a block in force.
func (b *block) putLevel(ctx context.Context, store checks.Store, now time.Time) error {
	ttl := b.whole().until().Sub(now) + levelMemory
	return store.Put(ctx, b.of.key(levelKind), strconv.AppendInt(nil, int64(b.Level), 10), ttl)
}

// enforce puts a pending block in force, because a refusal was sent for the span sp. It does nothing if sp is nil. The block
// keeps only that span, the level of the client rises, and its counts are cleared. If a write fails, the next refusal repeats
// all of them.
func (c *check) enforce(ctx context.Context, r *checks.Request, conn *connection, sp *span) error {
	b := conn.block
	if sp == nil || b.InForce {
		return nil
	}
	stored, err := getBlock(ctx, c.env.Store, conn.subject)
	if err != nil {
		return err
	}
	stored = stored.at(r.Time)
	switch {
	case stored == nil: // the operator ended it, and only this connection stays blocked
		return nil
	case stored.InForce: // by another connection
		conn.block = stored
		return nil
	}
	enforced := *b
	enforced.InForce, enforced.Spans = true, []span{*sp}
	if err := enforced.putLevel(ctx, c.env.Store, r.Time); err != nil {
		return err
	}
	if err := c.env.Store.Delete(ctx, conn.key(tallyKind)); err != nil {
		return err
	}
	if _, err := enforced.put(ctx, c.env.Store, r.Time, false); err != nil {
		return err
	}
	conn.block = &enforced
	for _, limit := range limits {
		conn.clear(limit)
	}
	return nil
}
