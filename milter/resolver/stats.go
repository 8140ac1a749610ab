package resolver

import (
	"errors"
	"sync/atomic"
)

// Stats counts since New. Failures are counted for each server that was asked: a question that the second server
// answered has one too.
type Stats struct {
	Queries   uint64 `json:"queries"`   // sent over UDP, repetitions included
	TCP       uint64 `json:"tcp"`       // of these, asked again over TCP because the answer was truncated
	Hits      uint64 `json:"hits"`      // questions answered from the cache
	Coalesced uint64 `json:"coalesced"` // questions that joined one already on its way

	Timeouts    uint64 `json:"timeouts"`
	Unreachable uint64 `json:"unreachable"`
	ServFail    uint64 `json:"servfail"`
	Refused     uint64 `json:"refused"`
	Malformed   uint64 `json:"malformed"` // and all other answers that are none
	Misfits     uint64 `json:"misfits"`   // packets dropped because they fit no question in flight: late, or forged

	Announced uint64 `json:"announced"` // questions announced, follow-ups included
	Dropped   uint64 `json:"dropped"`   // of these, not asked because of some limit
	Panics    uint64 `json:"panics"`    // in what was announced or in parsing

	Entries int    `json:"entries"` // in the cache now, about
	Octets  uint64 `json:"octets"`  // of memory that these take, about
}

// counters are the counts of Stats.
type counters struct {
	queries, tcp, hits, coalesced                       atomic.Uint64
	timeouts, unreachable, servFail, refused, malformed atomic.Uint64
	misfits, announced, dropped, panics                 atomic.Uint64
}

// failed counts the failure of a server by its kind.
func (c *counters) failed(err error) {
	switch {
	case errors.Is(err, ErrTimeout):
		c.timeouts.Add(1)
	case errors.Is(err, ErrUnreachable):
		c.unreachable.Add(1)
	case errors.Is(err, ErrServFail):
		c.servFail.Add(1)
	case errors.Is(err, ErrRefused):
		c.refused.Add(1)
	default:
		c.malformed.Add(1)
	}
}

// Stats returns the counts of this moment, each correct by itself.
func (r *Resolver) Stats() Stats {
	c := &r.stats
	return Stats{
		Queries:     c.queries.Load(),
		TCP:         c.tcp.Load(),
		Hits:        c.hits.Load(),
		Coalesced:   c.coalesced.Load(),
		Timeouts:    c.timeouts.Load(),
		Unreachable: c.unreachable.Load(),
		ServFail:    c.servFail.Load(),
		Refused:     c.refused.Load(),
		Malformed:   c.malformed.Load(),
		Misfits:     c.misfits.Load(),
		Announced:   c.announced.Load(),
		Dropped:     c.dropped.Load(),
		Panics:      c.panics.Load(),
		Entries:     r.cache.entries.EstimatedSize(),
		Octets:      r.cache.entries.WeightedSize(),
	}
}
