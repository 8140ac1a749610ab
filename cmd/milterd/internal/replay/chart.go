package replay

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// chart is the messages over time. The zero value is empty.
type chart struct {
	Bars    []chartBar
	Step    string // what a bar stands for, such as "day"
	Highest int    // messages of the highest bar
}

// chartBar is the messages of some days. Positions and sizes are in percent of the chart.
type chartBar struct {
	X, Width                                   float64
	AcceptedY, AcceptedH, DeferredY, DeferredH float64
	RejectedY, RejectedH                       float64
	Tip                                        string
}

// maxBars is how many bars a chart has at most. Half of it shows a year in weeks, twice as many are too thin for a
// telephone.
const maxBars = 120

// newChart returns the chart of counts by days since 1970.
func newChart(days map[int64]*actionCount) chart {
	if len(days) == 0 {
		return chart{}
	}
	all := slices.Sorted(maps.Keys(days))
	first, last := all[0], all[len(all)-1]
	length, step := barLength(last - first)
	sums := make([]actionCount, (last-first)/length+1)
	c := chart{Step: step}
	for _, day := range all {
		sum := &sums[(day-first)/length]
		sum.accepted += days[day].accepted
		sum.deferred += days[day].deferred
		sum.rejected += days[day].rejected
		c.Highest = max(c.Highest, sum.accepted+sum.deferred+sum.rejected)
	}
	width := 100 / float64(len(sums))
	for i, sum := range sums {
		b := newChartBar(sum, c.Highest)
		b.X, b.Width = float64(i)*width, width*0.85
		date := time.Unix((first+int64(i)*length)*24*60*60, 0).UTC().Format(time.DateOnly)
		b.Tip = fmt.Sprintf("%s: %d accepted, %d deferred, %d rejected", date, sum.accepted, sum.deferred, sum.rejected)
		c.Bars = append(c.Bars, b)
	}
	return c
}

func newChartBar(sum actionCount, highest int) chartBar {
	b := chartBar{
		RejectedH: percent(sum.rejected, highest), DeferredH: percent(sum.deferred, highest), AcceptedH: percent(sum.accepted, highest),
	}
	b.RejectedY = 100 - b.RejectedH
	b.DeferredY = b.RejectedY - b.DeferredH
	b.AcceptedY = b.DeferredY - b.AcceptedH
	return b
}

// barLength returns how many days a bar stands for in a chart of this many days, and its name.
func barLength(days int64) (length int64, name string) {
	if length = days/maxBars + 1; length == 1 {
		return 1, "day"
	}
	return length, fmt.Sprintf("%d days", length)
}
