package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"milterd/checks"
	"milterd/cmd/milterd/internal/overlay"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/log"
	"milterd/milter/records"
)

// liveArgs are the arguments of the function simulate: a session.
type liveArgs struct {
	Name  string         `json:"name"`
	Steps []session.Step `json:"steps"`
}

// liveResult is the result of the function simulate.
type liveResult struct {
	Text   string      `json:"text"` // the exchange and the results of the checks
	Result *jsonResult `json:"result"`
}

// simulateLive plays a session with the configuration, the DNS and the state of the daemon. It writes only the count of requests to
// registries, to keep their limit.
func (d *daemon) simulateLive(_ context.Context, a liveArgs) (liveResult, error) {
	sim := startSimulator(false)
	env := d.env()
	env.Store, env.Log = overlay.New(d.store), log.Discard()
	p, err := newPipeline(d.config(), env, func(o *checks.Options) { o.Trace, o.Clock = checks.TraceAll, d.clock })
	if err != nil {
		return liveResult{}, err
	}
	p.Reload(d.pipeline.Load()) // the state of DNS lists
	sim.player.Pipeline = p
	var text bytes.Buffer
	wrong, err := sim.play(&session.Script{Name: a.Name, Steps: a.Steps}, &text)
	if err != nil {
		return liveResult{}, err
	}
	return liveResult{Text: text.String(), Result: sim.result.finish(wrong)}, nil
}

// playLive has the running daemon play a script.
func (f *simulateFlags) playLive(ctx context.Context, script *session.Script) ([]*session.Mismatch, error) {
	if script.Config != nil || script.Zone != "" {
		return nil, checks.BadArgument("%s has a configuration or DNS of its own; --live uses those of the daemon", script.Name)
	}
	result, _, err := ask[liveResult](ctx, &f.remote, "simulate", liveArgs{Name: script.Name, Steps: script.Steps})
	if err != nil {
		return nil, err
	}
	if f.json {
		err = result.Result.write(f.stdout)
	} else {
		_, err = io.WriteString(f.stdout, result.Text)
	}
	for _, m := range result.Result.Wrong {
		m.Name = script.Name
	}
	return result.Result.Wrong, err
}

// writeRecorded prints the decisions of a session of the running daemon as a session file. Then it plays the file, and prints on
// standard error the reasons that the file cannot show and the replies that differ.
func (f *simulateFlags) writeRecorded(ctx context.Context) error {
	list, _, err := ask[[]records.Record](ctx, &f.remote, "log", logArgs{Session: f.record, Trace: true}) // the newest first
	if err != nil {
		return err
	}
	text, omitted, err := session.FromRecords(list)
	if err != nil {
		return fmt.Errorf("%s: %w", f.record, err)
	}
	if _, err := f.stdout.Write(text); err != nil {
		return err
	}
	for _, reason := range omitted {
		fmt.Fprintf(f.stderr, "milterd: the session file does not show %s, as no record keeps the message\n", reason)
	}
	script, err := session.Parse(f.record, text)
	if err != nil {
		return err
	}
	cfg, err := f.config(script)
	if err != nil {
		return err
	}
	wrong, err := playWith(cfg, script)
	for _, m := range wrong {
		fmt.Fprintf(f.stderr, "milterd: %v; the decision depended on earlier mail, on another configuration, or on an answer that is incomplete in the zone\n", m)
	}
	return err
}
