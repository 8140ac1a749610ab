package dashboard

import (
	"sync"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

// History counts decisions by time, action and reason, for the charts of the operator: one for each recipient that was
// refused, deferred, suspected or watched, under the reason that decided, and one for each accepted message, as in the records.
// It takes less than a megabyte, and some hundred nanoseconds of each decision. It is a milter.Journal and safe for concurrent use.
type History struct {
	reasons map[string]int // index, by id
	ids     []string       // the last one is for those that are unknown

	mu    sync.Mutex
	rings []ring
}

// periods are those for which there is a chart.
var periods = []period{
	{"hour", "Last hour", 60, time.Minute},
	{"day", "Last 24 hours", 96, 15 * time.Minute},
	{"week", "Last 7 days", 168, time.Hour},
}

// period is how many bars of which width a chart has.
type period struct {
	Name, Title string
	bars        int
	width       time.Duration
}

func (p period) length() time.Duration { return time.Duration(p.bars) * p.width }

// The actions of a chart, in the order in which they are stacked: what matters most stands on the ground.
var chartActions = []string{"reject", "tempfail", "greylist", "watch", records.Accept}

// counts are those of each reason by action; an accepted message has none.
type counts [][4]uint32

// ring has the bars of a period: number n, counted from 1970, is in n modulo their number.
type ring struct {
	period
	bars []bar
}

type bar struct {
	number   int64
	accepted uint32
	counts   counts
}

// NewHistory makes a history of what the checks and the pipeline may say.
func NewHistory(infos []checks.Info, more []*checks.Reason) *History {
	h := &History{reasons: map[string]int{}}
	add := func(list []*checks.Reason) {
		for _, r := range list {
			if _, known := h.reasons[r.ID]; !known {
				h.reasons[r.ID] = len(h.ids)
				h.ids = append(h.ids, r.ID)
			}
		}
	}
	for _, i := range infos {
		add(i.Reasons)
	}
	add(more)
	h.ids = append(h.ids, otherReason)
	for _, p := range periods {
		r := ring{p, make([]bar, p.bars)}
		for i := range r.bars {
			r.bars[i].counts = make(counts, len(h.ids))
		}
		h.rings = append(h.rings, r)
	}
	return h
}

// Decided implements milter.Journal.
func (h *History) Decided(s *checks.Request, d checks.Decision) {
	action, reason := d.Final()
	if reason != nil {
		h.count(s.Time, action.String(), reason.ID)
	}
}

// Accepted implements milter.Journal. Trusted mail was not judged.
func (h *History) Accepted(s *checks.Request) {
	if !s.Trusted() {
		h.count(s.Time, records.Accept, "")
	}
}

// Seed counts a record, as of a time before the start of the daemon.
func (h *History) Seed(r records.Record) { h.count(r.Time, r.Action, r.Reason) }

// Span is how long the history goes back.
func (h *History) Span() time.Duration { return periods[len(periods)-1].length() }

func (h *History) count(at time.Time, action, reason string) {
	column := columnOf(action)
	if column < 0 {
		return
	}
	index, ok := h.reasons[reason]
	if !ok {
		index = len(h.ids) - 1
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.rings {
		if b := h.rings[i].at(at); b != nil {
			if column == len(chartActions)-1 {
				b.accepted++
			} else {
				b.counts[index][column]++
			}
		}
	}
}

func columnOf(action string) int {
	switch action {
	case "reject":
		return 0
	case "tempfail":
		return 1
	case "greylist":
		return 2
	case "watch":
		return 3
	case records.Accept:
		return 4
	}
	return -1
}

// at is the bar of a time, which is emptied of an older one; nil if a newer one is there.
func (r *ring) at(at time.Time) *bar {
	n := at.Unix() / int64(r.width/time.Second)
	b := &r.bars[((n%int64(len(r.bars)))+int64(len(r.bars)))%int64(len(r.bars))]
	if b.number > n && b.number-n <= int64(len(r.bars)) {
		return nil // one that comes late
	}
	if b.number != n {
		b.number, b.accepted = n, 0
		clear(b.counts)
	}
	return b
}

// series is what a chart shows.
type series struct {
	period
	from   time.Time    // when the first bar begins
	stacks [][5]uint32  // of each bar, in the order of chartActions
	totals [5]uint64    // of all bars
	by     []reasonLine // those that there are, without order
}

// reasonLine is one reason over time.
type reasonLine struct {
	id     string
	totals [4]uint64 // by action
	bars   []uint32
}

func (l reasonLine) total() (n uint64) {
	for _, v := range l.totals {
		n += v
	}
	return n
}

// series copies what was counted in a period that ends now.
func (h *History) series(p period, now time.Time) series {
	out := series{period: p, stacks: make([][5]uint32, p.bars)}
	last := now.Unix() / int64(p.width/time.Second)
	first := last - int64(p.bars) + 1
	out.from = time.Unix(first*int64(p.width/time.Second), 0)
	lines := make([]reasonLine, len(h.ids))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.rings {
		if r.Name != p.Name {
			continue
		}
		for _, b := range r.bars {
			if b.number < first || b.number > last {
				continue
			}
			i := b.number - first
			out.stacks[i][4] = b.accepted
			out.totals[4] += uint64(b.accepted)
			for reason, columns := range b.counts {
				for column, n := range columns {
					if n == 0 {
						continue
					}
					out.stacks[i][column] += n
					out.totals[column] += uint64(n)
					l := &lines[reason]
					if l.bars == nil {
						l.id, l.bars = h.ids[reason], make([]uint32, p.bars)
					}
					l.totals[column] += uint64(n)
					l.bars[i] += n
				}
			}
		}
	}
	for _, l := range lines {
		if l.bars != nil {
			out.by = append(out.by, l)
		}
	}
	return out
}
