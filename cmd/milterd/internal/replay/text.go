package replay

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"milterd/checks"
)

// How much the text shows of each list, and of each value in bytes.
const (
	textMessages = 5
	textSenders  = 8
	textLine     = 200
	textName     = 80 // of a value with others on its line
)

// Text writes the report as text.
func (r *Report) Text(w io.Writer) error {
	out := bufio.NewWriter(w) // it keeps the first error for Flush
	r.writeSummary(out)
	r.writeReasons(out)
	for _, c := range r.applied() {
		fmt.Fprintf(out, "\n%s (%s): %s of %s\n", c.ID, c.ActionText(), countOf(len(c.Hits), "message"), countOf(len(c.Senders), "sender"))
		fmt.Fprintf(out, "  %s\n  %s\n", clean(c.Example), c.Senders.text())
		writeHits(out, c.Hits)
	}
	if r.changes != nil {
		r.writeChanges(out)
	}
	r.writeGaps(out)
	r.writeNoBorder(out)
	r.writeFaults(out)
	return out.Flush()
}

func (r *Report) writeSummary(out io.Writer) {
	fmt.Fprint(out, countOf(r.Messages, "message"))
	if !r.First.IsZero() {
		fmt.Fprintf(out, " from %s to %s", r.First.Format(time.DateOnly), r.Last.Format(time.DateOnly))
	}
	fmt.Fprintf(out, ", judged in %s\n", r.Took.Round(10*time.Millisecond))
	if r.Interrupted {
		fmt.Fprint(out, "INTERRUPTED: the report is about a part of the messages\n")
	}
	fmt.Fprintf(out, "%8d judged\n", r.Judged)
	fmt.Fprintf(out, "%8d would be refused: %d rejected (5yz), %d deferred (4yz)\n", r.Refused, r.Rejected, r.Refused-r.Rejected)
	if r.Quarantined > 0 {
		fmt.Fprintf(out, "%8d would be quarantined\n", r.Quarantined)
	}
	if r.Trusted > 0 {
		fmt.Fprintf(out, "%8d not checked: trusted, authenticated or submitted at this site\n", r.Trusted)
	}
	if r.NoTime > 0 {
		fmt.Fprintf(out, "%8d without a time of arrival: their dates were not judged\n", r.NoTime)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(out, "%8d unreadable\n", r.Unreadable)
	}
}

func (r *Report) writeReasons(out io.Writer) {
	applied := r.applied()
	if len(applied) == 0 {
		fmt.Fprint(out, "\nno reason applied to any message\n")
		return
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REASON\tACTION\tMESSAGES\tSENDERS\tCHECK")
	for _, c := range applied {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\n", c.ID, c.ActionText(), len(c.Hits), len(c.Senders), c.Check)
	}
	_ = table.Flush() // out keeps the error
}

// unexplained is shown for a change that no difference explains.
const unexplained = "because of different results of earlier messages, which greylisting and counting remember"

func (r *Report) writeChanges(out io.Writer) {
	c := r.changes
	effective, idle := c.byEffect()
	fmt.Fprintf(out, "\nWith %s instead, %s would have another result", configName(c.against.config), countOf(c.count, "message"))
	if c.count > 0 {
		fmt.Fprintf(out, ", because of %s", countOf(len(effective), "line"))
	}
	fmt.Fprintf(out, "\n%8d would be refused instead of %d: %d instead of %d rejected (5yz), %d instead of %d deferred (4yz)\n",
		c.refused, r.Refused, c.rejected, r.Rejected, c.refused-c.rejected, r.Refused-r.Rejected)
	for _, d := range effective {
		fmt.Fprintf(out, "  %s (%s)\n", clean(d.String()), countOf(d.Messages, "message"))
	}
	if len(idle) > 0 {
		fmt.Fprint(out, "  Other differences, without effect on these messages:\n")
	}
	for _, d := range idle {
		fmt.Fprintf(out, "  %s\n", clean(d.String()))
	}
	for _, g := range c.groups {
		fmt.Fprintf(out, "\n%s -> %s: %s\n", g.From, g.To, countOf(len(g.Hits), "message"))
		for _, d := range g.Because {
			fmt.Fprintf(out, "  because of %s\n", clean(d.String()))
		}
		if len(g.Because) == 0 {
			fmt.Fprintf(out, "  %s\n", unexplained)
		}
		writeHits(out, g.Hits)
	}
}

func (r *Report) writeGaps(out io.Writer) {
	gaps := r.gapCounts()
	if len(gaps) == 0 {
		return
	}
	fmt.Fprint(out, "\nNot judged, or not completely\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, g := range gaps {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", g.Check, countOf(g.Count, "message"), g.Why)
	}
	_ = table.Flush() // out keeps the error
}

func (r *Report) writeNoBorder(out io.Writer) {
	if r.noBorder == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s without a Received field of a host of this site", countOf(r.noBorder, "message"))
	if len(r.hosts) == 0 {
		fmt.Fprintln(out)
		return
	}
	fmt.Fprintf(out, "; their topmost ones are by\n  %s\n", r.hosts.text())
	fmt.Fprint(out, "  If one of these hosts is yours, add its name to hostname or local_domains.\n")
}

func (r *Report) writeFaults(out io.Writer) {
	if len(r.faults) == 0 {
		return
	}
	fmt.Fprint(out, "\nUnreadable\n")
	for _, f := range r.faults {
		fmt.Fprintf(out, "  %s: %s\n", clean(f.Place), clean(f.Why))
	}
	if more := r.Unreadable - len(r.faults); more > 0 {
		fmt.Fprintf(out, "  and %d more\n", more)
	}
}

// writeHits writes the first of the messages.
func writeHits(out io.Writer, hits []*hit) {
	for _, h := range hits[:min(textMessages, len(hits))] {
		line := "   "
		for _, word := range []string{h.Day, checks.Clean(h.Name(), textName), checks.Clean("from "+h.From, textName), "in " + clean(h.Place())} {
			if word != "" {
				line += " " + word
			}
		}
		fmt.Fprintln(out, line)
	}
	if more := len(hits) - textMessages; more > 0 {
		fmt.Fprintf(out, "    and %d more; --json lists all\n", more)
	}
}

// text returns the names with the highest counts on one line.
func (t tally) text() string {
	var parts []string
	for _, c := range t.most(textSenders) {
		parts = append(parts, fmt.Sprintf("%s %d", clean(c.Name), c.Count))
	}
	if more := len(t) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

// clean makes a value from outside fit for a terminal.
func clean(s string) string { return checks.Clean(s, textLine) }

// countOf returns a number with its noun.
func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// configName returns the name of a configuration as the report shows it.
func configName(c Config) string { return clean(cmp.Or(c.Name, "the defaults")) }
