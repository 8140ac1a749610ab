package replay

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"milterd/checks"
)

// How much the text shows of each list.
const (
	shownMessages = 5
	shownSenders  = 8
	shownLine     = 200 // octets of something that came from outside
	shownName     = 80  // of what stands beside others in a line
)

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	out := &textWriter{w: bufio.NewWriter(w)}
	r.summary(out)
	r.table(out)
	for _, s := range r.found() {
		out.print("\n%s (%s): %s of %s\n", s.id, s.action, messages(s.hits.count), count(s.senders.names(), "sender", "senders"))
		out.print("  %s\n", clean(s.sentence))
		out.print("  %s\n", senders(&s.senders))
		out.messages(&s.hits)
	}
	if r.changes != nil {
		r.comparison(out)
	}
	r.gaps(out)
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

func (r *Report) summary(out *textWriter) {
	out.print("%s", messages(r.Messages))
	if !r.First.IsZero() {
		out.print(" from %s to %s", r.First.UTC().Format(time.DateOnly), r.Last.UTC().Format(time.DateOnly))
	}
	out.print(", judged in %s\n", r.Took.Round(10*time.Millisecond))
	if r.Interrupted {
		out.print("INTERRUPTED: the report is on a part of the archive\n")
	}
	out.print("%8d judged\n", r.Judged)
	out.print("%8d would be refused: %d for good (5yz), %d to come back later (4yz)\n", r.Refused, r.Rejected, r.Refused-r.Rejected)
	if r.Trusted > 0 {
		out.print("%8d not checked: trusted, authenticated or submitted at this site\n", r.Trusted)
	}
	if r.Unreadable > 0 {
		out.print("%8d unreadable\n", r.Unreadable)
	}
}

// table lists the reasons.
func (r *Report) table(out *textWriter) {
	found := r.found()
	if len(found) == 0 {
		out.print("\nno reason applied to any message\n")
		return
	}
	out.print("\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REASON\tACTION\tMESSAGES\tSENDERS\tCHECK") // out keeps the error
	for _, s := range found {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", s.id, s.action, s.hits.count, s.senders.names(), s.check)
	}
	_ = table.Flush()
}

func (r *Report) comparison(out *textWriter) {
	c := r.changes
	effective, idle := c.effective()
	out.print("\nWith %s instead, %s would fare otherwise", name(r.Against), messages(c.count))
	if c.count > 0 {
		out.print(", because of %s", count(fmt.Sprint(len(effective)), "line", "lines"))
	}
	out.print("\n%8d would be refused instead of %d: %d instead of %d for good (5yz), %d instead of %d to come back later (4yz)\n",
		c.refused, r.Refused, c.rejected, r.Rejected, c.refused-c.rejected, r.Refused-r.Rejected)
	for _, d := range effective {
		out.print("  %s (%s)\n", clean(d.String()), messages(d.Messages))
	}
	if len(idle) > 0 {
		out.print("  These differ too, and change nothing here:\n")
	}
	for _, d := range idle {
		out.print("  %s\n", clean(d.String()))
	}
	for _, g := range c.groups {
		out.print("\n%s -> %s: %s\n", g.from, g.to, messages(g.hits.count))
		for _, d := range g.because {
			out.print("  because of %s\n", clean(d.String()))
		}
		if len(g.because) == 0 {
			out.print("  %s\n", unexplained)
		}
		out.messages(&g.hits)
	}
}

// unexplained is said of changes that no line explains.
const unexplained = "because of what became of earlier mail, which greylisting and counting remember"

// gaps tells what could not be judged, and why.
func (r *Report) gaps(out *textWriter) {
	if len(r.notJudged) > 0 {
		out.print("\nNot judged, or not about everything\n")
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, check := range r.checks {
			for _, why := range slices.Sorted(maps.Keys(r.notJudged[check])) {
				fmt.Fprintf(table, "  %s\t%s\t%s\n", check, messages(r.notJudged[check][why]), why) // out keeps the error
			}
		}
		_ = table.Flush()
	}
	if r.noBorder > 0 {
		out.print("\n%s without a Received field of this site's border", messages(r.noBorder))
		if hosts := r.hosts.most(shownSenders); len(hosts) > 0 {
			out.print("; their uppermost ones are by\n  %s\n", list(hosts, r.hosts))
			out.print("  Where one of these is yours, name it in hostname or local_domains.\n")
		} else {
			out.print("\n")
		}
	}
	if len(r.faults) > 0 {
		out.print("\nUnreadable\n")
		for _, f := range r.faults {
			out.print("  %s: %s\n", clean(f.Place), clean(f.Why))
		}
		if more := r.Unreadable - len(r.faults); more > 0 {
			out.print("  and %d more\n", more)
		}
	}
}

// textWriter writes until something fails.
type textWriter struct {
	w   *bufio.Writer
	err error
}

func (t *textWriter) print(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// Write implements io.Writer.
func (t *textWriter) Write(p []byte) (int, error) {
	if t.err == nil {
		_, t.err = t.w.Write(p)
	}
	return len(p), t.err
}

// messages lists the first of the messages.
func (t *textWriter) messages(l *hits) {
	for _, h := range l.first[:min(shownMessages, len(l.first))] {
		who := checks.Clean("from "+h.From, shownName)
		t.print("    %s\n", strings.Join(words(h.day(), checks.Clean(h.name(), shownName), who, "in "+clean(h.place())), " "))
	}
	if more := l.count - shownMessages; more > 0 {
		t.print("    and %d more; --json lists all\n", more)
	}
}

// words leaves out the empty ones.
func words(all ...string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

func clean(s string) string { return checks.Clean(s, shownLine) }

func messages(n int) string { return count(fmt.Sprint(n), "message", "messages") }

func count(n, one, many string) string {
	if n == "1" {
		return "1 " + one
	}
	return n + " " + many
}

func senders(t *tally) string { return list(t.most(shownSenders), *t) }

func list(shown []counted, t tally) string {
	var parts []string
	for _, c := range shown {
		name := c.Name
		if name == "" {
			name = "nobody"
		}
		parts = append(parts, fmt.Sprintf("%s %d", clean(name), c.Count))
	}
	text := strings.Join(parts, ", ")
	if more := len(t.counts) - len(shown); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// name is a configuration for people.
func name(file string) string {
	if file == "" {
		return "the defaults"
	}
	return clean(file)
}
