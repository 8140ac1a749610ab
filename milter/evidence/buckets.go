package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// The store has the entries of each week in buckets of bounded size. A full bucket loses the entries of least worth, see
// encode. The store also has the sums of each week over all transactions, so that lost entries still count there.
//
// A host holds a lock while it writes, because it reads each value, adds to it, and puts it back.
const (
	prefix  = "evidence:"
	lockKey = prefix + "lock"

	buckets       = 128
	bucketEntries = 128
	bucketBytes   = 60 << 10 // a store takes 64 KiB

	weeks = 6 // that are kept, with the current one: more than 35 days, up to 42
	keep  = (weeks*7 + 1) * 24 * time.Hour

	// maxPending is how many entries wait for the store, of some hundred bytes each. When half as many wait, they are
	// written without waiting for the end of flushInterval. Half of it loses entries in a smaller flood; twice as many
	// take twice the memory.
	maxPending = 8192

	lockTTL      = 30 * time.Second // ends the lock of a host that crashed
	flushTimeout = 20 * time.Second // less than lockTTL, so that a host does not write without the lock
	lockRetry    = 50 * time.Millisecond
)

func sumsKey(week int64) string { return fmt.Sprintf("%s%d:all", prefix, week) }

func bucketKey(week int64, bucket int) string { return fmt.Sprintf("%s%d:%d", prefix, week, bucket) }

// bucket returns the bucket of an entry.
func (k entryKey) bucket() int {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%t", k.client, k.sender, k.verified))
	return int(sum[0]) % buckets
}

// pending is the evidence that is not in the store yet.
type pending struct {
	entries map[pendingKey]*entry
	sums    map[int64]reasonCounts // by week
}

type pendingKey struct {
	week int64
	entryKey
}

func newPending() pending {
	return pending{entries: map[pendingKey]*entry{}, sums: map[int64]reasonCounts{}}
}

// addPending adds an entry to the pending ones and to the sums. If too many entries are pending, it counts the entry as lost.
// The caller holds mu.
func (c *Collector) addPending(week int64, e *entry) {
	if len(e.Reasons) > 0 {
		if c.pending.sums[week] == nil {
			c.pending.sums[week] = reasonCounts{}
		}
		c.pending.sums[week].addAll(e.Reasons)
	}
	e.Client, e.Sender = storable(e.Client), storable(e.Sender)
	key := pendingKey{week: week, entryKey: e.key()}
	old := c.pending.entries[key]
	switch {
	case old != nil:
		old.add(e)
	case len(c.pending.entries) >= maxPending:
		c.queue.Drop(1, nil)
	default:
		c.pending.entries[key] = e
	}
}

// storable returns a name as it is read from the store again: not too long, and valid UTF-8, which JSON demands.
func storable(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxName)], "\uFFFD")
}

// flushIfMuch writes to the store if maxPending/2 entries are pending and the last write did not fail.
func (c *Collector) flushIfMuch() {
	c.mu.Lock()
	much := len(c.pending.entries) >= maxPending/2 && !c.failed
	c.mu.Unlock()
	if much {
		ctx, cancel := context.WithTimeout(c.ctx, flushTimeout)
		defer cancel()
		_ = c.flush(ctx)
	}
}

// Flush writes the evidence so far to the store, for the reports of all hosts.
func (c *Collector) Flush(ctx context.Context) error {
	_ = c.queue.Flush(ctx, queueTimeout)
	return c.flush(ctx)
}

// flush writes to the store. What it cannot write stays pending.
func (c *Collector) flush(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending.entries) == 0 && len(c.pending.sums) == 0 {
		return nil
	}
	err := c.withLock(ctx, c.write)
	c.failed = err != nil
	return err
}

// withLock calls f while no other host writes.
func (c *Collector) withLock(ctx context.Context, f func(context.Context) error) error {
	for {
		began := time.Now()
		ours, err := c.store.PutNew(ctx, lockKey, []byte(c.holder), lockTTL)
		if err != nil {
			return err
		}
		if ours {
			ctx, cancel := context.WithDeadline(ctx, began.Add(flushTimeout))
			defer cancel()
			return errors.Join(f(ctx), c.unlock())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("evidence: another host is writing: %w", ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// unlock removes the lock if this process holds it still.
func (c *Collector) unlock() error {
	ctx := context.Background() // the store limits the time of an operation
	holder, ok, err := c.store.Get(ctx, lockKey)
	if !ok || err != nil || string(holder) != c.holder {
		return err
	}
	return c.store.Delete(ctx, lockKey)
}

// write adds what is pending to the store. After an error, the rest stays pending.
func (c *Collector) write(ctx context.Context) error {
	for w, sums := range c.pending.sums {
		if err := c.writeSums(ctx, w, sums); err != nil {
			return err
		}
		delete(c.pending.sums, w)
	}
	groups := map[string][]pendingKey{}
	for key := range c.pending.entries {
		bucket := bucketKey(key.week, key.bucket())
		groups[bucket] = append(groups[bucket], key)
	}
	for bucket, keys := range groups {
		if err := c.writeBucket(ctx, bucket, keys); err != nil {
			return err
		}
		for _, key := range keys {
			delete(c.pending.entries, key)
		}
	}
	return nil
}

func (c *Collector) writeSums(ctx context.Context, week int64, sums reasonCounts) error {
	all, err := c.readSums(ctx, week)
	if err != nil {
		return err
	}
	all.addAll(sums)
	return checks.PutJSON(ctx, c.store, sumsKey(week), all, keep)
}

// writeBucket adds pending entries to a bucket.
func (c *Collector) writeBucket(ctx context.Context, bucket string, keys []pendingKey) error {
	value, _, err := c.store.Get(ctx, bucket)
	if err != nil {
		return err
	}
	table := decode(value)
	for _, key := range keys {
		if old := table[key.entryKey]; old != nil {
			old.add(c.pending.entries[key])
		} else {
			table[key.entryKey] = c.pending.entries[key]
		}
	}
	if value, err = encode(table); err != nil {
		return err
	}
	return c.store.Put(ctx, bucket, value, keep)
}

// readSums returns the sums of a week. Damaged ones are empty.
func (c *Collector) readSums(ctx context.Context, week int64) (reasonCounts, error) {
	all := reasonCounts{}
	value, ok, err := c.store.Get(ctx, sumsKey(week))
	if ok && err == nil && (json.Unmarshal(value, &all) != nil || all == nil) {
		all = reasonCounts{}
	}
	return all, err
}

// read returns the entries and sums of the weeks up to now, one entry for each key.
func (c *Collector) read(ctx context.Context, now time.Time) ([]*entry, reasonCounts, error) {
	sums := reasonCounts{}
	entries := map[entryKey]*entry{}
	first := week(now) - weeks + 1
	for w := range int64(weeks) {
		all, err := c.readSums(ctx, first+w)
		if err != nil {
			return nil, nil, err
		}
		for reason, c := range all {
			sums.add(reason, c.shift(w))
		}
		for bucket := range buckets {
			value, _, err := c.store.Get(ctx, bucketKey(first+w, bucket))
			if err != nil {
				return nil, nil, err
			}
			for key, e := range decode(value) {
				e.shift(w)
				if entries[key] == nil {
					entries[key] = e
				} else {
					entries[key].add(e)
				}
			}
		}
	}
	for _, e := range entries {
		e.answered = e.Known.days() >= e.answeredDays()
	}
	return slices.Collect(maps.Values(entries)), sums, nil
}
