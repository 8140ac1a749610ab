package replay

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
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

var page = template.Must(template.New("report").Funcs(template.FuncMap{"count": grouped, "counted": countedText}).Parse(pageText))

// grouped shows a number with its digits in groups of three.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // a narrow space that is no place for a line break
	}
	return s
}

// countedText is a number of things.
func countedText(n int, one, many string) string { return count(grouped(n), one, many) }

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer) error { return page.Execute(w, r.page()) }

// pageData is what the template shows.
type pageData struct {
	*Report
	Title      string
	From, To   string
	Deferred   int
	Accepted   int
	RejectedOf string // of the judged ones, in percent
	DeferredOf string
	Bars       []bar
	Step       string // what a bar stands for: day, week, month
	Highest    int    // messages of the highest bar
	Reasons    []pageReason
	Changes    []pageChange
	Changed    int
	Effective  []*Difference
	Idle       []*Difference
	Sides      []pageSide
	Unclear    string // what is said where no difference explains a change
	Gaps       []gap
	NoBorder   int
	Hosts      []share
	Faults     []fault
	MoreFaults int
	Duration   string
}

// pageReason is one reason.
type pageReason struct {
	ID, Check, Action, Class, Sentence string
	Count                              int
	Share                              float64 // of the most frequent one, in percent
	Names                              string
	Senders                            []share
	MoreSenders                        string // how many there are beside them; empty: none
	Messages                           []pageMessage
	More                               int
}

// share is a name with its count, in percent of the highest.
type share struct {
	counted
	Share float64
}

type pageMessage struct{ Day, ID, From, Place string }

// pageSide is what a configuration does in all, as parts of a bar in percent.
type pageSide struct {
	Name                         string
	Accepted, Deferred, Rejected int
	DeferredX, DeferredW         float64
	RejectedW                    float64
	AcceptedX, AcceptedW         float64
}

func sideOf(name string, judged, refused, rejected int) pageSide {
	accepted := judged - refused
	s := pageSide{Name: name, Accepted: accepted, Deferred: refused - rejected, Rejected: rejected}
	s.RejectedW, s.DeferredW = percent(rejected, judged), percent(refused-rejected, judged)
	s.DeferredX = s.RejectedW
	s.AcceptedX, s.AcceptedW = s.RejectedW+s.DeferredW, percent(accepted, judged)
	return s
}

// pageChange is what the other configuration does otherwise.
type pageChange struct {
	From, To           string
	FromClass, ToClass string
	Because            []*Difference
	Count              int
	Messages           []pageMessage
	More               int
}

type gap struct {
	Check, Why string
	Count      int
}

func (r *Report) page() pageData {
	d := pageData{
		Report: r, Title: "What milterd would do with this mail", Deferred: r.Refused - r.Rejected, Accepted: r.Judged - r.Refused,
		NoBorder: r.noBorder, Hosts: shares(r.hosts.most(pageSenders)), Faults: r.faults, MoreFaults: r.Unreadable - len(r.faults),
		Duration:   r.Took.Round(10 * time.Millisecond).String(),
		RejectedOf: shareText(r.Rejected, r.Judged), DeferredOf: shareText(r.Refused-r.Rejected, r.Judged), Unclear: unexplained,
	}
	if !r.First.IsZero() {
		d.From, d.To = r.First.UTC().Format(time.DateOnly), r.Last.UTC().Format(time.DateOnly)
	}
	d.Bars, d.Step, d.Highest = bars(r.days)
	most := 1
	for _, s := range r.found() {
		most = max(most, s.hits.count)
	}
	for _, s := range r.found() {
		p := pageReason{
			ID: s.id, Check: s.check, Action: s.action.String(), Class: class(s.action), Sentence: s.sentence,
			Count: s.hits.count, Share: percent(s.hits.count, most), Names: s.senders.names(), Senders: shares(s.senders.most(pageSenders)),
		}
		if more := len(s.senders.counts) - len(p.Senders); more > 0 {
			p.MoreSenders = grouped(more)
		}
		p.Messages, p.More = pageMessagesOf(&s.hits)
		d.Reasons = append(d.Reasons, p)
	}
	if c := r.changes; c != nil {
		d.Changed = c.count
		d.Effective, d.Idle = c.effective()
		d.Sides = []pageSide{sideOf(name(r.Config), r.Judged, r.Refused, r.Rejected), sideOf(name(r.Against), r.Judged+r.Trusted-c.trusted, c.refused, c.rejected)}
		for _, g := range c.groups {
			p := pageChange{From: g.from, To: g.to, FromClass: fateClass(g.from), ToClass: fateClass(g.to), Because: g.because, Count: g.hits.count}
			p.Messages, p.More = pageMessagesOf(&g.hits)
			d.Changes = append(d.Changes, p)
		}
	}
	for _, check := range r.checks {
		for _, why := range slices.Sorted(maps.Keys(r.notJudged[check])) {
			d.Gaps = append(d.Gaps, gap{check, why, r.notJudged[check][why]})
		}
	}
	return d
}

// class is the colour of an action.
func class(a checks.Action) string {
	switch a {
	case checks.Reject:
		return "rejected"
	case checks.Tempfail, checks.Greylist:
		return "deferred"
	default:
		return "watched"
	}
}

// fateClass is the colour of what becomes of a message.
func fateClass(fate string) string {
	switch word, _, _ := strings.Cut(fate, " "); word {
	case "reject":
		return "rejected"
	case "tempfail":
		return "deferred"
	default:
		return "watched"
	}
}

// shareText is a part in percent, for people.
func shareText(part, whole int) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f\u202f%%", percent(part, whole))
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(max(whole, 1)) }

func shares(list []counted) []share {
	var out []share
	for _, c := range list {
		out = append(out, share{c, percent(c.Count, list[0].Count)})
	}
	return out
}

func pageMessagesOf(l *hits) (shown []pageMessage, more int) {
	for _, h := range l.first[:min(pageMessages, len(l.first))] {
		shown = append(shown, pageMessage{h.day(), h.name(), h.From, h.place()})
	}
	return shown, l.count - len(shown)
}

// bar is the messages of some time, as heights in percent of the highest bar. X and Width are in percent of the chart.
type bar struct {
	X, Width                                   float64
	AcceptedY, AcceptedH, DeferredY, DeferredH float64
	RejectedY, RejectedH                       float64
	Tip                                        string
}

// maxBars is how many bars a chart has at most; more time in one makes fewer of them.
const maxBars = 120

// bars makes the chart of messages over time.
func bars(days map[int64]*day) (list []bar, step string, highest int) {
	if len(days) == 0 {
		return nil, "", 0
	}
	first, last := slices.Min(slices.Collect(maps.Keys(days))), slices.Max(slices.Collect(maps.Keys(days)))
	length, step := int64(1), "day"
	for _, s := range []struct {
		days int64
		name string
	}{{7, "week"}, {30, "30 days"}, {365, "365 days"}} {
		if (last-first)/length >= maxBars {
			length, step = s.days, s.name
		}
	}
	for (last-first)/length >= maxBars { // a few dates far off
		length *= 10
		step = fmt.Sprintf("%d days", length)
	}
	sums := make([]day, (last-first)/length+1)
	for at, d := range days {
		sum := &sums[(at-first)/length]
		sum.accepted, sum.deferred, sum.rejected = sum.accepted+d.accepted, sum.deferred+d.deferred, sum.rejected+d.rejected
	}
	for _, s := range sums {
		highest = max(highest, s.accepted+s.deferred+s.rejected)
	}
	width := 100 / float64(len(sums))
	for i, s := range sums {
		b := bar{X: float64(i) * width, Width: width * 0.85}
		b.RejectedH, b.DeferredH, b.AcceptedH = percent(s.rejected, highest), percent(s.deferred, highest), percent(s.accepted, highest)
		b.RejectedY = 100 - b.RejectedH
		b.DeferredY = b.RejectedY - b.DeferredH
		b.AcceptedY = b.DeferredY - b.AcceptedH
		date := time.Unix((first+int64(i)*length)*24*60*60, 0).UTC().Format(time.DateOnly)
		b.Tip = fmt.Sprintf("%s: %d let in, %d to come back, %d rejected", date, s.accepted, s.deferred, s.rejected)
		list = append(list, b)
	}
	return list, step, highest
}
