package main

import (
	"context"
	"fmt"

	"milterd/cmd/milterd/internal/session"
	"milterd/milter/records"
)

// writeRecorded prints the decisions of a session of the running daemon as a session file. Then it plays the file, and prints on
// standard error the reasons that the file cannot show and the replies that differ.
func (f *simulateFlags) writeRecorded(ctx context.Context) error {
	list, _, err := ask[[]records.Record](ctx, &f.remote, "log", logArgs{Query: records.Query{Session: f.record, Trace: true}}) // the newest first
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
