package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/checks/rate"
	"milterd/milter/evidence"
	"milterd/milter/records"
)

func newReportDaily(r *remote) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "daily",
		Short: "Report what a postmaster wants to know of the last 24 hours",
		Long: `Report what a postmaster wants to know of the last 24 hours: how much mail came and what became of it, the most frequent reasons,
who was blocked, good senders that were refused, how many greylisted senders never came back, what does not work, what Gmail, Yahoo and
Outlook would refuse of the own mail, and which watched reasons have become safe to enforce. With --mail, the report is sent through the
local sendmail; systemd/milterd-report.timer does so each morning.`,
		Example: "  milterd report daily\n  milterd report daily --mail postmaster@example.org",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return call(cmd, r, "report/daily", noArgs{}, showDaily)
			}
			return mailDaily(cmd, r, to)
		},
	}
	cmd.Flags().StringVar(&to, "mail", "", "send the report to `ADDRESS`, or to an account of this host, through the local sendmail")
	return cmd
}

// dailyReport is the result of the function report/daily.
type dailyReport struct {
	Host      string             `json:"host"`
	Since     time.Time          `json:"since"`
	Until     time.Time          `json:"until"`
	Actions   map[string]int     `json:"actions"`      // refused or deferred recipients, other decisions and accepted messages, by action
	Reasons   map[string]int     `json:"reasons"`      // decisions to which a reason applied
	Blocked   []counters.Blocked `json:"blocked"`      // since then, and still
	Ended     []string           `json:"blocks_ended"` // clients that passed a limit since then and are not blocked any more
	Wronged   []string           `json:"wronged"`      // good senders that were refused or did not come back, with the reason
	NotBack   int                `json:"not_back"`
	Held      int                `json:"held"`
	Attention []string           `json:"attention"`
	Safe      []string           `json:"safe"` // watched reasons
	Users     []checks.Condition `json:"users"`
	Recording bool               `json:"recording"`
	Mirror    string             `json:"mirror"`                  // what receivers would refuse of outgoing mail, a sentence; empty: there was none
	DMARC     *deliveryCounts    `json:"dmarc_reports,omitempty"` // nil: none are sent

	limits map[netip.Addr]string // the limit that a client passed last; the newest decision is counted first
}

func (d *daemon) reportDaily(ctx context.Context, _ noArgs) (dailyReport, error) {
	now := time.Now()
	r := dailyReport{
		Host: d.config().Hostname, Since: now.Add(-day), Until: now, Actions: map[string]int{}, Reasons: map[string]int{},
		Blocked: []counters.Blocked{}, Ended: []string{}, limits: map[netip.Addr]string{}, Wronged: []string{}, Safe: []string{}, Users: []checks.Condition{}, Recording: d.records != nil,
	}
	var others []checks.Condition
	for _, c := range d.conditions() {
		if c.Check == rate.Info.Name {
			r.Users = append(r.Users, c)
		} else {
			others = append(others, c)
		}
	}
	r.Attention = d.attention(others)
	if err := d.addStored(ctx, &r); err != nil { // a morning without a report would hide that the store is down
		r.Attention = append(r.Attention, "this report is incomplete: "+err.Error())
	}
	return r, nil
}

// addStored adds what the store has.
func (d *daemon) addStored(ctx context.Context, r *dailyReport) error {
	if d.records != nil {
		reached, err := d.eachRecord(ctx, r.Since, maxCounted, r.count)
		if err != nil {
			return err
		}
		if !reached.IsZero() {
			r.Attention = append(r.Attention, fmt.Sprintf("the decisions counted here are those since %s only: there were more than %d",
				reached.Local().Format(time.TimeOnly), maxCounted))
		}
	}
	blocks, err := counters.Blocks(ctx, d.store, r.Until)
	if err != nil {
		return err
	}
	r.Blocked = append(r.Blocked, slices.DeleteFunc(blocks, func(b counters.Blocked) bool { return b.Since.Before(r.Since) || !b.InForce })...)
	r.addEnded()
	if r.Mirror, err = d.mirrorSentence(ctx, r.Since); err != nil {
		return err
	}
	if r.DMARC, err = d.sentReports(ctx, r.Until); err != nil {
		return err
	}
	return d.addEvidence(ctx, r)
}

// addEnded adds the clients whose block is over.
func (r *dailyReport) addEnded() {
	for _, client := range slices.SortedFunc(maps.Keys(r.limits), netip.Addr.Compare) {
		if !slices.ContainsFunc(r.Blocked, func(b counters.Blocked) bool { return b.Client.Contains(client) }) {
			r.Ended = append(r.Ended, fmt.Sprintf("%s for %s", client, r.limits[client]))
		}
	}
}

// count counts a decision.
func (r *dailyReport) count(rec records.Record) {
	n := 1
	if rec.Reply != "" {
		n = max(len(rec.Rcpts), 1)
	}
	switch greylist := checks.Greylist.String(); {
	case rec.Reason == "greylisted":
		r.Actions[greylist] += n
	case rec.Action != greylist: // else a suspicion for which no delivery waited
		r.Actions[rec.Action] += n
	}
	if _, known := r.limits[rec.Client]; !known && rec.Reply != "" && strings.HasPrefix(rec.Reason, "too-many-") {
		r.limits[rec.Client] = rec.Reason
	}
	for _, o := range rec.Outcomes {
		r.Reasons[o.Reason]++
	}
}

// addEvidence adds what the evidence and greylisting say.
func (d *daemon) addEvidence(ctx context.Context, r *dailyReport) error {
	watch, action, err := d.reports(ctx, evidenceArgs{})
	if err != nil {
		return err
	}
	for _, w := range watch.Reasons {
		if w.Verdict == evidence.Safe && w.Action == checks.Watch.String() {
			r.Safe = append(r.Safe, w.Reason)
		}
	}
	for _, e := range action.Reasons {
		for _, s := range e.Wronged {
			if !s.Last.Before(r.Since) {
				r.Wronged = append(r.Wronged, fmt.Sprintf("%s (%s)", s.Name(), e.Reason))
			}
		}
	}
	retry, err := d.reportRetry(ctx, noArgs{})
	r.Held, r.NotBack = retry.Held, retry.Gone
	return err
}

func showDaily(w io.Writer, r dailyReport) {
	fmt.Fprintf(w, "milterd on %s, %s to %s\n\n", r.Host, formatTime(r.Since), formatTime(r.Until))
	if !r.Recording {
		fmt.Fprintln(w, "No decisions are kept (records.max is 0), so there are no counts.")
	}
	fmt.Fprintf(w, "Messages accepted:\t%d\n", r.Actions[records.Accept])
	fmt.Fprintf(w, "Recipients rejected:\t%d\n", r.Actions["reject"])
	fmt.Fprintf(w, "Recipients deferred:\t%d\n", r.Actions["tempfail"])
	fmt.Fprintf(w, "Recipients greylisted:\t%d\n", r.Actions["greylist"])
	if r.DMARC != nil {
		fmt.Fprintf(w, "DMARC reports sent:\t%s\n", r.DMARC)
	}
	section := func(title string, lines []string, none string) {
		fmt.Fprintf(w, "\n%s\n", title)
		if len(lines) == 0 {
			fmt.Fprintf(w, "  %s\n", none)
		}
		for _, line := range lines {
			indent := len(line) - len(strings.TrimLeft(line, " ")) // of a number
			fmt.Fprintf(w, "  %*s%s\n", indent, "", printableLine(line))
		}
	}
	section("Needs attention", r.Attention, "nothing")
	section("Users over their limit", r.userLines(), "none")
	section("Good senders that were refused or did not come back", r.Wronged, "none")
	section("Newly blocked", r.blockLines(), "nobody")
	section("Most frequent reasons, watched ones too", r.reasonLines(), "none")
	section("Watched reasons that are safe to enforce", r.Safe, "none yet (milterd report watch)")
	if r.Mirror != "" {
		fmt.Fprintf(w, "\n%s\n", r.Mirror)
	}
	if r.Held == 0 {
		fmt.Fprint(w, "\nGreylisting held no delivery, as far as it remembers.\n")
		return
	}
	fmt.Fprintf(w, "\nOf %d %s that greylisting held, as far as it remembers, %d never came back (milterd report retry).\n",
		r.Held, plural(r.Held, "deliveries"), r.NotBack)
}

func (r dailyReport) userLines() (lines []string) {
	for _, u := range r.Users {
		lines = append(lines, fmt.Sprintf("%s: %s", u.Name, u.Why))
	}
	return lines
}

func (r dailyReport) blockLines() (lines []string) {
	for _, b := range r.Blocked {
		lines = append(lines, fmt.Sprintf("%s until %s for %s", checks.FormatNetwork(b.Client), formatTime(b.Until), b.Why))
	}
	for _, e := range r.Ended {
		lines = append(lines, e+", over by now")
	}
	return lines
}

// reasonLines returns the most frequent reasons with their counts, which are aligned.
func (r dailyReport) reasonLines() (lines []string) {
	const top = 10
	ids := slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int { return cmp.Or(r.Reasons[b]-r.Reasons[a], cmp.Compare(a, b)) })
	for _, id := range ids[:min(len(ids), top)] {
		lines = append(lines, fmt.Sprintf("%*d %s", len(strconv.Itoa(r.Reasons[ids[0]])), r.Reasons[id], id))
	}
	return lines
}
