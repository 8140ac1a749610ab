package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"milterd/cmd/milterd/internal/feedback"
	"milterd/milter/mirror"
)

const aboutMirror = `Show what Gmail, Yahoo and Outlook would refuse of the mail that trusted clients sent to other sites in the last seven days, by domain and
by user, with the record or setting that repairs it. milterd refuses none of this mail.

A receiver either takes mail, advises (takes it, and asks for more), refuses bulk (may refuse it of a domain that sends 5,000 messages
or more a day to its users), or refuses. "milterd doc mirror" has what is found, and the documents of the receivers with their dates.`

// mirrorReport is the result of the function report/mirror.
type mirrorReport struct {
	mirror.Report
	Received []feedback.Row `json:"received"` // what other sites report about the domains of this one
}

func (d *daemon) reportMirror(ctx context.Context, _ noArgs) (r mirrorReport, err error) {
	if r.Report, err = d.mirror.Report(ctx); err != nil {
		return r, err
	}
	r.Received, err = feedback.Kept(ctx, d.store)
	return r, err
}

func showMirror(w io.Writer, r mirrorReport) {
	showOutgoingMail(w, r.Report)
	if len(r.Received) > 0 {
		fmt.Fprintln(w, "\nWhat other sites reported about mail with your domains in From in the last five weeks (milterd dmarc-reports --keep)")
		showReportRows(w, r.Received)
	}
}

func showOutgoingMail(w io.Writer, r mirror.Report) {
	fmt.Fprintf(w, "Mail to other sites from %s to %s.", formatTime(r.Since), formatTime(r.Until))
	if r.Lost > 0 {
		fmt.Fprintf(w, " Not judged since the start of the daemon: %d %s.", r.Lost, plural(int(r.Lost), "messages"))
	}
	fmt.Fprint(w, "\n\n")
	if len(r.Domains) == 0 {
		fmt.Fprintln(w, "no mail of trusted clients to other sites was seen")
		return
	}
	showSubjects(w, "DOMAIN", r.Domains)
	for _, s := range r.Domains {
		showFaults(w, s)
	}
	showSubjects(w, "USER", r.Users)
}

// showSubjects shows domains or users as a table.
func showSubjects(w io.Writer, title string, list []mirror.Subject) {
	fmt.Fprintf(w, "%s\tMESSAGES\tBUSIEST DAY\t%s\tFINDINGS\n", title, strings.ToUpper(strings.Join(mirror.Receivers(), "\t")))
	for _, s := range list {
		answers := []string{}
		for _, v := range s.Verdicts {
			answers = append(answers, string(v.Answer))
		}
		ids := []string{}
		for _, f := range s.Faults {
			ids = append(ids, fmt.Sprintf("%s (%d)", f.Finding, f.Messages))
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", printableLine(s.Name), s.Messages, s.Busiest, strings.Join(answers, "\t"), strings.Join(ids, ", "))
	}
	fmt.Fprintln(w)
}

// showFaults shows the faults of a domain.
func showFaults(w io.Writer, s mirror.Subject) {
	if len(s.Faults) == 0 && s.Unsigned == 0 {
		return
	}
	foreign := ""
	if !s.Own {
		foreign = ", which is not in local_domains"
	}
	fmt.Fprintf(w, "%s%s\n", printableLine(s.Name), foreign)
	for _, f := range s.Faults {
		about := fmt.Sprintf(" (%d %s", f.Messages, plural(f.Messages, "messages"))
		if !f.Last.IsZero() {
			about += ", last " + formatTime(f.Last) + " " + f.Queue
		}
		showFault(w, f, strings.TrimRight(about, " ")+")")
	}
	if s.Unsigned > 0 {
		fmt.Fprintf(w, "%d of %d messages had no DKIM signature of the domain when milterd saw them. Attach milterd after the signer\n"+
			"(Postfix: later in smtpd_milters) to have the signatures tested.\n", s.Unsigned, s.Messages)
	}
	fmt.Fprintln(w)
}

// mirrorSentence says what receivers would refuse of the outgoing mail since a time, or "" if there was none.
func (d *daemon) mirrorSentence(ctx context.Context, since time.Time) (string, error) {
	if !d.config().Mirror.On {
		return "", nil
	}
	r, err := d.mirror.Report(ctx)
	if err != nil {
		return "", err
	}
	if len(r.Domains) == 0 {
		return "", nil
	}
	var parts []string
	for _, s := range r.Domains {
		var ids []string
		for _, f := range s.Faults {
			if !f.Last.Before(since) {
				ids = append(ids, f.Finding)
			}
		}
		if len(ids) > 0 {
			parts = append(parts, printableLine(s.Name)+" ("+strings.Join(ids, ", ")+")")
		}
	}
	const most = 5
	more := ""
	if n := len(parts) - most; n > 0 {
		parts, more = parts[:most], fmt.Sprintf(" and %d more", n)
	}
	if len(parts) == 0 {
		return "The mirror found nothing wrong with the mail to other sites (milterd report mirror).", nil
	}
	return "Gmail, Yahoo or Outlook would find fault with mail of " + strings.Join(parts, ", ") + more + " (milterd report mirror).", nil
}
