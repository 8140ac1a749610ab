package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

// daemonStatus is the result of the command status.
type daemonStatus struct {
	Version     string             `json:"version"`
	Started     time.Time          `json:"started"`
	Profile     string             `json:"profile"`
	Connections int                `json:"connections"`
	LogDropped  uint64             `json:"log_dropped"` // lines
	Records     records.Stats      `json:"records"`
	Store       store.Status       `json:"store"`
	DNS         resolver.Stats     `json:"dns"`
	Checks      []checks.Condition `json:"checks"`

	Problems []string      `json:"problems"` // that keep the daemon from working
	Warnings []string      `json:"warnings"` // that the operator should look at
	Reload   *failedReload `json:"failed_reload,omitempty"`
}

func newStatus(configFile *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the running daemon: store, DNS, log, lists that failed, users over their limit",
		Args:  noArguments,
	}
	r := newRemote(cmd, configFile)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return call(cmd, r, "status", noArgs{}, showStatus)
	}
	return cmd
}

func (d *daemon) status(context.Context, noArgs) (daemonStatus, error) {
	return daemonStatus{
		Version:     version(),
		Started:     d.started,
		Profile:     d.config().Profile.String(),
		Connections: d.server.Connections(),
		LogDropped:  d.output.Dropped(),
		Records:     d.recordStats(),
		Store:       d.store.Status(),
		DNS:         d.resolver.Stats(),
		Checks:      d.conditions(),
		Problems:    d.problems(),
		Warnings:    d.warnings(),
		Reload:      d.reloadFailed.Load(),
	}, nil
}

func showStatus(w io.Writer, s daemonStatus) {
	fmt.Fprintf(w, "state\t%s\n", s.state())
	for _, problem := range s.Problems {
		fmt.Fprintf(w, "problem\t%s\n", problem)
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", warning)
	}
	fmt.Fprintf(w, "version\t%s\n", s.Version)
	fmt.Fprintf(w, "started\t%s\n", formatTime(s.Started))
	fmt.Fprintf(w, "profile\t%s\n", s.Profile)
	fmt.Fprintf(w, "connections\t%d\n", s.Connections)
	state := "ok"
	if !s.Store.OK {
		state = "down" // a problem says why
	}
	fmt.Fprintf(w, "store\t%s, %s since %s\n", strings.TrimSpace(s.Store.Driver+" "+s.Store.Place), state, formatTime(s.Store.Since))
	if s.Store.Records >= 0 {
		size := "unknown size" // a Redis may not say how much memory it uses
		if s.Store.Bytes >= 0 {
			size = fmt.Sprintf("%d bytes", s.Store.Bytes)
		}
		fmt.Fprintf(w, "\t%d keys at the last count, %s, %d errors\n", s.Store.Records, size, s.Store.Errors)
	}
	d := s.DNS
	fmt.Fprintf(w, "dns\t%d queries, %d answers from the cache, %d joined to a query in flight, %d prefetched\n",
		d.Queries, d.Hits, d.Coalesced, d.Announced)
	fmt.Fprintf(w, "\t%d time-outs, %d servers unreachable, %d SERVFAIL, %d REFUSED, %d unexpected packets\n",
		d.Timeouts, d.Unreachable, d.ServFail, d.Refused, d.Misfits)
	fmt.Fprintf(w, "log\t%d lines dropped\n", s.LogDropped)
	fmt.Fprintf(w, "records\t%d written, %d dropped\n", s.Records.Written, s.Records.Dropped)
	for _, c := range s.Checks {
		showCondition(w, c)
	}
}

// state returns "ok", or what needs attention, in one line.
func (s daemonStatus) state() string {
	var names []string
	if n := len(s.Problems); n > 0 {
		names = append(names, fmt.Sprintf("%d %s", n, plural(n, "problems")))
	}
	if n := len(s.Warnings); n > 0 {
		names = append(names, fmt.Sprintf("%d %s", n, plural(n, "warnings")))
	}
	for _, c := range s.Checks {
		if c.Why != "" {
			names = append(names, c.Check+" "+c.Name)
		}
	}
	names = append(names, dropped(s.Records.Dropped, s.LogDropped)...)
	if len(names) == 0 {
		return "ok"
	}
	return "needs attention: " + strings.Join(names, ", ")
}

func showCondition(w io.Writer, c checks.Condition) {
	fmt.Fprintf(w, "%s\t%s %s", c.Check, c.Name, c.State)
	if !c.Since.IsZero() {
		fmt.Fprintf(w, " since %s", formatTime(c.Since))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Counts)) {
		n := c.Counts[name]
		if n == 0 {
			continue
		}
		what, rest, _ := strings.Cut(name, "_") // such as recipients_over
		fmt.Fprintf(w, ", %s", strings.TrimSpace(fmt.Sprintf("%d %s %s", n, plural(int(n), what), strings.ReplaceAll(rest, "_", " "))))
	}
	for _, text := range []string{c.Why, c.Note} {
		if text != "" {
			fmt.Fprintf(w, "; %s", text)
		}
	}
	fmt.Fprintln(w)
}
