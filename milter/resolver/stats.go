package resolver

import (
	"errors"
	"sync/atomic"
)

// Stats are counts since New. Failures are counted for each server asked: a question that only the second server
// answered adds one too.
type Stats struct {
	Queries   uint64 `json:"queries"`   // sent over UDP, including repetitions
	TCP       uint64 `json:"tcp"`       // repeated over TCP, because the answer was truncated
	Hits      uint64 `json:"hits"`      // questions answered from the cache
	Coalesced uint64 `json:"coalesced"` // questions that joined an equal one in flight

	Timeouts    uint64 `json:"timeouts"`
	Unreachable uint64 `json:"unreachable"`
	ServFail    uint64 `json:"servfail"`
	Refused     uint64 `json:"refused"`
	Malformed   uint64 `json:"malformed"` // and other failures
	Misfits     uint64 `json:"misfits"`   // packets dropped because they match no query in flight: late or forged

	Unanswered uint64 `json:"unanswered"` // questions in a row, up to now, that no server answered

	Denying []string `json:"denying"` // servers that deny all names, as "address:port"

	Announced uint64 `json:"announced"` // announced questions, including those that follow from others
	Dropped   uint64 `json:"dropped"`   // announced questions over a limit, which were not asked
	Panics    uint64 `json:"panics"`    // in Then functions and in parsing

	Entries int `json:"entries"` // in the cache, with those that have expired
	Bytes   int `json:"bytes"`   // memory of the cache, approximately
}

// counters are the counts of Stats.
type counters struct {
	queries, tcp, hits, coalesced                       atomic.Uint64
	timeouts, unreachable, servFail, refused, malformed atomic.Uint64
	misfits, announced, dropped, panics, unanswered     atomic.Uint64
}

// failed counts a failure of a server.
func (c *counters) failed(err error) {
	switch {
	case errors.Is(err, errTimeout):
		c.timeouts.Add(1)
	case errors.Is(err, errUnreachable):
		c.unreachable.Add(1)
	case errors.Is(err, errServFail):
		c.servFail.Add(1)
	case errors.Is(err, errRefused):
		c.refused.Add(1)
	case errors.Is(err, errDeniesAll): // see Stats.Denying
	default:
		c.malformed.Add(1)
	}
}

// Stats returns the current counts. They are read one by one, so their sums may be inconsistent.
func (r *Resolver) Stats() Stats {
	c := &r.stats
	entries, bytes := r.cache.size()
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
		Unanswered:  c.unanswered.Load(),
		Denying:     r.upstreams.denying(),
		Announced:   c.announced.Load(),
		Dropped:     c.dropped.Load(),
		Panics:      c.panics.Load(),
		Entries:     entries,
		Bytes:       bytes,
	}
}
