package records

import (
	"context"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
)

// The records of all hosts of a store are numbered together, in the order of writing. 64 consecutive numbers are a block.
// A part is a value in the store, under the number of its first record. It has the records of one process in one block,
// compressed. The process writes its part again with each batch, until the block ends, the part is full, or it is an
// hour old. The process that writes the first record of a block deletes the block that has become too old.
//
// A reader goes through the numbers of a block. If no part that it has read has a number, a part begins there, or the record
// is lost.
const (
	lastKey = "records:last"  // number of the last record
	partKey = "records:part:" // with the number of its first record; the records
	idKey   = "records:id:"   // with the id of a refusal; the number of the first record of its part

	// blockSize is the number of records in a block. With half of it, the store has twice as many parts to read in a
	// search, each compressed a little less; with twice as much, a busy host writes twice as much again with each
	// batch.
	blockSize = 64
	// maxPartAge is how long records are added to a part. The store keeps all of a part until its last record expires.
	maxPartAge = time.Hour
	// counterTTL is the lifetime of lastKey. If the counter began again at 0, the order of the records would be lost.
	counterTTL = 50 * 365 * 24 * time.Hour
)

// blockOf returns the block of a number. Numbers begin at 1, blocks at 0.
func blockOf(number int64) int64 { return (number - 1) / blockSize }

func keyOfPart(first int64) string { return partKey + strconv.FormatInt(first, 10) }

// part is the part that this process writes. The zero value takes no record.
type part struct {
	first    int64 // number of the first record
	created  time.Time
	text     []byte
	unstored []unstored // its records that are not in the store
}

// unstored is what save needs of a record.
type unstored struct {
	id     string // of a refusal; else empty
	number int64
}

// takes reports whether a record can be added to the part.
func (p *part) takes(number int64, e entry, now time.Time) bool {
	return p.first > 0 && blockOf(p.first) == blockOf(number) && len(p.text)+len(e.text) <= maxText &&
		now.Sub(p.created).Abs() <= maxPartAge
}

func (p *part) add(number int64, e entry) {
	p.text = appendRecord(p.text, number, e.text)
	p.unstored = append(p.unstored, unstored{id: e.id, number: number})
}

// write numbers a batch of records and stores them.
func (l *Log) write(batch []entry) {
	ctx := context.Background() // the store limits the time of an operation
	last, err := l.store.Add(ctx, lastKey, int64(len(batch)), counterTTL)
	if err != nil {
		l.queue.Drop(len(batch), err)
		return
	}
	now := l.opts.Now()
	for i, e := range batch {
		number := last - int64(len(batch)-1-i)
		if !l.part.takes(number, e, now) {
			l.save(ctx)
			l.part = part{first: number, created: now, text: l.part.text[:0]}
		}
		l.part.add(number, e)
	}
	l.save(ctx)
}

// save stores the part. If the store fails, its new records are lost, and the next record begins another part.
func (l *Log) save(ctx context.Context) {
	p := &l.part
	if len(p.unstored) == 0 {
		return
	}
	l.compressed = s2.Encode(l.compressed, p.text)
	if err := l.store.Put(ctx, keyOfPart(p.first), l.compressed, l.opts.Keep); err != nil {
		l.queue.Drop(len(p.unstored), err)
		*p = part{}
		return
	}
	l.written.Add(uint64(len(p.unstored)))
	// The records are stored. After a failure below, a link finds no record, or an old block stays until it expires.
	for _, r := range p.unstored {
		if r.id != "" {
			_ = l.store.Put(ctx, idKey+r.id, strconv.AppendInt(nil, p.first, 10), l.opts.Keep)
		}
		if block := blockOf(r.number); r.number == block*blockSize+1 {
			_ = l.deleteBlock(ctx, block-l.keptBlocks())
		}
	}
	p.unstored = nil
}

// keptBlocks returns the largest number of blocks that Options.Max consecutive records can be in.
func (l *Log) keptBlocks() int64 { return (int64(l.opts.Max)+blockSize-2)/blockSize + 1 }

// deleteBlock deletes the parts of a block, and the ids of its refusals.
func (l *Log) deleteBlock(ctx context.Context, block int64) error {
	if block < 0 {
		return nil
	}
	return l.parts(ctx, block, (block+1)*blockSize, func(first int64, list []*stored) error {
		for _, r := range list {
			if r.Reply == "" {
				continue
			}
			if err := l.store.Delete(ctx, idKey+r.ID); err != nil {
				return err
			}
		}
		return l.store.Delete(ctx, keyOfPart(first))
	})
}
