package storetest

import (
	"strconv"
	"sync"
	"sync/atomic"

	"milterd/checks"
)

const (
	goroutines = 8
	rounds     = 50
)

// concurrently runs f rounds times in each of several goroutines, for the store and for the second one if there is one.
func (s suite) concurrently(f func(store checks.Store, round int)) {
	stores := []checks.Store{s.store}
	if s.Second != nil {
		stores = append(stores, s.Second(s.T, s.store))
	}
	var all sync.WaitGroup
	for _, store := range stores {
		for range goroutines {
			all.Go(func() {
				for round := range rounds {
					f(store, round)
				}
			})
		}
	}
	all.Wait()
}

// concurrentPutNew tests that one of many concurrent calls stores the record.
func (s suite) concurrentPutNew() {
	var stored [rounds]atomic.Int64
	s.concurrently(func(store checks.Store, round int) {
		ok, err := store.PutNew(s.ctx, "new:"+strconv.Itoa(round), []byte("1"), long)
		if err != nil {
			s.Error(err)
		}
		if ok {
			stored[round].Add(1)
		}
	})
	for round := range stored {
		if n := stored[round].Load(); n != 1 {
			s.Errorf("round %d: %d calls stored the record", round, n)
		}
	}
}

// concurrentAdd tests that concurrent calls all count and return different totals.
func (s suite) concurrentAdd() {
	var totals sync.Map
	var n atomic.Int64
	s.concurrently(func(store checks.Store, _ int) {
		total, err := store.Add(s.ctx, "n", 1, long)
		if err != nil {
			s.Error(err)
		}
		if _, twice := totals.LoadOrStore(total, true); twice {
			s.Errorf("two calls returned %d", total)
		}
		n.Add(1)
	})
	s.want("n", strconv.FormatInt(n.Load(), 10))
}
