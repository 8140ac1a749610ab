package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// Nearly all that is allocated lives for one packet: to collect it seldom saves a fifth of the processor time. So garbage may grow
// to four times of what lives on, but where much does, to mostGarbage or as much as lives on.
const (
	seldom      = 400 // percent, as in GOGC, which overrides it
	mostGarbage = 96 << 20
)

// percentFor is how much garbage there may be, in percent of the octets that live on.
func percentFor(live uint64) int {
	return int(min(seldom, max(100, mostGarbage*100/max(live, 1))))
}

// collector keeps that up. The zero value leaves all as it is.
type collector struct {
	set  int // percent; 0: not ours
	live []metrics.Sample
}

func newCollector() *collector {
	if os.Getenv("GOGC") != "" {
		return &collector{}
	}
	debug.SetGCPercent(seldom)
	return &collector{seldom, []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
}

// adjust looks at what lives on. Every change stops the daemon for a moment: small ones are not made.
func (c *collector) adjust() {
	if c.set == 0 {
		return
	}
	metrics.Read(c.live)
	if c.live[0].Value.Kind() != metrics.KindUint64 {
		return // of some Go to come
	}
	want := percentFor(c.live[0].Value.Uint64())
	if diff := want - c.set; diff*diff*100 > c.set*c.set { // a tenth
		c.set = want
		debug.SetGCPercent(want)
	}
}
