package dashboard

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chartView is what the template "chart" draws. Its bars are 1 unit wide, side by side from x = 0 on. The axis is 100 units
// high, which stand for the number Top.
type chartView struct {
	Period    period
	Empty     bool
	Bars      int
	Columns   []chartColumn
	Marks     []string // labels of the time axis, at equal distances
	Top, Half string
	Totals    []total
	Actions   []string     // that were taken for a reason
	Reasons   []reasonView // the most frequent first
}

// chartColumn is a bar that is not empty.
type chartColumn struct {
	X     int
	Label string
	Parts []chartPart
}

// chartPart is the part of a bar for one action.
type chartPart struct{ Action, Y, Height string }

// total is a tile with a number.
type total struct{ Class, Title, Means, Count string }

// reasonView is a line of the table of reasons.
type reasonView struct {
	ID     string
	Counts []string // by action, see chartView.Actions; empty: none
	Total  string
	Path   string // SVG path of its bars, 1 unit wide and at most 10 high
}

const (
	chartHeight = 100.0
	sparkHeight = 10.0
)

// actionMeanings explain chartActions.
var actionMeanings = [...]string{
	"refused with a 5yz reply",
	"deferred with a 4yz reply, also by greylisting",
	"a reason with the action quarantine applied, and the mail server set the mail aside",
	"a reason with the action greylist applied, and RCPT was not deferred: the delivery came back after the delay, the sender is known, or the reverse-path is null",
	"a reason with the action tag applied, and the mail was accepted with a field that names it",
	"a reason with the action watch applied, and the mail was accepted",
	"accepted messages",
}

// chart draws a series.
func (p *pages) chart(s series) chartView {
	highest := uint64(0)
	for _, stack := range s.stacks {
		highest = max(highest, sum(stack))
	}
	top := niceTop(highest)
	v := chartView{
		Period: s.period, Empty: highest == 0, Bars: len(s.stacks), Marks: p.marks(s), Top: grouped(top), Half: grouped(top / 2),
	}
	v.Actions, v.Reasons = reasonViews(s.reasons)
	for i, stack := range s.stacks {
		if sum(stack) > 0 {
			v.Columns = append(v.Columns, p.column(s, i, stack, top))
		}
	}
	for i, action := range chartActions {
		v.Totals = append(v.Totals, total{Class: action, Title: action, Means: actionMeanings[i], Count: grouped(s.totals[i])})
	}
	return v
}

// marks returns the labels of the time axis.
func (p *pages) marks(s series) (labels []string) {
	marks, format := 4, "15:04"
	if s.length() > 24*time.Hour {
		marks, format = 7, "Mon 2"
	}
	for i := range marks + 1 {
		at := s.from.Add(s.length() * time.Duration(i) / time.Duration(marks)).In(p.zone)
		labels = append(labels, at.Format(format))
	}
	return labels
}

// column draws bar i of a series.
func (p *pages) column(s series, i int, stack [len(chartActions)]uint32, top uint64) chartColumn {
	from := s.from.Add(time.Duration(i) * s.width).In(p.zone)
	format := "15:04"
	if s.length() > time.Hour {
		format = "Mon 2 Jan, 15:04"
	}
	c := chartColumn{X: i}
	var counts []string
	below := 0.0
	for a, n := range stack {
		if n == 0 {
			continue
		}
		height := chartHeight * float64(n) / float64(top)
		below += height
		c.Parts = append(c.Parts, chartPart{Action: chartActions[a], Y: coordinate(chartHeight - below), Height: coordinate(height)})
		counts = append(counts, grouped(n)+" "+chartActions[a])
	}
	c.Label = fmt.Sprintf("%s to %s: %s", from.Format(format), from.Add(s.width).Format("15:04"), strings.Join(counts, ", "))
	return c
}

// reasonViews returns the columns and lines of the table of reasons. An action that was never taken has no column, so that the
// table fits on a telephone.
func reasonViews(reasons map[string]*reasonSeries) (actions []string, views []reasonView) {
	list := slices.SortedFunc(maps.Values(reasons), func(a, b *reasonSeries) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.id, b.id))
	})
	for _, r := range list {
		views = append(views, reasonView{ID: r.id, Total: grouped(r.total), Path: spark(r.bars)})
	}
	for i, action := range chartActions[:reasoned] {
		if !slices.ContainsFunc(list, func(r *reasonSeries) bool { return r.totals[i] > 0 }) {
			continue
		}
		actions = append(actions, action)
		for k, r := range list {
			count := ""
			if n := r.totals[i]; n > 0 {
				count = grouped(n)
			}
			views[k].Counts = append(views[k].Counts, count)
		}
	}
	return actions, views
}

func sum(stack [len(chartActions)]uint32) (n uint64) {
	for _, v := range stack {
		n += uint64(v)
	}
	return n
}

// niceTop returns the end of an axis for numbers up to n: 2, 4, 6, 10, 20, 40 and so on, always even.
func niceTop(n uint64) uint64 {
	for scale := uint64(1); ; scale *= 10 {
		for _, step := range []uint64{2, 4, 6, 10} {
			if n <= step*scale {
				return step * scale
			}
		}
	}
}

// spark returns the SVG path of small bars.
func spark(bars []uint32) string {
	highest := slices.Max(bars)
	var b strings.Builder
	for i, n := range bars {
		if n > 0 {
			h := max(sparkHeight*float64(n)/float64(highest), 1)
			fmt.Fprintf(&b, "M%d %sh.8v%sh-.8z", i, coordinate(sparkHeight-h), coordinate(h))
		}
	}
	return b.String()
}

// coordinate formats a number for SVG.
func coordinate(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }
