package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/log"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

// simulator is a pipeline in this process with a store in memory. It keeps the results of the checks.
type simulator struct {
	player session.InProcess
	result jsonResult   // of the whole session
	checks bytes.Buffer // text about the decisions since the last printChecks

	store    *store.Store
	resolver *resolver.Resolver // nil if there is a zone
}

// startSimulator returns a simulator without a pipeline. explain adds the meaning of reasons to the text.
func startSimulator(explain bool) *simulator {
	sim := &simulator{player: session.InProcess{Now: time.Now}}
	sim.player.Decided = func(r *checks.Request, d checks.Decision) {
		sim.result.add(r, d)
		printDecision(&sim.checks, r, d)
		if explain {
			printMeanings(&sim.checks, d)
		}
	}
	return sim
}

// newSimulator returns a simulator of a configuration. Its DNS is a zone; if that is empty, it is the real DNS, and
// the checks may connect to other hosts. explain is as in startSimulator.
func newSimulator(cfg *config.Config, zone string, explain bool) (_ *simulator, err error) {
	sim := startSimulator(explain)
	env := checks.Env{Log: log.Discard()}
	if zone != "" {
		if env.DNS, err = checktest.ParseZone(zone); err != nil {
			return nil, fmt.Errorf("zone: %w", err)
		}
	} else {
		if sim.resolver, err = newResolver(cfg.DNS, nil); err != nil {
			return nil, err
		}
		env.DNS, env.Dial = sim.resolver, new(net.Dialer).DialContext
	}
	sim.store = store.NewMemory(sim.player.Clock)
	env.Store = sim.store
	if sim.player.Pipeline, err = newPipeline(cfg, env, func(o *checks.Options) { o.Trace = checks.TraceAll }); err != nil {
		sim.close()
		return nil, err
	}
	sim.player.Pipeline.Maintain(context.Background(), sim.player.Clock())
	return sim, nil
}

// play plays a script and prints each line of the client with its reply and the decisions that led to it.
func (sim *simulator) play(script *session.Script, w io.Writer) ([]*session.Mismatch, error) {
	return session.Play(script, &sim.player, func(command string, reply []string) {
		printExchange(w, command, reply)
		sim.printChecks(w)
	})
}

// printChecks prints the decisions that were not printed yet.
func (sim *simulator) printChecks(w io.Writer) { _, _ = sim.checks.WriteTo(w) }

func (sim *simulator) close() {
	if sim.resolver != nil {
		sim.resolver.Close()
	}
	_ = sim.store.Close() // it is in memory
}

// playWith plays a script that has its own DNS with a configuration.
func playWith(cfg *config.Config, script *session.Script) ([]*session.Mismatch, error) {
	if script.Zone == "" {
		return nil, fmt.Errorf("%s: no part \"zone\": a session that tests a configuration needs its own DNS", script.Name)
	}
	sim, err := newSimulator(cfg, script.Zone, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", script.Name, err)
	}
	defer sim.close()
	return session.Play(script, &sim.player, nil)
}

// printExchange prints a line of the client and the reply to it.
func printExchange(w io.Writer, command string, reply []string) {
	fmt.Fprintf(w, "C: %s\n", printableCommand(command))
	printReply(w, reply)
}

func printReply(w io.Writer, reply []string) {
	for _, line := range reply {
		fmt.Fprintf(w, "S: %s\n", line)
	}
}

// printableCommand returns a line of the client in printable US-ASCII. It keeps white space at the beginning of the
// line, which shows a folded header field.
func printableCommand(line string) string {
	clean := printableLine(line)
	if clean != "" && (line[0] == ' ' || line[0] == '\t') {
		return " " + clean
	}
	return clean
}

// printDecision prints the results of the checks that led to a decision.
func printDecision(w io.Writer, r *checks.Request, d checks.Decision) {
	if len(d.Results) == 0 || r.Trusted() {
		printUnchecked(w, r)
	}
	for _, result := range d.Results {
		fmt.Fprintf(w, "   %-9s %-7s %s  [%.1f ms]\n", result.Check, result.Stage, describeResult(result), records.Millis(result.Took))
		for _, a := range result.Asked {
			fmt.Fprintf(w, "   %-9s %-7s   %s? %s  [%.1f ms]\n", "", "", printableLine(a.Question.String()), a.AnswerText(), records.Millis(a.Took))
		}
		for _, note := range result.Notes {
			fmt.Fprintf(w, "   %-9s %-7s   %s\n", "", "", printableLine(note))
		}
		for _, v := range result.Vouched {
			fmt.Fprintf(w, "   %-9s %-7s   vouches: %s (%s)\n", "", "", v.Why, v.Vouch)
		}
	}
	if r.Stage >= checks.EndOfHeader {
		for _, o := range d.Marks {
			fmt.Fprintf(w, "   %s: %s  [%s]\n", checks.MarkField, o.Mark(), o.Action)
		}
	}
}

// printUnchecked prints why a recipient or a message was not checked. Before RCPT there is nothing to decide.
func printUnchecked(w io.Writer, r *checks.Request) {
	e := r.Envelope
	switch {
	case len(e.Rcpts) == 0:
	case r.Trusted():
		fmt.Fprintln(w, "   not checked: the client is trusted")
	case len(e.Header) == 0:
		fmt.Fprintf(w, "   not checked: no check applies to mail to <%s>\n", printableName(r.Rcpt().Text))
	default:
		fmt.Fprintln(w, "   not checked: no check applies to the message")
	}
}

// describeResult returns what a check found: its error and the reasons that applied, or ok.
func describeResult(r checks.Result) string {
	var found []string
	if r.Err != nil {
		found = append(found, "failed: "+printableLine(r.Err.Error()))
	}
	for _, o := range r.Outcomes {
		found = append(found, fmt.Sprintf("%s (%s): %s", o.Reason.ID, o.Action, o.Reply.Text))
	}
	return cmp.Or(strings.Join(found, "; "), "ok")
}

// printMeanings prints what the reasons of a decision mean and what the sender can do.
func printMeanings(w io.Writer, d checks.Decision) {
	for _, o := range d.Outcomes {
		fmt.Fprintf(w, "   %s\n     Meaning: %s\n     Remedy:  %s\n", o.Reason.ID, o.Reason.Why, o.Reason.Remedy)
	}
}
