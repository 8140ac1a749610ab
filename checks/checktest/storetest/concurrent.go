package storetest

import (
	"strconv"
	"sync"
	"sync/atomic"

	"milterd/checks"
)

const (
	workers = 8
	rounds  = 50
)

// ways lists the store and, if there is one, another way to its records.
func (s suite) ways() []checks.Store {
	ways := []checks.Store{s.store}
	if s.Second != nil {
		ways = append(ways, s.Second(s.T, s.store))
	}
	return ways
}

// crowd runs f many times at once, and returns when all are done.
func (s suite) crowd(f func(way checks.Store, round int)) {
	var all sync.WaitGroup
	for _, way := range s.ways() {
		for range workers {
			all.Go(func() {
				for round := range rounds {
					f(way, round)
				}
			})
		}
	}
	all.Wait()
}

// concurrentPutNew: of many that try at the same time, one writes.
func (s suite) concurrentPutNew() {
	var stored [rounds]atomic.Int64
	s.crowd(func(way checks.Store, round int) {
		ok, err := way.PutNew(s.ctx, "new:"+strconv.Itoa(round), []byte("1"), long)
		if err != nil {
			s.Error(err)
		}
		if ok {
			stored[round].Add(1)
		}
	})
	for round := range stored {
		if n := stored[round].Load(); n != 1 {
			s.Errorf("round %d: %d wrote", round, n)
		}
	}
}

// concurrentAdd: nothing is lost, and no total is returned twice.
func (s suite) concurrentAdd() {
	var totals sync.Map
	var n atomic.Int64
	s.crowd(func(way checks.Store, _ int) {
		total, err := way.Add(s.ctx, "n", 1, long)
		if err != nil {
			s.Error(err)
		}
		if _, twice := totals.LoadOrStore(total, true); twice {
			s.Errorf("two were told %d", total)
		}
		n.Add(1)
	})
	s.want("n", strconv.FormatInt(n.Load(), 10))
}
