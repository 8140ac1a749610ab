package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/klauspost/compress/s2"
)

// Get returns the record of a refusal by its id; ok is false if it is not kept.
func (l *Log) Get(ctx context.Context, id string) (r Record, ok bool, err error) {
	_ = l.queue.Flush(ctx, flushTimeout)
	value, ok, err := l.store.Get(ctx, idKey+id)
	if err != nil || !ok {
		return r, false, err
	}
	first, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return r, false, fmt.Errorf("records: part of %s: %w", id, err)
	}
	last, err := l.last(ctx)
	if err != nil {
		return r, false, err
	}
	list, _, err := l.readPart(ctx, first)
	if err != nil {
		return r, false, err
	}
	i := slices.IndexFunc(list, func(r *stored) bool { return r.ID == id })
	if i < 0 || !l.keeps(list[i], last) {
		return r, false, nil
	}
	return list[i].Record, true, list[i].decodeChecks()
}

// last returns the number of the last record.
func (l *Log) last(ctx context.Context) (int64, error) {
	value, ok, err := l.store.Get(ctx, lastKey)
	if err != nil || !ok {
		return 0, err
	}
	return strconv.ParseInt(string(value), 10, 64)
}

// keeps reports whether a record is within Options.Keep and Options.Max.
func (l *Log) keeps(r *stored, last int64) bool {
	return r.Number > last-int64(l.opts.Max) && r.Time.After(l.opts.Now().Add(-l.opts.Keep))
}

// readPart reads a part; ok is false if there is none. A damaged part has no records.
func (l *Log) readPart(ctx context.Context, first int64) (list []*stored, ok bool, err error) {
	packed, ok, err := l.store.Get(ctx, keyOfPart(first))
	if err != nil || !ok {
		return nil, false, err
	}
	if n, err := s2.DecodedLen(packed); err != nil || n > maxEncoded {
		return nil, true, nil
	}
	text, err := s2.Decode(nil, packed)
	if err != nil {
		return nil, true, nil
	}
	return decode(text), true, nil
}

// parts calls each with the parts of a block, up to the number last.
func (l *Log) parts(ctx context.Context, block, last int64, each func(first int64, list []*stored) error) error {
	var seen [blockSize]bool
	begin := block*blockSize + 1
	for i := range min(blockSize, last-begin+1) {
		if seen[i] {
			continue
		}
		list, ok, err := l.readPart(ctx, begin+i)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		for _, r := range list {
			if i := r.Number - begin; 0 <= i && i < blockSize { // else the part is damaged
				seen[i] = true
			}
		}
		if err := each(begin+i, list); err != nil {
			return err
		}
	}
	return nil
}

// read returns the records with the numbers from newest down to oldest, in this order. A record that is not kept or
// cannot be read is nil. last is the number of the last record of all.
func (l *Log) read(ctx context.Context, newest, oldest, last int64) ([]*stored, error) {
	list := make([]*stored, newest-oldest+1)
	errs := make([]error, blockOf(newest)-blockOf(oldest)+1)
	var reading sync.WaitGroup
	for i := range errs {
		reading.Go(func() {
			block := blockOf(oldest) + int64(i)
			errs[i] = l.parts(ctx, block, last, func(_ int64, part []*stored) error {
				for _, r := range part {
					if oldest <= r.Number && r.Number <= newest && blockOf(r.Number) == block && l.keeps(r, last) {
						list[newest-r.Number] = r
					}
				}
				return nil
			})
		})
	}
	reading.Wait()
	return list, errors.Join(errs...)
}
