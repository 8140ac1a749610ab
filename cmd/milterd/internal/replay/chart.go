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

// chartBar is the messages of some days. X and Width are in percent of the chart.
type chartBar struct {
	X, Width float64
	Parts    []part
	Tip      string
}

// part is the part of a bar for one result, in percent of the highest bar.
type part struct {
	Class      string
	From, Size float64
}

// Parts returns the parts of a bar from its start.
func (c actionCount) Parts(highest int) (list []part) {
	from := 0.0
	add := func(class string, n int) {
		list = append(list, part{Class: class, From: from, Size: percent(n, highest)})
		from += percent(n, highest)
	}
	add("rejected", c.Rejected)
	add("deferred", c.Deferred)
	add("accepted", c.Accepted)
	return list
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
		sum.Accepted += days[day].Accepted
		sum.Deferred += days[day].Deferred
		sum.Rejected += days[day].Rejected
		c.Highest = max(c.Highest, sum.Total())
	}
	width := 100 / float64(len(sums))
	for i, sum := range sums {
		date := time.Unix((first+int64(i)*length)*24*60*60, 0).UTC().Format(time.DateOnly)
		c.Bars = append(c.Bars, chartBar{
			X: float64(i) * width, Width: width * 0.85, Parts: sum.Parts(c.Highest),
			Tip: fmt.Sprintf("%s: %d accepted, %d deferred, %d rejected", date, sum.Accepted, sum.Deferred, sum.Rejected),
		})
	}
	return c
}

// barLength returns how many days a bar stands for in a chart of this many days, and its name.
func barLength(days int64) (length int64, name string) {
	if length = days/maxBars + 1; length == 1 {
		return 1, "day"
	}
	return length, fmt.Sprintf("%d days", length)
}
