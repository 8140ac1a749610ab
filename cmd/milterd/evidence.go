package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/correspondents"
	"milterd/checks/facts"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/evidence"
)

// evidencePatience is how long a stopping daemon waits for its last evidence to be written.
const evidencePatience = 2 * time.Second

// openEvidence starts the collection of evidence.
func openEvidence(env checks.Env, current func() *config.Config, now func() time.Time) *evidence.Collector {
	env.DNS = checks.Traced(env.DNS)
	return evidence.Open(env.Store, evidence.Options{
		Origin: func(ctx context.Context, r *checks.Request) evidence.Origin {
			env := env
			env.Site = checks.Site{Hostname: current().Hostname, LocalDomains: current().LocalDomains}
			return originOf(ctx, env, r)
		},
		Known: func(ctx context.Context, pair string, at time.Time) (bool, error) {
			return correspondents.Known(ctx, env.Store, pair, at)
		},
		Now: now, Log: env.Log,
	})
}

// originOf attributes a transaction to its client and sender. Where the DNS does not answer, the client is its network, and the
// sender is not verified.
func originOf(ctx context.Context, env checks.Env, r *checks.Request) evidence.Origin {
	from := r.Envelope.MailFrom
	client, _ := facts.ClientIdentity(ctx, env, r)
	origin := evidence.Origin{Client: client.Narrow(), Sender: cmp.Or(facts.OrgDomain(from.Domain), from.Domain)}
	if spf, err := facts.MailFromSPF(ctx, env, r); err == nil {
		origin.SPF, _ = spf.Identifies()
	}
	if origin.Verified, _ = facts.SenderVerified(ctx, env, r); from.IsNull() && client.Domain != "" {
		origin.Sender, origin.Verified = client.Domain, true
	}
	if from.Local == "" || from.Domain == "" {
		return origin
	}
	for _, rcpt := range r.Envelope.Rcpts {
		origin.Pairs = append(origin.Pairs, correspondents.Pair(from, rcpt.Address))
	}
	return origin
}

// evidenceArgs are the arguments of the functions report/watch and report/action.
type evidenceArgs struct {
	Reason string `json:"reason"` // empty: all
}

// settings are those of the reasons that are asked for, in the order in which they decide.
func (a evidenceArgs) settings(cfg *config.Config) ([]evidence.Setting, error) {
	var list []evidence.Setting
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
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
		return nil, fmt.Errorf("there is no reason %q; milterd doc reasons lists them", a.Reason)
	}
	return list, nil
}

// evidenceReport is a function of the daemon that makes a report on what was seen.
func evidenceReport[R any](d *daemon, report func(*evidence.Collector, context.Context, []evidence.Setting) (R, error)) admin.Func {
	return with(func(ctx context.Context, a evidenceArgs) (any, error) {
		settings, err := a.settings(d.config())
		if err != nil {
			return nil, err
		}
		return report(d.evidence, ctx, settings)
	})
}

// reports are both, on all reasons.
func (d *daemon) reports(ctx context.Context) (watch evidence.WatchReport, action evidence.ActionReport, err error) {
	settings, err := evidenceArgs{}.settings(d.config())
	if err != nil {
		return watch, action, err
	}
	return d.evidence.Reports(ctx, settings)
}

// aboutEvidence is the help of both reports.
const aboutEvidence = `What the daemons of this store have seen in the last five to six weeks, judged by what else is known of the senders.

A sender (the domain of the sender address, if the client passes SPF for it or has a confirmed name under it; else that domain as
this client uses it) is good if it is
  answered   a user of this site has written to the address, before or after
  delivers   clean messages came in on three days or more, to which no reason applied, and more of them than speak against it
  regular    the reason applied to messages on four days or more over two weeks, and nothing else speaks against the sender
Passing SPF alone proves nothing: spammers do. What speaks against a sender are refusals for other reasons, DNS lists, deny lists
and passed limits.

A watched reason is safe to enforce after 100 occasions from 20 clients within 14 days or more, if no more than one in a thousand
is a good sender's; it is not safe as soon as there are more. A reason on greylist is judged the same way: as if it were to
refuse.

An enforced reason has wronged the good senders that it refused, and those that greylisting held and that never came back. Who came
back was not wronged.`

// shownSenders is how many senders a report shows for a reason, if there are others.
const shownSenders = 5

func showWatch(w io.Writer, r evidence.WatchReport) {
	fmt.Fprintf(w, "From %s to %s%s.\n\n", when(r.Since), when(r.Until), lost(r.Lost))
	fmt.Fprintln(w, "REASON\tNOW\tSEEN\tDAYS\tCLIENTS\tDELIVER TOO\tSPF\tANSWERED\tVERDICT")
	unseen := []string{}
	for _, x := range r.Reasons {
		if x.Occasions == 0 {
			unseen = append(unseen, x.Reason)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n",
			x.Reason, x.Action, x.Occasions, x.Days, x.Clients, x.Accepted, x.SPF, x.Answered, verdict(x))
	}
	fmt.Fprintln(w)
	for _, x := range r.Reasons {
		showSenders(w, x.Reason, x.Affected, x.Senders, len(r.Reasons) == 1)
	}
	if len(unseen) > 0 {
		fmt.Fprintf(w, "Never seen: %s\n", strings.Join(unseen, " "))
	}
	t := r.Threshold
	fmt.Fprintf(w, "Safe: %d occasions or more, of %d clients, over %d days, and no more than one in %d a good sender's.\n", t.Occasions, t.Clients, t.Days, t.OneIn)
}

func verdict(x evidence.Watched) string {
	if x.Why == "" {
		return x.Verdict.String()
	}
	return x.Verdict.String() + ": " + x.Why
}

func showAction(w io.Writer, r evidence.ActionReport) {
	fmt.Fprintf(w, "From %s to %s%s.\n\n", when(r.Since), when(r.Until), lost(r.Lost))
	if len(r.Reasons) == 0 {
		fmt.Fprintln(w, "nothing was refused or held")
		return
	}
	fmt.Fprintln(w, "REASON\tNOW\tREFUSED\tHELD\tCLIENTS\tSENDERS HELD\tCAME BACK\tLIKELY WRONGED")
	for _, x := range r.Reasons {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", x.Reason, x.Action, x.Refused, x.Held, x.Clients, x.HeldSenders, x.CameBack, x.WrongedSenders)
	}
	fmt.Fprintln(w)
	for _, x := range r.Reasons {
		showSenders(w, x.Reason, x.Wronged, x.WrongedSenders, len(r.Reasons) == 1)
	}
}

// lost tells of what is missing, if anything is.
func lost(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; of %d transactions since the start of this daemon there is no evidence", n)
}

func showSenders(w io.Writer, reason string, list []evidence.Sender, total int, every bool) {
	if len(list) == 0 {
		return
	}
	if !every {
		list = list[:min(len(list), shownSenders)]
	}
	fmt.Fprintf(w, "%s: SENDER\tTIMES\tFIRST\tLAST\tSPF\tCLEAN\tGOOD\n", reason)
	for _, s := range list {
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t%s\t%d\t%s\n", s.Name(), s.Occasions, when(s.First), when(s.Last), yes(s.SPF), s.Clean, cmp.Or(s.Good, "-"))
	}
	if more := total - len(list); more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
	fmt.Fprintln(w)
}
