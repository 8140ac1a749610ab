package counters

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

// levelMemory is how long after the end of a block the next one is a longer one.
const levelMemory = 7 * 24 * time.Hour

// skew is how far the clocks of hosts that share a store may be apart.
const skew = time.Minute

// blockVersion is the version of the record, for those who share a store while they are updated one by one.
const blockVersion = 1

// block is the record of a client that passed limits, or that the postmaster blocked. A nil one is no block.
type block struct {
	Version int    `json:"v"`
	InForce bool   `json:"inforce,omitempty"` // a limit refused something, or it is the postmaster's; there is one span then
	Level   int    `json:"level,omitempty"`   // the first block is 1; 0: by the postmaster
	Note    string `json:"note,omitempty"`    // of the postmaster
	Spans   []span `json:"spans"`             // one for each limit that was passed
}

// span is the time for which passing a limit, or the postmaster, blocks the client, in Unix seconds.
type span struct {
	Limit string `json:"limit,omitempty"` // id; empty: the postmaster
	Since int64  `json:"since"`
	Until int64  `json:"until"`
}

const blockPrefix = "counters:block:"

func blockKey(client netip.Prefix) string { return blockPrefix + client.String() }
func tallyKey(client netip.Prefix) string { return "counters:tally:" + client.String() }
func levelKey(client netip.Prefix) string { return "counters:level:" + client.String() }

func getBlock(ctx context.Context, store checks.Store, client netip.Prefix) (*block, error) {
	value, ok, err := store.Get(ctx, blockKey(client))
	if err != nil || !ok {
		return nil, err
	}
	return decodeBlock(value)
}

func decodeBlock(value []byte) (*block, error) {
	b := new(block)
	if err := json.Unmarshal(value, b); err != nil {
		return nil, fmt.Errorf("counters: block %q: %w", value, err)
	}
	if b.Version != blockVersion {
		return nil, fmt.Errorf("counters: block of version %d, want %d", b.Version, blockVersion)
	}
	if len(b.Spans) == 0 {
		return nil, fmt.Errorf("counters: block %q has no time", value)
	}
	return b, nil
}

// put writes the record; with fresh, only if there is none. It tells whether it did.
func (b *block) put(ctx context.Context, store checks.Store, client netip.Prefix, now time.Time, fresh bool) (bool, error) {
	value, err := json.Marshal(b)
	if err != nil {
		return false, err
	}
	ttl := b.whole().until().Sub(now)
	if fresh {
		return store.PutNew(ctx, blockKey(client), value, ttl)
	}
	err = store.Put(ctx, blockKey(client), value, ttl)
	return err == nil, err
}

// at is what lasts of the block. A span that has not begun was written by a clock that was wrong, or one that is wrong reads it:
// when it will end, nobody knows, so nobody suffers from it.
func (b *block) at(now time.Time) *block {
	over := func(sp span) bool { return !now.Before(sp.until()) || now.Add(skew).Before(time.Unix(sp.Since, 0)) }
	if b == nil || !slices.ContainsFunc(b.Spans, over) {
		return b
	}
	left := *b
	left.Spans = slices.DeleteFunc(slices.Clone(b.Spans), over)
	if len(left.Spans) == 0 {
		return nil
	}
	return &left
}

// span is that of a limit; nil if the client has not passed it.
func (b *block) span(limit *checks.Reason) *span {
	if b != nil {
		if i := slices.IndexFunc(b.Spans, func(sp span) bool { return sp.Limit == limit.ID }); i >= 0 {
			return &b.Spans[i]
		}
	}
	return nil
}

func (b *block) has(limit *checks.Reason) bool { return b.span(limit) != nil }

// whole is the time from the beginning of the first span to the end of the last.
func (b *block) whole() span {
	w := b.Spans[0]
	for _, sp := range b.Spans {
		w.Since, w.Until = min(w.Since, sp.Since), max(w.Until, sp.Until)
	}
	return w
}

// why completes the sentence "is blocked for ...".
func (b *block) why() string {
	var phrases []string
	for _, r := range limits() {
		if b.has(r) {
			phrases = append(phrases, phrase(r))
		}
	}
	return cmp.Or(b.Note, strings.Join(phrases, " and "))
}

func (sp span) until() time.Time { return time.Unix(sp.Until, 0).UTC() }

// verdict fills a reason. The time is rounded up to the minute: who comes back then is welcome.
func (sp span) verdict(r *checks.Reason, b *block, client netip.Prefix) checks.Verdict {
	network := client.String()
	if client.IsSingleIP() {
		network = client.Addr().String()
	}
	return checks.Verdict{Reason: r, Detail: map[string]string{
		"network": network,
		"until":   sp.until().Add(time.Minute - time.Second).Truncate(time.Minute).Format("2006-01-02 15:04 MST"),
		"why":     b.why(),
	}}
}

// pass writes down that the client passed a limit, in this connection. Of several at once, on any host, one makes the record;
// the others add to it what it lacks. Should two of them do so at the same time, or one while another puts it in force, then
// what gets lost is found again at the next violation or refusal.
func (c *check) pass(ctx context.Context, s *checks.Request, k *conn, limit *checks.Reason) error {
	for range 3 {
		old, err := getBlock(ctx, c.env.Store, k.client)
		if err != nil {
			return err
		}
		b, stored := old.at(s.Time), true
		if b == nil || !b.InForce && !b.has(limit) {
			if b, err = c.extend(ctx, s, k, b, limit); err != nil {
				return err
			}
			if stored, err = b.put(ctx, c.env.Store, k.client, s.Time, old == nil); err != nil {
				return err
			}
		}
		if stored {
			k.block, k.passed = b, append(k.passed, limit)
			k.clear(limit)
			return nil
		}
	}
	return nil
}

// extend is the block with a span for one more limit. b may be nil.
func (c *check) extend(ctx context.Context, s *checks.Request, k *conn, b *block, limit *checks.Reason) (*block, error) {
	longer := block{Version: blockVersion}
	if b != nil {
		longer = *b
	} else {
		level, err := getLevel(ctx, c.env.Store, k.client)
		if err != nil {
			return nil, err
		}
		longer.Level = level + 1
	}
	length := c.Block[min(max(longer.Level, 1), len(c.Block))-1]
	longer.Spans = append(slices.Clone(longer.Spans), span{limit.ID, s.Time.Unix(), s.Time.Add(length).Unix()})
	return &longer, nil
}

// getLevel is how many blocks in force the client had lately.
func getLevel(ctx context.Context, store checks.Store, client netip.Prefix) (int, error) {
	value, ok, err := store.Get(ctx, levelKey(client))
	if err != nil || !ok {
		return 0, err
	}
	level, err := strconv.Atoi(string(value))
	if err != nil {
		return 0, fmt.Errorf("counters: level %q: %w", value, err)
	}
	return max(level, 0), nil
}

// enforce puts the block in force, for a limit has refused something. All writes can be repeated.
func (c *check) enforce(ctx context.Context, s *checks.Request, k *conn, limit *checks.Reason) error {
	b := k.blockAt(s.Time)
	if limit == nil || !b.has(limit) || b.InForce {
		return nil
	}
	now, err := getBlock(ctx, c.env.Store, k.client)
	if err != nil {
		return err
	}
	if now = now.at(s.Time); now != nil && now.InForce {
		k.block = now
		return nil
	}
	force := *b
	force.InForce, force.Spans = true, []span{*b.span(limit)}
	level := strconv.AppendInt(nil, int64(b.Level), 10)
	if err := c.env.Store.Put(ctx, levelKey(k.client), level, force.whole().until().Sub(s.Time)+levelMemory); err != nil {
		return err
	}
	if err := c.env.Store.Delete(ctx, tallyKey(k.client)); err != nil {
		return err
	}
	if _, err := force.put(ctx, c.env.Store, k.client, s.Time, false); err != nil {
		return err
	}
	k.block = &force
	for _, r := range limits() {
		k.clear(r)
	}
	return nil
}
