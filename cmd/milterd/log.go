package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/milter/records"
)

func newLog(configFile *string) *cobra.Command {
	var args logArgs
	ref, since := "", ""
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Find decisions, show their reasons, and how quarantined mail is released",
		Long: `Find the records of decisions on refused, deferred, watched and accepted mail, the newest first. The daemon keeps them as long
as the setting records says. For quarantined mail, the queue id and the command that releases it are shown. With --ref, show one
record completely: every check, its DNS questions and their answers.

A delivery that greylisting defers has the action tempfail and the reason greylisted. The action greylist is that of a reason for which
a delivery would have waited, had it not come back after the delay, or had nothing vouched for it. With a null reverse-path it is also
recorded at RCPT, and the delivery waits at the end of the message.`,
		Example: `  milterd log --sender example.net --since 2d
  milterd log --rcpt bob@example.org --action reject
  milterd log --action quarantine --since 1d
  milterd log --ref https://mx.example.org/why/rdns-missing?r=...`,
		Args: noArguments,
	}
	r := newRemote(cmd, configFile)
	f := cmd.Flags()
	f.StringVar(&args.Sender, "sender", "", "sender `ADDRESS`, or domain with its subdomains, or <>")
	f.StringVar(&args.Rcpt, "rcpt", "", "recipient `ADDRESS`, or domain with its subdomains")
	f.StringVar(&args.Client, "client", "", "address or network of the `CLIENT`, or the domain of its name or HELO name")
	f.StringVar(&args.Reason, "reason", "", "`ID` of a reason that applied")
	f.StringVar(&args.Action, "action", "", "`ACTION` that was taken: accept, watch, tag, greylist, quarantine, tempfail, reject, or refused for the last two")
	f.StringVar(&args.Session, "session", "", "session `ID`, as in the log")
	f.StringVar(&ref, "ref", "", "`LINK` in a reply, or the part of it after r=")
	f.StringVar(&since, "since", "", "only decisions since a local `DATE`, today or yesterday, a date and time, or for a duration in s, m, h or d")
	f.IntVar(&args.Max, "max", 100, "show at most `N` records; 0: all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := args.parse(ref, since); err != nil {
			return err
		}
		args.Trace = r.json
		if r.json {
			return printRecords(cmd, r, args)
		}
		var list []records.Record
		err := eachPart(cmd, r, args, func(part []records.Record, _ json.RawMessage) { list = append(list, part...) })
		if err != nil {
			return err
		}
		return printResult(cmd, r, nil, list, func(w io.Writer, list []records.Record) {
			if args.ID != "" && len(list) == 1 {
				showRecord(w, list[0])
			} else {
				showRecords(w, list)
			}
		})
	}
	return cmd
}

// printRecords prints the records as one JSON array, part by part.
func printRecords(cmd *cobra.Command, r *remote, args logArgs) error {
	w, before := cmd.OutOrStdout(), "["
	err := eachPart(cmd, r, args, func(part []records.Record, text json.RawMessage) {
		if len(part) > 0 {
			fmt.Fprintf(w, "%s%s", before, bytes.Trim(text, "[]"))
			before = ","
		}
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, strings.TrimPrefix(before, ",")+"]") // "[]" if there is no record
	return err
}

// partSize is the number of records in one call of the function log. The daemon holds them in memory with their traces, twice: a
// million at once would take more than all else that it does.
const partSize = 1000

// eachPart calls f with the records that the function log finds, a part at a time, also as a JSON array.
func eachPart(cmd *cobra.Command, r *remote, args logArgs, f func([]records.Record, json.RawMessage)) error {
	for left := cmp.Or(args.Max, math.MaxInt); left > 0; {
		args.Max = min(left, partSize)
		part, text, err := ask[[]records.Record](cmd.Context(), r, "log", args)
		if err != nil {
			return err
		}
		f(part, text)
		if len(part) < args.Max {
			return nil
		}
		left -= len(part)
		args.Before = part[len(part)-1].Number
	}
	return nil
}

// logArgs are the arguments of the function log. With an ID, the other fields are not used.
type logArgs records.Query

var errNegativeMax = checks.BadArgument("--max: want 0 or more")

// parse sets the fields of --ref and --since. It returns an error for a flag that cannot be used or cannot match.
func (a *logArgs) parse(ref, since string) (err error) {
	if since != "" {
		if a.Since, err = parseSince(since, time.Now()); err != nil {
			return err
		}
	}
	if a.ID = records.IDIn(ref); a.ID == "" && ref != "" {
		return checks.BadArgument("--ref: want the link in a reply, or the part of it after r=")
	}
	if a.Session != "" && len(a.Session) != sessionID {
		return checks.BadArgument("--session: %q is no session id; it is the %d characters after session= in the log", a.Session, sessionID)
	}
	if a.Max < 0 {
		return errNegativeMax
	}
	return nil
}

// check returns an error for a filter that cannot match anything, with the nearest word that can.
func (a logArgs) check() error {
	if a.Reason != "" && !slices.Contains(reasonIDs(), a.Reason) {
		return unknownWord("reason", a.Reason, reasonIDs())
	}
	actions := append(slices.Clone(checks.ActionNames()[1:]), records.Accept, records.Refused)
	if a.Action != "" && !slices.Contains(actions, a.Action) {
		return unknownWord("action", a.Action, actions)
	}
	if _, err := parseClient(a.Client); err != nil && checks.LooksLikeNetwork(a.Client) {
		return checks.BadArgument("--client: %q is neither an address nor a network", a.Client)
	}
	return nil
}

func (d *daemon) findRecords(ctx context.Context, a logArgs) ([]records.Record, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if d.records == nil {
		return nil, errors.New("no records are kept: records.max is 0")
	}
	if a.ID != "" {
		return d.records.Find(ctx, records.Query{ID: a.ID, Max: 1, Trace: true})
	}
	return d.records.Find(ctx, records.Query(a))
}

func showRecords(w io.Writer, list []records.Record) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no records (mail of trusted clients has none)")
		return
	}
	quarantine, quarantined := checks.Quarantine.String(), map[string]bool{} // by session
	for _, r := range list {
		quarantined[r.Session] = quarantined[r.Session] || len(r.Quarantined) > 0
	}
	fmt.Fprintln(w, "TIME\tACTION\tREASON\tCLIENT\tHELO\tFROM\tTO\tSESSION")
	for _, r := range list {
		if r.Action == quarantine && quarantined[r.Session] {
			continue // the row of the message is enough
		}
		rcpts := make([]string, len(r.Rcpts))
		for i, rcpt := range r.Rcpts {
			rcpts[i] = "<" + printableName(rcpt) + ">"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t<%s>\t%s\t%s\n", formatTime(r.Time), r.Fate(), cmp.Or(r.Cause(), "-"), clientAddress(r),
			cmp.Or(printableName(r.Helo), "-"), printableName(r.MailFrom), strings.Join(rcpts, " "), r.Session)
	}
	showQuarantined(w, list)
}

// showQuarantined shows the queue ids of quarantined messages, and how they are released.
func showQuarantined(w io.Writer, list []records.Record) {
	shown := map[string]bool{}
	for _, r := range list {
		command := r.Release()
		if command == "" || shown[r.QueueID] {
			continue
		}
		shown[r.QueueID] = true
		fmt.Fprintf(w, "\nTo release %s from quarantine: %s\n", r.QueueID, command)
	}
}

func clientAddress(r records.Record) string {
	if !r.Client.IsValid() {
		return "unknown"
	}
	return r.Client.String()
}

func showRecord(w io.Writer, r records.Record) {
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, printableLine(value)) }
	line("time", formatTime(r.Time))
	line("session", r.Session)
	line("queue id", cmp.Or(r.QueueID, "-"))
	line("client", clientAddress(r)+" "+r.ClientName)
	line("helo", cmp.Or(r.Helo, "-"))
	line("from", "<"+r.MailFrom+">")
	for _, rcpt := range r.Rcpts {
		line("to", "<"+rcpt+">")
	}
	line("action", r.Fate())
	line("reply", cmp.Or(r.Reply, "-"))
	for _, o := range r.Outcomes {
		line(o.Reason, fmt.Sprintf("%s (%s): %s", o.Action, o.Stage, o.Text))
	}
	if len(r.Waived) > 0 {
		line("waived", strings.Join(r.Waived, ", "))
	}
	for _, v := range r.Vouches {
		line("vouch", v.String())
	}
	if len(r.Quarantined) > 0 {
		line("quarantined", strings.Join(r.Quarantined, ", "))
	}
	if command := r.Release(); command != "" {
		line("release", command)
	}
	for _, c := range r.Checks {
		result := strings.Join(c.Reasons, ", ")
		switch {
		case c.Error != "":
			result = "failed: " + c.Error
		case result == "":
			result = "ok"
		}
		line(c.Check, fmt.Sprintf("%s: %s [%.1f ms]", c.Stage, result, c.Millis))
		for _, a := range c.Asked {
			line("", fmt.Sprintf("%s? %s [%.1f ms]", a.Question, a.Answer, a.Millis))
		}
		for _, note := range c.Notes {
			line("", note)
		}
		for _, v := range c.Vouches {
			line("", "vouches: "+v.String())
		}
	}
}
