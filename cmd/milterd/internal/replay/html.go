package replay

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"milterd/checks"
)

// How much the page shows of each list.
const (
	pageMessages = 25
	pageSenders  = 15
)

//go:embed report.html
var pageText string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"group": group, "countOf": groupedCountOf, "percentOf": percentOf, "classOf": classOf, "bar": bar,
	"first": func(hits []*hit) []*hit { return hits[:min(pageMessages, len(hits))] },
	"most":  func(t tally) []nameCount { return t.most(pageSenders) },
	"more":  func(all, shown int) int { return all - shown },
}).Parse(pageText))

// page is what the template shows.
type page struct {
	*Report
	Results  actionCount // of the judged messages
	Chart    chart
	Reasons  []*reasonCount // that applied
	Most     int            // messages of the most frequent reason
	Compared *comparison    // nil if there was nothing to compare with
	Gaps     []gapCount
	NoBorder int
	Hosts    tally
	Faults   []fault
	Duration time.Duration
}

// comparison is how the results of two configurations differ.
type comparison struct {
	Against         string
	Changed         int
	Totals          []total
	Effective, Idle []*difference
	Groups          []*change
	Unexplained     string
}

// total is the results of a configuration.
type total struct {
	Name string
	actionCount
}

// HTML writes the report as one page, without scripts and without other files.
func (r *Report) HTML(w io.Writer) error {
	p := page{
		Report: r, Results: resultsOf(r.Judged, r.Refused, r.Rejected), Chart: newChart(r.days), Reasons: r.applied(), Gaps: r.gapCounts(),
		NoBorder: r.noBorder, Hosts: r.hosts, Faults: r.faults, Duration: r.Took.Round(10 * time.Millisecond),
	}
	for _, c := range p.Reasons {
		p.Most = max(p.Most, len(c.Hits))
	}
	if c := r.changes; c != nil {
		against := configName(c.against.config)
		p.Compared = &comparison{Against: against, Changed: c.count, Groups: c.groups, Unexplained: unexplained, Totals: []total{
			{Name: configName(c.base.config), actionCount: p.Results},
			{Name: against, actionCount: resultsOf(r.Judged+r.Trusted-c.trusted, c.refused, c.rejected)},
		}}
		p.Compared.Effective, p.Compared.Idle = c.byEffect()
	}
	return pageTemplate.Execute(w, p)
}

func resultsOf(judged, refused, rejected int) actionCount {
	return actionCount{Accepted: judged - refused, Deferred: refused - rejected, Rejected: rejected}
}

// bar returns the bar of a number beside the highest one.
func bar(class string, n, highest int) part { return part{Class: class, Size: percent(n, highest)} }

// classOf returns the CSS class for an action, or for a result that begins with one.
func classOf(result string) string {
	switch action, _, _ := strings.Cut(result, " "); action {
	case checks.Reject.String():
		return "rejected"
	case checks.Tempfail.String(), checks.Greylist.String():
		return "deferred"
	default:
		return "watched"
	}
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }

// percentOf returns a part in percent as text, or "" of nothing.
func percentOf(part, whole int) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f\u202f%%", percent(part, whole))
}

// group returns a number with its digits in groups of three, separated by narrow spaces at which no line breaks.
func group(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// groupedCountOf is countOf with group.
func groupedCountOf(n int, noun string) string {
	return group(n) + strings.TrimPrefix(countOf(n, noun), fmt.Sprint(n))
}
