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

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{"group": group, "countOf": groupedCountOf}).Parse(pageText))

// HTML writes the report as one page, without scripts and without other files.
func (r *Report) HTML(w io.Writer) error { return pageTemplate.Execute(w, r.page()) }

// page is what the template shows.
type page struct {
	*Report
	Title              string
	From, To           string // days
	Accepted, Deferred int
	RejectedPart       string // of Judged
	DeferredPart       string // of Judged
	Chart              chart
	Reasons            []pageReason
	Compared           *pageChanges // nil if there was nothing to compare with
	Gaps               []gapCount
	NoBorder           int
	Hosts              []share
	Faults             []fault
	MoreFaults         int
	Duration           string
}

// pageReason is a reason that applied.
type pageReason struct {
	ID, Check, Action, Class, Example string
	Count                             int
	Share                             float64 // of the most frequent reason, in percent
	SenderCount                       int
	Senders                           []share
	MoreSenders                       int
	Messages                          pageHits
}

// share is a name with its count, in percent of the highest count.
type share struct {
	nameCount
	Share float64
}

// pageHits is the first messages of a list.
type pageHits struct {
	List []*hit
	More int
}

// pageChanges is the comparison of two configurations.
type pageChanges struct {
	Against         string
	Changed         int
	Totals          []pageTotals
	Effective, Idle []*difference
	Groups          []pageChange
	Unexplained     string
}

// pageTotals is the results of a configuration.
type pageTotals struct {
	Name string
	actionCount
	Parts []part
}

// pageChange is messages with the same change of result.
type pageChange struct {
	From, To           string
	FromClass, ToClass string
	Because            []*difference
	Count              int
	Messages           pageHits
}

func (r *Report) page() page {
	p := page{
		Report: r, Title: "What milterd would do with this mail", Deferred: r.Refused - r.Rejected, Accepted: r.Judged - r.Refused,
		RejectedPart: percentOf(r.Rejected, r.Judged), DeferredPart: percentOf(r.Refused-r.Rejected, r.Judged), Chart: newChart(r.days),
		Gaps: r.gapCounts(), NoBorder: r.noBorder, Hosts: shares(r.hosts.most(pageSenders)), Faults: r.faults,
		MoreFaults: r.Unreadable - len(r.faults), Duration: r.Took.Round(10 * time.Millisecond).String(),
	}
	if !r.First.IsZero() {
		p.From, p.To = r.First.Format(time.DateOnly), r.Last.Format(time.DateOnly)
	}
	applied := r.applied()
	most := 1
	for _, c := range applied {
		most = max(most, len(c.hits))
	}
	for _, c := range applied {
		senders := shares(c.senders.most(pageSenders))
		p.Reasons = append(p.Reasons, pageReason{
			ID: c.id, Check: c.check, Action: c.actionText(), Class: classOf(c.action.String()), Example: c.example,
			Count: len(c.hits), Share: percent(len(c.hits), most), SenderCount: len(c.senders), Senders: senders,
			MoreSenders: len(c.senders) - len(senders), Messages: newPageHits(c.hits),
		})
	}
	if r.changes != nil {
		p.Compared = r.changesPage()
	}
	return p
}

func (r *Report) changesPage() *pageChanges {
	c := r.changes
	p := &pageChanges{Against: configName(c.against.config), Changed: c.count, Unexplained: unexplained}
	p.Effective, p.Idle = c.byEffect()
	p.Totals = []pageTotals{
		newPageTotals(configName(c.base.config), r.Judged, r.Refused, r.Rejected),
		newPageTotals(p.Against, r.Judged+r.Trusted-c.trusted, c.refused, c.rejected),
	}
	for _, g := range c.groups {
		p.Groups = append(p.Groups, pageChange{
			From: g.from, To: g.to, FromClass: classOf(g.from), ToClass: classOf(g.to), Because: g.because, Count: len(g.hits),
			Messages: newPageHits(g.hits),
		})
	}
	return p
}

func newPageTotals(name string, judged, refused, rejected int) pageTotals {
	c := actionCount{Accepted: judged - refused, Deferred: refused - rejected, Rejected: rejected}
	return pageTotals{Name: name, actionCount: c, Parts: c.parts(judged)}
}

func newPageHits(hits []*hit) pageHits {
	n := min(pageMessages, len(hits))
	return pageHits{List: hits[:n], More: len(hits) - n}
}

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

func shares(list []nameCount) []share {
	var out []share
	for _, c := range list {
		out = append(out, share{nameCount: c, Share: percent(c.Count, list[0].Count)})
	}
	return out
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
	if n == 1 {
		return countOf(n, noun)
	}
	return group(n) + " " + noun + "s"
}
