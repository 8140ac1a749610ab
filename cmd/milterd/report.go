package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/profiles"
	"milterd/milter/evidence"
)

// aboutWatch and aboutAction are the help of report watch and report action.
const aboutWatch = `The report is about the mail that the daemons with this store saw in the last five to six weeks.

A sender is the domain of a sender address if the client passes SPF for it or has a confirmed name under it, and else that domain
as used by this client. A sender is good if it is
  answered   a user of this site has written to the address,
             before or after
  delivers   clean messages, to which no reason applied, came in
             on three days or more, and more of them than speak
             against it
  regular    the reason applied to messages on four days or more
             over two weeks, and nothing else speaks against the
             sender
An SPF pass alone does not make a sender good, as spammers have one too. Refusals for other reasons, DNS lists, deny lists and
exceeded limits speak against a sender.

A watched reason is safe to enforce after 100 occasions from 20 clients over 14 days or more, of which no more than one in a
thousand is of a good sender. If more are, it is not safe, also before. Reasons with the action tag, greylist or quarantine are judged
as if their action were to refuse. Addresses of one domain, by SPF or confirmed names, are one client, and so are those of one network.
The 14 days are from the first occasion to the last; DAYS are those with an occasion.

At the end, the report says what the profiles safe and strict would have answered to the mail of the last 14 days, by the decisions
that are kept (records.keep).`

const aboutAction = `The report is about the mail that the daemons with this store saw in the last five to six weeks. An enforced reason wronged the good
senders that it refused or quarantined, and those that it greylisted and that did not come back. "milterd report watch --help" says which
senders are good.`

func newReport(configFile *string) *cobra.Command {
	cmd := newGroup("report", "Report on the effect of reasons and greylisting, and on outgoing mail")
	r := newRemote(cmd, configFile)
	var reasons evidenceArgs
	watch := newQuery(r, "watch", "Show which watched reasons are safe to enforce, and what the profiles safe and strict would have refused",
		"report/watch", &reasons, showWatch)
	action := newQuery(r, "action", "Show which senders the enforced reasons refused or quarantined, and which of them are good",
		"report/action", &reasons, showAction)
	forwarders := newQuery(r, "forwarders", "Show which clients pass on mail of others, and propose forwarders for policies",
		"report/forwarders", noArgs{}, showForwarders)
	retry := newQuery(r, "retry", "Show which greylisted senders came back, after what time, and which did not", "report/retry", noArgs{}, showRetry)
	mirror := newQuery(r, "mirror", "Show what Gmail, Yahoo and Outlook would refuse of the mail of this site", "report/mirror", noArgs{}, showMirror)
	watch.Long, action.Long = watch.Short+".\n\n"+aboutWatch, action.Short+".\n\n"+aboutAction
	forwarders.Long, mirror.Long = aboutForwarders, aboutMirror
	for _, c := range []*cobra.Command{watch, action} {
		c.Flags().StringVar(&reasons.Reason, "reason", "", "only this `REASON`, with up to 50 of its senders")
	}
	cmd.AddCommand(newReportDaily(r), watch, action, newReportDMARC(r), forwarders, retry, mirror)
	return cmd
}

// evidenceArgs are the arguments of the functions report/watch and report/action.
type evidenceArgs struct {
	Reason string `json:"reason"` // empty: all
}

// watchReport is the result of the function report/watch.
type watchReport struct {
	evidence.WatchReport
	Profiles []profiles.Result `json:"profiles"` // what safe and strict would have answered; empty if no decisions are kept
}

func (d *daemon) reportWatch(ctx context.Context, a evidenceArgs) (r watchReport, err error) {
	if r.WatchReport, _, err = d.reports(ctx, a); err != nil {
		return r, err
	}
	r.Profiles, err = d.profiles(ctx)
	return r, err
}

func (d *daemon) reportAction(ctx context.Context, a evidenceArgs) (evidence.ActionReport, error) {
	_, r, err := d.reports(ctx, a)
	return r, err
}

// reports returns the evidence on watched and on enforced reasons.
func (d *daemon) reports(ctx context.Context, a evidenceArgs) (watch evidence.WatchReport, action evidence.ActionReport, err error) {
	settings, err := a.settings(d.config())
	if err != nil {
		return watch, action, err
	}
	return d.evidence.Reports(ctx, settings)
}

// settings returns the settings of the reasons, in the order in which they decide.
func (a evidenceArgs) settings(cfg *config.Config) ([]evidence.Setting, error) {
	var list []evidence.Setting
	var ids []string
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
			ids = append(ids, r.ID)
			if a.Reason != "" && a.Reason != r.ID {
				continue
			}
			s := evidence.Setting{Check: info.Name, Reason: r, Actions: []checks.Action{cfg.Policy.Actions[r.ID]}}
			for _, p := range cfg.Policy.Policies {
				s.Actions = append(s.Actions, p.Actions[r.ID])
			}
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil, unknownWord("reason", a.Reason, ids)
	}
	return list, nil
}

func showWatch(w io.Writer, r watchReport) {
	showPeriod(w, r.Since, r.Until, r.Lost)
	if len(r.Reasons) > 0 {
		showWatched(w, r.WatchReport)
	} else {
		fmt.Fprintln(w, "no such reason is watched; milterd report action shows those that are enforced")
	}
	for _, p := range r.Profiles {
		fmt.Fprintln(w, p)
	}
}

// showWatched shows the watched reasons, of which there is one at least.
func showWatched(w io.Writer, r evidence.WatchReport) {
	fmt.Fprintln(w, "REASON\tACTION\tSEEN\tDAYS\tCLIENTS\tALSO CLEAN\tSPF\tANSWERED\tVERDICT")
	unseen := 0
	for _, x := range r.Reasons {
		if x.Occasions == 0 {
			unseen++
			continue
		}
		verdict := x.Verdict.String()
		if x.Why != "" {
			verdict += ": " + x.Why
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n",
			x.Reason, x.Action, x.Occasions, x.Days, x.Clients, x.Accepted, x.SPF, x.Answered, verdict)
	}
	fmt.Fprintln(w)
	one := len(r.Reasons) == 1
	for _, x := range r.Reasons {
		if one || x.GoodSenders > 0 {
			showSenders(w, x.Reason, x.Affected, x.Senders, one)
		}
	}
	if !one {
		fmt.Fprintln(w, "The senders are shown of reasons that apply to good ones; milterd report watch --reason REASON shows those of any reason.")
	}
	switch {
	case one && unseen > 0:
		fmt.Fprintf(w, "%s never applied.\n", r.Reasons[0].Reason)
	case unseen == len(r.Reasons):
		fmt.Fprintln(w, "No reason of this report has applied yet.")
	case unseen > 0:
		fmt.Fprintf(w, "%d other %s of this report never applied.\n", unseen, plural(unseen, "reasons"))
	}
	t := r.Threshold
	fmt.Fprintf(w, "Safe: %d occasions or more, of %d clients, over %d days, and no more than one in %d of a good sender.\n",
		t.Occasions, t.Clients, t.Days, t.OneIn)
}

func showAction(w io.Writer, r evidence.ActionReport) {
	showPeriod(w, r.Since, r.Until, r.Lost)
	if len(r.Reasons) == 0 {
		fmt.Fprintln(w, "nothing was refused or held")
		return
	}
	fmt.Fprintln(w, "REASON\tACTION\tREFUSED\tHELD\tQUARANTINED\tCLIENTS\tSENDERS HELD\tCAME BACK\tLIKELY WRONGED")
	for _, x := range r.Reasons {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n",
			x.Reason, x.Action, x.Refused, x.Held, x.Quarantined, x.Clients, x.HeldSenders, x.CameBack, x.WrongedSenders)
	}
	fmt.Fprintln(w)
	for _, x := range r.Reasons {
		showSenders(w, x.Reason, x.Wronged, x.WrongedSenders, len(r.Reasons) == 1)
	}
}

func showPeriod(w io.Writer, since, until time.Time, lost uint64) {
	fmt.Fprintf(w, "From %s to %s.", formatTime(since), formatTime(until))
	if lost > 0 {
		fmt.Fprintf(w, " The evidence of %d %s since the start of the daemon is lost.", lost, plural(int(lost), "transactions"))
	}
	fmt.Fprint(w, "\n\n")
}

// maxShownSenders is how many senders of a reason are shown in a report about several reasons.
const maxShownSenders = 5

// showSenders shows the first of total senders to whose mail a reason applied: the whole list if all is set.
func showSenders(w io.Writer, reason string, list []evidence.Sender, total int, all bool) {
	if len(list) == 0 {
		return
	}
	if !all {
		list = list[:min(len(list), maxShownSenders)]
	}
	fmt.Fprintf(w, "%s: SENDER\tTIMES\tFIRST\tLAST\tSPF\tCLEAN\tGOOD\n", reason)
	for _, s := range list {
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%s\t%d\t%s\n",
			s.Name(), s.Occasions, formatTime(s.First), formatTime(s.Last), yesOrNo(s.SPF), s.Clean, cmp.Or(s.Good, "-"))
	}
	if more := total - len(list); more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
	fmt.Fprintln(w)
}
