package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
)

func newLog(configFile *string) *cobra.Command {
	r := &remote{configFile: configFile}
	var args logArgs
	since := ""
	cmd := &cobra.Command{
		Use: "log", Short: "Find decisions: what became of a mail, and why", Args: cobra.NoArgs,
		Long: `Find the records of decisions, the last one first: refused, deferred, watched and accepted mail of the last days, as long as
the setting records keeps it. With --ref, shows one of them completely: every check, what it asked the DNS and what that said.`,
		Example: `  milterd log --sender example.net --since 2d
  milterd log --rcpt bob@example.org --action reject
  milterd log --ref https://mx.example.org/why/rdns-missing?r=...`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if since != "" {
				if args.Since, err = config.ParseDuration(since); err != nil {
					return fmt.Errorf("--since: %w", err)
				}
			}
			if args.Ref != "" && records.IDIn(args.Ref) == "" {
				return errors.New("--ref: want the link of a reply, or what follows r= in it")
			}
			args.Trace = r.json
			return ask(cmd, r, "log", args, func(w io.Writer, list []records.Record) {
				if args.Ref != "" && len(list) == 1 {
					showRecord(w, list[0])
				} else {
					showRecords(w, list)
				}
			})
		},
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&args.Sender, "sender", "", "sender `ADDRESS`, domain with what is below it, or <>")
	f.StringVar(&args.Rcpt, "rcpt", "", "recipient `ADDRESS`, or domain with what is below it")
	f.StringVar(&args.Client, "client", "", "address or network of the `CLIENT`, or a domain of its names")
	f.StringVar(&args.Reason, "reason", "", "`ID` of a reason that applied")
	f.StringVar(&args.Action, "action", "", "`WHAT` was done: accept, watch, greylist, tempfail or reject, or refused for the last two")
	f.StringVar(&args.Session, "session", "", "`ID` of a session, as in the log")
	f.StringVar(&args.Ref, "ref", "", "the `LINK` of a reply, or what follows r= in it")
	f.StringVar(&since, "since", "", "no longer `AGO` than that: s, m, h, d")
	f.IntVar(&args.Max, "max", 100, "show `N` at most; 0: all")
	return cmd
}

// shownName is how much of a name or address stands in a table, in octets.
const shownName = 60

// one makes what came from outside fit for a terminal.
func one(s string) string { return checks.Clean(s, shownName) }

func showRecords(w io.Writer, list []records.Record) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no records")
		return
	}
	fmt.Fprintln(w, "TIME\tACTION\tREASON\tCLIENT\tHELO\tFROM\tTO\tSESSION")
	for _, r := range list {
		to := make([]string, len(r.Rcpts))
		for i, rcpt := range r.Rcpts {
			to[i] = "<" + one(rcpt) + ">"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t<%s>\t%s\t%s\n",
			when(r.Time), r.Action, orDash(r.Reason), clientText(r), orDash(one(r.Helo)), one(r.MailFrom), strings.Join(to, " "), r.Session)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func clientText(r records.Record) string {
	if !r.Client.IsValid() {
		return "unknown"
	}
	return r.Client.String()
}

// showRecord shows all of one record.
func showRecord(w io.Writer, r records.Record) {
	line := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, checks.Clean(value, shownLine)) }
	line("time", when(r.Time))
	line("session", r.Session)
	line("queue id", orDash(r.QueueID))
	line("client", clientText(r)+" "+r.ClientName)
	line("helo", orDash(r.Helo))
	line("from", "<"+r.MailFrom+">")
	for _, rcpt := range r.Rcpts {
		line("to", "<"+rcpt+">")
	}
	line("action", r.Action)
	line("reply", orDash(r.Reply))
	for _, o := range r.Outcomes {
		line(o.Reason, fmt.Sprintf("%s (%s): %s", o.Action, o.Stage, o.Text))
	}
	for _, c := range r.Checks {
		said := strings.Join(c.Reasons, ", ")
		switch {
		case c.Error != "":
			said = "could not find out: " + c.Error
		case said == "":
			said = "ok"
		}
		line(c.Check, fmt.Sprintf("%s: %s [%.1f ms]", c.Stage, said, c.Millis))
		for _, a := range c.Asked {
			line("", fmt.Sprintf("%s? %s [%.1f ms]", a.Question, a.Answer, a.Millis))
		}
		for _, note := range c.Notes {
			line("", note)
		}
	}
}
