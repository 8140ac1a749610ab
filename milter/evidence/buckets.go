package evidence

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// The store has a table of senders for each week, in buckets of a bounded size, and a record with the sums of all occasions. A
// flood of senders who come once thus costs no more than their place: where a bucket is full, whoever was seen on the fewest
// days leaves first. Each host adds its own now and then, one host at a time.
const (
	prefix  = "evidence:"
	lockKey = prefix + "lock"

	buckets    = 128
	perBucket  = 128      // senders
	maxEncoded = 60 << 10 // octets of a bucket; a store takes 64 KiB
	maxName    = 320      // octets of a name from outside
	maxPairs   = 2        // of an entry
	maxKinds   = 4        // kinds of clean messages of an entry, beside those to which no reason applied at all

	weeks = 6 // that are kept, the current one included: 35 to 42 days
	keep  = (weeks*7 + 1) * 24 * time.Hour

	lease     = 30 * time.Second // of the lock, if its holder dies
	writeFor  = 20 * time.Second // so that nobody writes whose lease is over
	settleFor = 5 * time.Second  // that a report waits for what is not found out yet
	lockRetry = 50 * time.Millisecond
)

const (
	daySeconds  = 24 * 60 * 60
	weekSeconds = 7 * daySeconds
)

func week(t time.Time) int64 { return t.Unix() / weekSeconds }

// tally counts something.
type tally struct {
	N     int    `json:"n"`
	Days  uint64 `json:"d"` // a bit for each day on which it was; in the store of the week, in a report from its beginning
	First int64  `json:"f"` // in seconds since 1970
	Last  int64  `json:"l"`
}

func one(t time.Time) tally {
	now := t.Unix()
	return tally{N: 1, Days: 1 << (now % weekSeconds / daySeconds), First: now, Last: now}
}

func (t tally) days() int { return bits.OnesCount64(t.Days) }

func (t tally) shift(n int64) tally {
	t.Days <<= uint(7 * n)
	return t
}

func (t tally) plus(o tally) tally {
	switch {
	case o.N == 0:
		return t
	case t.N == 0:
		return o
	}
	return tally{t.N + o.N, t.Days | o.Days, min(t.First, o.First), max(t.Last, o.Last)}
}

// hit is what became of the transactions that a reason applied to.
type hit struct {
	Seen    tally `json:"s,omitzero"`
	Passed  tally `json:"p,omitzero"`
	Refused tally `json:"r,omitzero"`
	Held    tally `json:"h,omitzero"`
	Anyway  int   `json:"a,omitempty"`
	Spoke   int   `json:"x,omitempty"` // of entry.Against, those that are this reason's own
}

// hitOf is one transaction.
func hitOf(what int, once tally) hit {
	return hit{
		Seen: only(what&seen, once), Passed: only(what&passed, once), Refused: only(what&refused, once), Held: only(what&held, once),
		Anyway: min(what&anyway, 1), Spoke: min(what&spoke, 1),
	}
}

func only(bit int, t tally) tally {
	if bit == 0 {
		return tally{}
	}
	return t
}

func (h hit) plus(o hit) hit {
	return hit{
		h.Seen.plus(o.Seen), h.Passed.plus(o.Passed), h.Refused.plus(o.Refused), h.Held.plus(o.Held), h.Anyway + o.Anyway, h.Spoke + o.Spoke,
	}
}

// shift moves the days of a week to their place among all.
func (h hit) shift(n int64) hit {
	for _, t := range []*tally{&h.Seen, &h.Passed, &h.Refused, &h.Held} {
		*t = t.shift(n)
	}
	return h
}

// hits is by reason.
type hits map[string]hit

func (hs hits) add(reason string, h hit) { hs[reason] = hs[reason].plus(h) }

func (hs hits) addAll(o hits) {
	for reason, h := range o {
		hs.add(reason, h)
	}
}

// entry is what is known of a sender and its client.
type entry struct {
	Client  string           `json:"c"`
	Sender  string           `json:"m,omitempty"`
	Own     bool             `json:"o,omitempty"`
	SPF     bool             `json:"q,omitempty"`
	Hits    hits             `json:"h,omitempty"`
	Known   tally            `json:"k,omitzero"`  // transactions of those who were written to
	Against tally            `json:"x,omitzero"`  // transactions in which something spoke against the sender
	Clean   map[string]tally `json:"w,omitempty"` // clean messages, by the reasons that applied but are no faults
	Pairs   []string         `json:"p,omitempty"` // some who have not been written to

	answered bool // of a report
}

// id is what entries are told apart by.
type id struct {
	client, sender string
	own            bool
}

func (e *entry) id() id { return id{e.Client, e.Sender, e.Own} }

func (e *entry) add(o *entry) {
	e.SPF = e.SPF || o.SPF
	e.Known, e.Against = e.Known.plus(o.Known), e.Against.plus(o.Against)
	if e.Hits == nil {
		e.Hits = hits{}
	}
	e.Hits.addAll(o.Hits)
	for kind, t := range o.Clean {
		if _, there := e.Clean[kind]; !there && kind != "" && len(e.Clean) >= maxKinds {
			continue
		}
		if e.Clean == nil {
			e.Clean = map[string]tally{}
		}
		e.Clean[kind] = e.Clean[kind].plus(t)
	}
	for _, p := range o.Pairs {
		if !slices.Contains(e.Pairs, p) {
			e.Pairs = append(e.Pairs, p)
		}
	}
	e.Pairs = e.Pairs[max(0, len(e.Pairs)-maxPairs):]
}

// clean are the clean messages to which a reason did not apply; an empty one: all of them.
func (e *entry) clean(reason string) (sum tally) {
	for kind, t := range e.Clean {
		if reason == "" || !slices.Contains(strings.Fields(kind), reason) {
			sum = sum.plus(t)
		}
	}
	return sum
}

// all is every transaction in which a reason applied. Those with several are in it several times.
func (e *entry) all() (sum tally) {
	for _, h := range e.Hits {
		sum = sum.plus(h.Seen).plus(h.Passed)
	}
	return sum
}

func (e *entry) shift(n int64) {
	e.Known, e.Against = e.Known.shift(n), e.Against.shift(n)
	for kind, t := range e.Clean {
		e.Clean[kind] = t.shift(n)
	}
	for reason, h := range e.Hits {
		e.Hits[reason] = h.shift(n)
	}
}

// worth is how much one would miss an entry: people who were written to, then those who deliver, then those who come again.
func (e *entry) worth() int {
	n := 8*e.clean("").days() + e.all().days()
	if e.Known.N > 0 {
		n += 64
	}
	return n
}

func (e *entry) last() int64 { return max(e.all().Last, e.clean("").Last) }

// cut shortens a name from outside.
func cut(s string) string { return s[:min(len(s), maxName)] }

// pending is what is not written yet.
type pending struct {
	entries map[place]*entry
	sums    map[int64]hits // by week
}

// place is where an entry belongs.
type place struct {
	week int64
	id
}

func newPending() pending { return pending{map[place]*entry{}, map[int64]hits{}} }

// sum counts occasions, whosever they are.
func (p *pending) sum(i item) {
	if len(i.reasons) == 0 {
		return
	}
	sums := p.sumsOf(week(i.Time))
	for _, n := range i.reasons {
		sums.add(n.reason, hitOf(n.what, one(i.Time)))
	}
}

func (p *pending) sumsOf(week int64) hits {
	if p.sums[week] == nil {
		p.sums[week] = hits{}
	}
	return p.sums[week]
}

// add takes an entry. It is false if there is no room.
func (p *pending) add(week int64, e *entry) bool {
	e.Client, e.Sender = cut(e.Client), cut(e.Sender)
	at := place{week, e.id()}
	there := p.entries[at]
	switch {
	case there != nil:
		there.add(e)
	case len(p.entries) >= maxPending:
		return false
	default:
		p.entries[at] = e
	}
	return true
}

func (b *Book) flushNowAndThen() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	kick := b.kick
	for {
		select {
		case <-tick.C:
		case <-kick:
		case <-b.stop:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), writeFor)
		kick = b.kick
		if b.flush(ctx) != nil {
			// What the store does not take now stays until the next time, and what there is no room for is told of.
			kick = nil
		}
		cancel()
	}
}

// Flush writes what was decided so far into the store, so that reports of other hosts have it too. After an error it stays with
// this one.
func (b *Book) Flush(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, settleFor)
	b.settle(soon)
	cancel()
	return b.flush(ctx)
}

func (b *Book) flush(ctx context.Context) error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	p := b.pending
	b.pending = newPending()
	b.mu.Unlock()
	if len(p.entries) == 0 && len(p.sums) == 0 {
		return nil
	}
	err := b.locked(ctx, func(ctx context.Context) error { return b.write(ctx, &p) })
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, e := range p.entries { // what was not written
		b.keep(at.week, e)
	}
	for w, sums := range p.sums {
		b.pending.sumsOf(w).addAll(sums)
	}
	return err
}

// settle waits until all that was decided is among what is to be written.
func (b *Book) settle(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.idle.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.waiting > 0 && ctx.Err() == nil {
		b.idle.Wait()
	}
}

// locked runs f while no other host writes.
func (b *Book) locked(ctx context.Context, f func(context.Context) error) error {
	for {
		began := time.Now()
		ours, err := b.store.PutNew(ctx, lockKey, []byte(b.name), lease)
		if err != nil {
			return err
		}
		if ours {
			ctx, cancel := context.WithDeadline(ctx, began.Add(writeFor))
			defer cancel()
			return errors.Join(f(ctx), b.unlock())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("evidence: another host is writing: %w", ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// unlock takes the lock away, if it is still ours.
func (b *Book) unlock() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	holder, ok, err := b.store.Get(ctx, lockKey)
	if !ok || err != nil || string(holder) != b.name {
		return err
	}
	return b.store.Delete(ctx, lockKey)
}

func sumKey(week int64) string { return fmt.Sprintf("%s%d:all", prefix, week) }

func bucketKey(week int64, bucket int) string { return fmt.Sprintf("%s%d:%d", prefix, week, bucket) }

func (i id) bucket() int {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%t", i.client, i.sender, i.own))
	return int(sum[0]) % buckets
}

// write adds to what the store has, and leaves in p what it did not.
func (b *Book) write(ctx context.Context, p *pending) error {
	for w, sums := range p.sums {
		if err := b.writeSums(ctx, w, sums); err != nil {
			return err
		}
		delete(p.sums, w)
	}
	groups := map[string][]place{}
	for at := range p.entries {
		key := bucketKey(at.week, at.bucket())
		groups[key] = append(groups[key], at)
	}
	for key, places := range groups {
		value, _, err := b.store.Get(ctx, key)
		if err != nil {
			return err
		}
		table := decode(value)
		for _, at := range places {
			if there := table[at.id]; there != nil {
				there.add(p.entries[at])
			} else {
				table[at.id] = p.entries[at]
			}
		}
		value, err = encode(table)
		if err != nil {
			return err
		}
		if err := b.store.Put(ctx, key, value, keep); err != nil {
			return err
		}
		for _, at := range places {
			delete(p.entries, at)
		}
	}
	return nil
}

func (b *Book) writeSums(ctx context.Context, week int64, sums hits) error {
	all, err := b.readSums(ctx, week)
	if err != nil {
		return err
	}
	all.addAll(sums)
	value, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return b.store.Put(ctx, sumKey(week), value, keep)
}

func (b *Book) readSums(ctx context.Context, week int64) (hits, error) {
	all := hits{}
	value, ok, err := b.store.Get(ctx, sumKey(week))
	if ok && err == nil && (json.Unmarshal(value, &all) != nil || all == nil) {
		all = hits{} // what is broken counts for nothing
	}
	return all, err
}

// decode reads a bucket, an entry a line. What is broken is left out.
func decode(value []byte) map[id]*entry {
	table := map[id]*entry{}
	for line := range bytes.Lines(value) {
		e := &entry{}
		if json.Unmarshal(line, e) == nil && e.Client != "" {
			table[e.id()] = e
		}
	}
	return table
}

// encode writes a bucket: as many entries as it holds, those that one would miss most.
func encode(table map[id]*entry) ([]byte, error) {
	type ranked struct {
		*entry
		worth int
		last  int64
	}
	var list []ranked
	for _, e := range table {
		list = append(list, ranked{e, e.worth(), e.last()})
	}
	slices.SortFunc(list, func(x, y ranked) int { return cmp.Or(cmp.Compare(y.worth, x.worth), cmp.Compare(y.last, x.last)) })
	var value []byte
	for _, e := range list[:min(len(list), perBucket)] {
		line, err := json.Marshal(e.entry)
		if err != nil {
			return nil, err
		}
		if len(value)+len(line) >= maxEncoded {
			break
		}
		value = append(append(value, line...), '\n')
	}
	return value, nil
}

// read brings together what the weeks until now have, each sender once.
func (b *Book) read(ctx context.Context, now time.Time) ([]*entry, hits, error) {
	sums := hits{}
	found := map[id]*entry{}
	first := week(now) - weeks + 1
	for w := range int64(weeks) {
		of, err := b.readSums(ctx, first+w)
		if err != nil {
			return nil, nil, err
		}
		for reason, h := range of {
			sums.add(reason, h.shift(w))
		}
		for bucket := range buckets {
			value, _, err := b.store.Get(ctx, bucketKey(first+w, bucket))
			if err != nil {
				return nil, nil, err
			}
			for at, e := range decode(value) {
				e.shift(w)
				if found[at] == nil {
					found[at] = e
				} else {
					found[at].add(e)
				}
			}
		}
	}
	return slices.Collect(maps.Values(found)), sums, nil
}
