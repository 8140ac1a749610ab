package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// result has the figures of one round of one filter, or of several with one store.
type result struct {
	filter    string
	rate      float64 // messages per second
	cpu       float64 // milliseconds of the filter per message
	serverCPU float64 // of its Redis server
	asked     float64 // DNS questions per message
	refused   float64 // share of the messages
	dkimPass  float64 // share of the messages with the result dkim=pass
	memory    int64   // resident set size at the end, in bytes
	p50, p99  float64 // latency of a message in milliseconds
	tally     *tally
}

// measure runs loads against filters at the same time. server is a process that the filters use, and may be nil.
func measure(filters []*filter, server *filter, loads []load) (result, error) {
	runtime.GC() // of the garbage of the round before, so that it takes no time of this one
	before, serverBefore, err := cpuOf(filters, server)
	if err != nil {
		return result{}, err
	}
	tallies := make([]*tally, len(loads))
	var wg sync.WaitGroup
	for i, l := range loads {
		wg.Go(func() { tallies[i] = l.run() })
	}
	wg.Wait()
	time.Sleep(200 * time.Millisecond) // work of the filters after the last reply counts too
	after, serverAfter, err := cpuOf(filters, server)
	if err != nil {
		return result{}, err
	}
	t := new(tally)
	for _, o := range tallies {
		t.add(o)
	}
	if t.errors > 0 {
		return result{}, fmt.Errorf("%d errors in %d messages, the first: %w", t.errors, t.messages, t.firstErr)
	}
	n := float64(max(t.messages, 1))
	r := result{
		rate: n * float64(len(loads)) / t.took.Seconds(), cpu: (after - before) / n * 1000, serverCPU: (serverAfter - serverBefore) / n * 1000,
		refused: float64(t.refused) / n, dkimPass: float64(t.dkimPass) / n,
		p50: t.latency[message].quantile(.5), p99: t.latency[message].quantile(.99), tally: t,
	}
	for _, f := range filters {
		rss, err := f.rss()
		if err != nil {
			return r, err
		}
		r.memory += rss
	}
	return r, nil
}

// cpuOf returns the processor time that filters have used so far, and that of their server, in seconds.
func cpuOf(filters []*filter, server *filter) (sum, ofServer float64, err error) {
	for _, f := range filters {
		t, err := f.cpu()
		if err != nil {
			return 0, 0, err
		}
		sum += t
	}
	if server != nil {
		ofServer, err = server.cpu()
	}
	return sum, ofServer, err
}
