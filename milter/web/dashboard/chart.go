package dashboard

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chartView is a chart ready to be drawn: its bars stand side by side from 0 on, one wide each, and 100 units high is Top.
type chartView struct {
	Period    period
	Since     string // how long it is, as the filters have it
	Empty     bool
	Bars      int
	Columns   []chartColumn
	Marks     []string // on the axis of time, evenly apart
	Top, Half string
	Totals    []chartTotal
	Reasons   []chartReason // what applied most first
}

// chartColumn is all bars of one time.
type chartColumn struct {
	X     int
	Label string
	Parts []chartPart
}

// chartPart is one action in it.
type chartPart struct{ Action, Y, Height string }

// chartTotal is an action over the whole period.
type chartTotal struct{ Action, Title, Means, Count string }

// chartReason is a line of the table of reasons.
type chartReason struct {
	ID     string
	Known  bool // it can be searched for
	Counts [4]string
	Total  string
	Path   string // its bars, one wide each, at most 10 high
}

const (
	chartHeight = 100.0
	sparkHeight = 10.0
)

// chartTitles are the actions as the page calls them.
var chartTitles = [...][2]string{
	{"Rejected", "answered 5yz"},
	{"Deferred", "answered 4yz: greylisted, blocked for a time, or to be tried again"},
	{"Suspected", "under a suspicion, and let in after its delay or as a known correspondent"},
	{"Watched", "a watched reason applied, and the mail passed"},
	{"Accepted", "messages that nothing was said against"},
}

// chart draws what was counted.
func (x *dashboard) chart(s series) chartView {
	v := chartView{Period: s.period, Since: sinceOf(s.Name), Bars: s.bars, Empty: true}
	highest := uint64(0)
	for _, stack := range s.stacks {
		highest = max(highest, sum(stack))
	}
	top := niceTop(highest)
	v.Top, v.Half = grouped(top), grouped(top/2)
	for i, stack := range s.stacks {
		if sum(stack) == 0 {
			continue
		}
		v.Empty = false
		v.Columns = append(v.Columns, x.column(s, i, stack, top))
	}
	marks := 4
	if s.Name == "week" {
		marks = 7
	}
	for i := range marks + 1 {
		at := s.from.Add(s.length() * time.Duration(i) / time.Duration(marks)).In(x.Zone)
		if s.Name == "week" {
			v.Marks = append(v.Marks, at.Format("Mon 2"))
		} else {
			v.Marks = append(v.Marks, at.Format("15:04"))
		}
	}
	for i, action := range chartActions {
		v.Totals = append(v.Totals, chartTotal{action, chartTitles[i][0], chartTitles[i][1], grouped(s.totals[i])})
	}
	slices.SortFunc(s.by, func(a, b reasonLine) int {
		return cmp.Or(cmp.Compare(b.total(), a.total()), cmp.Compare(a.id, b.id))
	})
	for _, l := range s.by {
		r := chartReason{ID: l.id, Known: l.id != otherReason, Total: grouped(l.total()), Path: spark(l.bars)}
		for i, n := range l.totals {
			if n > 0 {
				r.Counts[i] = grouped(n)
			}
		}
		v.Reasons = append(v.Reasons, r)
	}
	return v
}

func (x *dashboard) column(s series, i int, stack [5]uint32, top uint64) chartColumn {
	from := s.from.Add(time.Duration(i) * s.width).In(x.Zone)
	format := "15:04"
	if s.Name != "hour" {
		format = "Mon 2 Jan, 15:04"
	}
	c := chartColumn{X: i}
	var said []string
	below := 0.0
	for a, n := range stack {
		if n == 0 {
			continue
		}
		height := chartHeight * float64(n) / float64(top)
		below += height
		c.Parts = append(c.Parts, chartPart{chartActions[a], number(chartHeight - below), number(height)})
		said = append(said, grouped(n)+" "+strings.ToLower(chartTitles[a][0]))
	}
	c.Label = fmt.Sprintf("%s to %s: %s", from.Format(format), from.Add(s.width).Format("15:04"), strings.Join(said, ", "))
	return c
}

func sum(stack [5]uint32) (n uint64) {
	for _, v := range stack {
		n += uint64(v)
	}
	return n
}

// niceTop is the end of an axis that a number fits on: 2, 4, 6, 10, 20, 40 and so on, always even.
func niceTop(n uint64) uint64 {
	for scale := uint64(1); ; scale *= 10 {
		for _, step := range []uint64{2, 4, 6, 10} {
			if n <= step*scale || scale > math.MaxUint32 {
				return step * scale
			}
		}
	}
}

// spark is the path of small bars.
func spark(bars []uint32) string {
	highest := slices.Max(bars)
	var b strings.Builder
	for i, n := range bars {
		if n > 0 {
			h := max(sparkHeight*float64(n)/float64(highest), 1)
			fmt.Fprintf(&b, "M%d %sh.8v%sh-.8z", i, number(sparkHeight-h), number(h))
		}
	}
	return b.String()
}

// number is short enough for a drawing.
func number(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }

// grouped is a number in groups of three digits.
func grouped[N ~int | ~int64 | ~uint32 | ~uint64](n N) string {
	const thin = "\u202f" // narrow no-break space
	s := strconv.FormatInt(int64(n), 10)
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + thin + digits[i:]
	}
	return s[:len(s)-len(strings.TrimPrefix(s, "-"))] + digits
}

// otherReason counts what no check of the registry says.
const otherReason = "other"

// sinceOf is the filter for the period of a chart.
func sinceOf(period string) string {
	return map[string]string{"hour": "1h", "day": "24h", "week": "7d"}[period]
}

// badge is what an action of a record is called.
func badge(action string) string {
	if i := slices.Index(chartActions, action); i >= 0 {
		return strings.ToLower(chartTitles[i][0])
	}
	return action
}
