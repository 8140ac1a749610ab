package dashboard

import (
	"slices"
	"sync"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

// History counts decisions by time, action and reason, for the charts. It counts what the records have: each recipient with a
// reason that applied, under the most severe action and its reason, and each accepted message. It implements milter.Journal and is
// safe for concurrent use.
type History struct {
	mu    sync.Mutex
	rings []ring // one for each of periods
}

// chartActions are the actions that are counted, from the bottom of a bar to its top. Only accept has no reason.
var chartActions = [...]string{"reject", "tempfail", "quarantine", "greylist", "tag", "watch", records.Accept}

const (
	accepted = len(chartActions) - 1 // index of accept
	reasoned = accepted              // number of the actions before it, which have a reason
)

// period is a time span of the charts, divided into bars.
type period struct {
	Name, Title string
	Since       string // filter of the page of decisions
	barCount    int
	width       time.Duration // of one bar
}

// periods are in order of their length.
var periods = []period{
	{Name: "hour", Title: "Last hour", Since: "1h", barCount: 60, width: time.Minute},
	{Name: "day", Title: "Last 24 hours", Since: "24h", barCount: 96, width: 15 * time.Minute},
	{Name: "week", Title: "Last 7 days", Since: "7d", barCount: 168, width: time.Hour},
}

func (p period) length() time.Duration { return time.Duration(p.barCount) * p.width }

// number returns the number of the bar of a time, counted from 1970.
func (p period) number(at time.Time) int64 { return at.Unix() / int64(p.width/time.Second) }

// ring is a ring buffer with the bars of a period. Bar number n is at index n modulo the number of bars.
type ring struct {
	period
	bars []bar
}

type bar struct {
	number int64
	counts map[counted]uint32 // nil until the first count
}

// counted is an action, by its index in chartActions, and the reason for it; accept has none.
type counted struct {
	action int
	reason string
}

// NewHistory returns a History without counts.
func NewHistory() *History {
	h := new(History)
	for _, p := range periods {
		h.rings = append(h.rings, ring{period: p, bars: make([]bar, p.barCount)})
	}
	return h
}

// Decided implements milter.Journal.
func (h *History) Decided(r *checks.Request, d checks.Decision) {
	if action, reason := d.Final(); reason != nil {
		h.count(r.Time, action.String(), reason.ID)
	}
}

// Accepted implements milter.Journal. Mail of trusted sessions is not counted.
func (h *History) Accepted(r *checks.Request) {
	if !r.Trusted() {
		h.count(r.Time, records.Accept, "")
	}
}

// Seed counts a record of a decision from before the start of the daemon.
func (h *History) Seed(r records.Record) { h.count(r.Time, r.Action, r.Reason) }

// Span returns the length of the longest period.
func (h *History) Span() time.Duration { return periods[len(periods)-1].length() }

func (h *History) count(at time.Time, action, reason string) {
	c := counted{action: slices.Index(chartActions[:], action), reason: reason}
	switch c.action {
	case -1:
		return
	case accepted:
		c.reason = ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.rings {
		if b := h.rings[i].bar(at); b != nil {
			b.counts[c]++
		}
	}
}

// bar returns the bar of a time, emptied if it held an older one. It returns nil if the time is before the period.
func (r *ring) bar(at time.Time) *bar {
	n, length := r.number(at), int64(len(r.bars))
	b := &r.bars[(n%length+length)%length]
	if b.number > n && b.number-n <= length { // if it is further in the future, the clock was wrong when it was counted
		return nil
	}
	if b.number != n || b.counts == nil {
		b.number, b.counts = n, map[counted]uint32{}
	}
	return b
}

// series is what a chart shows of a period.
type series struct {
	period
	from    time.Time                   // start of the first bar
	stacks  [][len(chartActions)]uint32 // of each bar, by action
	totals  [len(chartActions)]uint64   // of all bars, by action
	reasons map[string]*reasonSeries    // by id
}

// reasonSeries is one reason in a series.
type reasonSeries struct {
	id     string
	totals [reasoned]uint64 // by action
	total  uint64
	bars   []uint32
}

// series returns the counts of the named period up to now. If the name is unknown, it takes the shortest period.
func (h *History) series(name string, now time.Time) series {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rings[max(0, slices.IndexFunc(h.rings, func(r ring) bool { return r.Name == name }))]
	first := r.number(now) - int64(len(r.bars)) + 1
	s := series{
		period: r.period, from: time.Unix(first*int64(r.width/time.Second), 0),
		stacks: make([][len(chartActions)]uint32, len(r.bars)), reasons: map[string]*reasonSeries{},
	}
	for _, b := range r.bars {
		if i := b.number - first; i >= 0 && i < int64(len(r.bars)) {
			for c, n := range b.counts {
				s.add(int(i), c, n)
			}
		}
	}
	return s
}

// add adds a count of bar number i of the series.
func (s *series) add(i int, c counted, n uint32) {
	s.stacks[i][c.action] += n
	s.totals[c.action] += uint64(n)
	if c.action == accepted {
		return
	}
	r := s.reasons[c.reason]
	if r == nil {
		r = &reasonSeries{id: c.reason, bars: make([]uint32, len(s.stacks))}
		s.reasons[c.reason] = r
	}
	r.totals[c.action] += uint64(n)
	r.total += uint64(n)
	r.bars[i] += n
}
