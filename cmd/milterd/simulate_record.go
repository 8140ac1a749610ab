package main

import (
	"context"
	"fmt"

	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/records"
)

// writeRecorded prints the decisions of a session of the running daemon as a session file. It plays the file and prints, on
// standard error, what the file cannot show and the replies that are not the same.
func (f *simulateFlags) writeRecorded(ctx context.Context) error {
	socket, err := (&remote{configFile: &f.configFile, socket: f.socket}).adminSocket()
	if err != nil {
		return err
	}
	var list []records.Record
	if err := admin.Call(ctx, socket, "log", logArgs{Session: f.record, Trace: true}, &list); err != nil {
		return err
	}
	text, left, err := session.FromRecords(list)
	if err != nil {
		return fmt.Errorf("%s: %w", f.record, err)
	}
	if _, err := f.stdout.Write(text); err != nil {
		return err
	}
	for _, reason := range left {
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
		fmt.Fprintf(f.stderr, "milterd: %v; the decision rested on earlier mail, or on another configuration\n", m)
	}
	return err
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
