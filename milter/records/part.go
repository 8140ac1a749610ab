package records

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
)

// Records have numbers, which all hosts of a store count together, and lie in blocks of blockSize numbers: to write many at
// once costs hardly more than to write one. Each process writes the records of a block that are its own into parts of the
// block, which nobody else writes: the first part that is free is its, and the next one when that is full. With a block the one
// goes that is as far behind as many records are kept. So there are never many more than that, in any store, and the last ones
// are found without a search. What lies together is much alike: compressed it is less than a quarter, for the store to keep and
// to write again whenever it tidies up. A block has no more parts than numbers; the first of them may expire before the others.
const (
	lastKey  = "records:last"   // the number of the last record
	blockKey = "records:block:" // with the number of the block and that of the part
	idKey    = "records:id:"    // the number of the record of a refusal, by its id

	blockSize = 64
	// partFor is how long a part is added to: all of it is forgotten when the last of its records is.
	partFor = time.Hour
	// forever is for the counter: if it began anew, the order would be lost.
	forever = 50 * 365 * 24 * time.Hour
)

// blockOf is the block in which the record with a number is. The first number is 1.
func blockOf(number int64) int64 { return (number - 1) / blockSize }

// part is what this process has written of a block, and adds to.
type part struct {
	block  int64
	index  int64
	since  time.Time
	value  []byte // the records, as encode has them
	packed []byte // the same compressed, when it is written
	stored bool   // this place is ours
	fresh  bool   // since now

	added    int // records that are not stored yet
	refusals []refusal
}

// refusal is what leads to one among those records.
type refusal struct {
	id     string
	number int64
}

func partKey(block, index int64) string {
	return blockKey + strconv.FormatInt(block, 10) + ":" + strconv.FormatInt(index, 10)
}

// run writes what is taken, many at a time, and tells those who wait for it.
func (b *Book) run() {
	var open part
	for more := true; more; {
		var batch []pending
		var waits chan struct{}
		batch, waits, more = b.gather()
		b.write(context.Background(), &open, batch)
		if waits != nil {
			close(waits)
		}
	}
}

// gather waits for the first record, and then for more until there are enough or somebody waits for them. more is false at the
// end.
func (b *Book) gather() (batch []pending, waits chan struct{}, more bool) {
	var limit <-chan time.Time
	for len(batch) < blockSize {
		select {
		case p, ok := <-b.queue:
			if !ok || p.reached != nil {
				return batch, p.reached, ok
			}
			if batch == nil {
				limit = time.After(linger)
			}
			batch = append(batch, p)
		case <-limit:
			return batch, nil, true
		}
	}
	return batch, nil, true
}

// write writes records into the open part, and into new ones as they are needed. What the store does not take is lost; the next
// records begin a new part then.
func (b *Book) write(ctx context.Context, open *part, batch []pending) {
	if len(batch) == 0 {
		return
	}
	last, err := b.store.Add(ctx, lastKey, int64(len(batch)), forever)
	if err != nil {
		b.drop(len(batch), err)
		return
	}
	now := b.opts.Now()
	var value []byte
	for i := range batch {
		p := &batch[i]
		p.Number = last - int64(len(batch)-1-i)
		if value, err = p.encode(value[:0]); err != nil {
			b.drop(1, err)
			continue
		}
		block := blockOf(p.Number)
		if len(open.value) == 0 || open.block != block || len(open.value)+len(value) > maxEncoded || now.Sub(open.since).Abs() > partFor {
			b.save(ctx, open)
			next := part{block: block, since: now, value: open.value[:0], packed: open.packed} // the store has copies
			if open.block == block {
				next.index = open.index // if it is taken, by us too, the next one
			}
			*open = next
		}
		open.value = append(open.value, value...)
		open.added++
		if p.Reply != "" {
			open.refusals = append(open.refusals, refusal{p.ID, p.Number})
		}
	}
	b.save(ctx, open)
}

// save stores what was added to a part, and counts it. A part that the store did not take is given up.
func (b *Book) save(ctx context.Context, p *part) {
	if p.added == 0 {
		return
	}
	if err := b.place(ctx, p); err != nil {
		b.drop(p.added, err)
		*p = part{block: p.block, index: p.index, value: p.value[:0], packed: p.packed}
		return
	}
	b.written.Add(uint64(p.added))
	// From here on no record is lost: a link that leads nowhere, or a block that stays until it expires, is all that may come of an
	// error, and the next operation has it too if it lasts.
	for _, r := range p.refusals {
		_ = b.store.Put(ctx, idKey+r.id, strconv.AppendInt(nil, r.number, 10), b.opts.Keep)
	}
	if p.added, p.refusals = 0, nil; p.fresh && p.index == 0 {
		_ = b.forget(ctx, p.block-b.blocks())
	}
	p.fresh = false
}

// place writes a part to its place, or finds one for it.
func (b *Book) place(ctx context.Context, p *part) error {
	p.packed = s2.Encode(p.packed[:cap(p.packed)], p.value)
	if p.stored {
		return b.store.Put(ctx, partKey(p.block, p.index), p.packed, b.opts.Keep)
	}
	for ; p.index < blockSize; p.index++ {
		stored, err := b.store.PutNew(ctx, partKey(p.block, p.index), p.packed, b.opts.Keep)
		if err != nil {
			return err
		}
		if stored {
			p.stored, p.fresh = true, true
			return nil
		}
	}
	return fmt.Errorf("records: no place in block %d", p.block)
}

// blocks is how many blocks hold the records that are kept, wherever in a block the last one is.
func (b *Book) blocks() int64 { return (int64(max(b.opts.Max, 1))+blockSize-2)/blockSize + 1 }

// unpack is what a part holds; nothing if it cannot be read.
func unpack(packed []byte) []byte {
	if n, err := s2.DecodedLen(packed); err != nil || n > maxEncoded {
		return nil
	}
	value, err := s2.Decode(nil, packed)
	if err != nil {
		return nil
	}
	return value
}

// parts reads the parts of a block, until it has all of its records.
func (b *Book) parts(ctx context.Context, block int64, each func(key string, value []byte) error) error {
	left := blockSize
	for index := int64(0); index < blockSize && left > 0; index++ {
		key := partKey(block, index)
		packed, ok, err := b.store.Get(ctx, key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		value := unpack(packed)
		if err := each(key, value); err != nil {
			return err
		}
		left -= bytes.Count(value, []byte("\n")) / 2
	}
	return nil
}

// unreplied stands in every record without a reply: in a value the quotes have backslashes.
var unreplied = []byte(`"reply":""`)

// forget removes a block.
func (b *Book) forget(ctx context.Context, block int64) error {
	if block < 0 {
		return nil
	}
	return b.parts(ctx, block, func(key string, value []byte) error {
		for head := range entries(value) {
			if bytes.Contains(head, unreplied) {
				continue // most are: reading them costs more than writing
			}
			if r, err := decode(head); err == nil {
				if err := b.store.Delete(ctx, idKey+r.ID); err != nil {
					return err
				}
			}
		}
		return b.store.Delete(ctx, key)
	})
}

// found is a record whose checks are as they were written.
type found struct {
	Record
	checks []byte
	ok     bool
}

// read finds those of a block's records that are kept still. What cannot be read is left out.
func (b *Book) read(ctx context.Context, block int64, yield func(found)) error {
	since := b.opts.Now().Add(-b.opts.Keep)
	return b.parts(ctx, block, func(_ string, value []byte) error {
		for head, checks := range entries(value) {
			if r, err := decode(head); err == nil && r.Time.After(since) {
				yield(found{r, checks, true})
			}
		}
		return nil
	})
}

// Get finds the record of a refusal by its id; false if it is not kept.
func (b *Book) Get(ctx context.Context, id string) (r Record, ok bool, err error) {
	b.flush(ctx)
	value, ok, err := b.store.Get(ctx, idKey+id)
	if err != nil || !ok {
		return r, false, err
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return r, false, fmt.Errorf("records: number of %s: %w", id, err)
	}
	last, err := b.last(ctx)
	if err != nil || n <= last-int64(b.opts.Max) {
		return r, false, err
	}
	var it found
	err = b.read(ctx, blockOf(n), func(f found) {
		if f.Number == n && f.ID == id {
			it = f
		}
	})
	if err != nil || !it.ok {
		return r, false, err
	}
	return it.Record, true, it.complete()
}
