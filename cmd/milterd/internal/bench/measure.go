package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// result has the figures of one round of one filter, or of several with one store.
type result struct {
	Filter    string
	Rate      float64 // messages per second
	CPU       float64 // milliseconds of the filter per message
	ServerCPU float64 // of its Redis server
	Asked     float64 // DNS questions per message
	Refused   float64 // share of the messages
	DKIMPass  float64 // share of the messages with the result dkim=pass
	Memory    int64   // resident set size at the end, in bytes
	P50, P99  float64 // latency of a message in milliseconds
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
	if t.Errors > 0 {
		return result{}, fmt.Errorf("%d errors in %d messages, the first: %w", t.Errors, t.Messages, t.FirstErr)
	}
	n := float64(max(t.Messages, 1))
	r := result{
		Rate: n * float64(len(loads)) / t.Took.Seconds(), CPU: (after - before) / n * 1000, ServerCPU: (serverAfter - serverBefore) / n * 1000,
		Refused: float64(t.Refused) / n, DKIMPass: float64(t.DKIMPass) / n,
		P50: t.latency[message].quantile(.5), P99: t.latency[message].quantile(.99), tally: t,
	}
	for _, f := range filters {
		rss, err := f.rss()
		if err != nil {
			return r, err
		}
		r.Memory += rss
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
