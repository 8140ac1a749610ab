package resolver

import (
	"errors"
	"sync/atomic"
)

// Stats counts since New. Failures are counted for each server that was asked: a question that the second server
// answered has one too.
type Stats struct {
	Queries   uint64 // sent over UDP, repetitions included
	TCP       uint64 // of these, asked again over TCP because the answer was truncated
	Hits      uint64 // questions answered from the cache
	Coalesced uint64 // questions that joined one already on its way

	Timeouts    uint64
	Unreachable uint64
	ServFail    uint64
	Refused     uint64
	Malformed   uint64 // and all other answers that are none
	Misfits     uint64 // packets dropped because they fit no question in flight: late, or forged

	Announced uint64 // questions announced, follow-ups included
	Dropped   uint64 // of these, not asked because of some limit
	Panics    uint64 // in what was announced or in parsing

	Entries int    // in the cache now, about
	Octets  uint64 // of memory that these take, about
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
