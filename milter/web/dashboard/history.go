package dashboard

import (
	"slices"
	"sync"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

// History counts decisions by time, action and reason, for the charts. It counts what the records have: each recipient with a
// reason that applied, under the most severe action and its reason, and each accepted message. It uses less than 1 MB. It
// implements milter.Journal and is safe for concurrent use.
type History struct {
	ids   []string       // of the reasons; the last one is otherReason
	index map[string]int // in ids

	mu    sync.Mutex
	rings []ring // one for each of periods
}

// otherReason is counted instead of a reason that the History does not know, for example of an old record.
const otherReason = "other"

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
	bars        int
	width       time.Duration // of one bar
}

// periods are in order of their length.
var periods = []period{
	{Name: "hour", Title: "Last hour", Since: "1h", bars: 60, width: time.Minute},
	{Name: "day", Title: "Last 24 hours", Since: "24h", bars: 96, width: 15 * time.Minute},
	{Name: "week", Title: "Last 7 days", Since: "7d", bars: 168, width: time.Hour},
}

func (p period) length() time.Duration { return time.Duration(p.bars) * p.width }

// number returns the number of the bar of a time, counted from 1970.
func (p period) number(at time.Time) int64 { return at.Unix() / int64(p.width/time.Second) }

// ring is a ring buffer with the bars of a period. Bar number n is at index n modulo the number of bars.
type ring struct {
	period
	bars []bar
}

type bar struct {
	number   int64
	accepted uint32
	reasons  [][reasoned]uint32 // by index of the reason and of the action
}

// NewHistory returns a History of the reasons of all checks and of the pipeline.
func NewHistory(infos []checks.Info) *History {
	h := &History{index: map[string]int{}}
	var reasons []*checks.Reason
	for _, info := range infos {
		reasons = append(reasons, info.Reasons...)
	}
	for _, r := range append(reasons, checks.PipelineReasons()...) {
		if _, known := h.index[r.ID]; !known {
			h.index[r.ID] = len(h.ids)
			h.ids = append(h.ids, r.ID)
		}
	}
	h.ids = append(h.ids, otherReason)
	for _, p := range periods {
		r := ring{period: p, bars: make([]bar, p.bars)}
		for i := range r.bars {
			r.bars[i].reasons = make([][reasoned]uint32, len(h.ids))
		}
		h.rings = append(h.rings, r)
	}
	return h
}

// reasons returns the ids of all known reasons.
func (h *History) reasons() []string { return h.ids[:len(h.ids)-1] }

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
	column := slices.Index(chartActions[:], action)
	if column < 0 {
		return
	}
	index, known := h.index[reason]
	if !known {
		index = len(h.ids) - 1
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.rings {
		b := h.rings[i].bar(at)
		switch {
		case b == nil:
		case column == accepted:
			b.accepted++
		default:
			b.reasons[index][column]++
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
	if b.number != n {
		b.number, b.accepted = n, 0
		clear(b.reasons)
	}
	return b
}

// series is what a chart shows of a period.
type series struct {
	period
	from    time.Time                   // start of the first bar
	stacks  [][len(chartActions)]uint32 // of each bar, by action
	totals  [len(chartActions)]uint64   // of all bars, by action
	reasons []reasonSeries              // reasons that were counted, in no order
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
		stacks: make([][len(chartActions)]uint32, len(r.bars)), reasons: make([]reasonSeries, len(h.ids)),
	}
	for _, b := range r.bars {
		if i := b.number - first; i >= 0 && i < int64(len(r.bars)) {
			s.add(int(i), b)
		}
	}
	for i := range s.reasons {
		s.reasons[i].id = h.ids[i]
	}
	s.reasons = slices.DeleteFunc(s.reasons, func(r reasonSeries) bool { return r.total == 0 })
	return s
}

// add adds a bar as number i of the series.
func (s *series) add(i int, b bar) {
	s.stacks[i][accepted] = b.accepted
	s.totals[accepted] += uint64(b.accepted)
	for reason, counts := range b.reasons {
		for action, n := range counts {
			if n == 0 {
				continue
			}
			s.stacks[i][action] += n
			s.totals[action] += uint64(n)
			r := &s.reasons[reason]
			if r.bars == nil {
				r.bars = make([]uint32, len(s.stacks))
			}
			r.totals[action] += uint64(n)
			r.total += uint64(n)
			r.bars[i] += n
		}
	}
}
