package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
)

// openRecords opens the records, and the signing key if replies have links.
func (d *daemon) openRecords(cfg *config.Config) error {
	d.linkURL = cfg.Explain.URL
	if cfg.Records.Max == 0 {
		return nil
	}
	if d.linkURL != "" {
		key, err := d.signingKey(cfg)
		if err != nil {
			return fmt.Errorf("explain.key: %w", err)
		}
		d.signer = records.NewSigner(key)
	}
	d.records = records.Open(d.store, records.Options{Keep: cfg.Records.Keep, Max: cfg.Records.Max, Log: logrus.NewEntry(d.log)})
	return nil
}

// signingKey reads or makes the key that signs links. If the configuration names no file and the state folder cannot
// be used, the key lasts until the daemon ends.
func (d *daemon) signingKey(cfg *config.Config) ([]byte, error) {
	path := cfg.Explain.Key
	if path == "" {
		folder := cfg.Store.Path
		if folder == "" {
			var err error
			if folder, err = stateFolder(); err != nil {
				d.log.WithError(err).Warn("no state folder for explain.key: links in replies are valid until the daemon ends")
				return records.NewKey(), nil
			}
		}
		path = filepath.Join(folder, "explain.key")
	}
	key, made, err := records.LoadKey(path)
	if made {
		d.log.WithField("explain.key", path).Info("made a key for links in replies")
	}
	return key, err
}

func (d *daemon) closeRecords() {
	if d.records != nil {
		d.records.Close(flushTimeout)
	}
}

func (d *daemon) recordStats() records.Stats {
	if d.records == nil {
		return records.Stats{}
	}
	return d.records.Stats()
}

// recordOptions sets the options of a pipeline for records and links.
func (d *daemon) recordOptions(o *checks.Options) {
	if d.records != nil {
		o.Trace = checks.TraceMatched
	}
	if d.linkURL != "" {
		o.Link = d.link
	}
}

// link returns the id of a new record, or "" without records, and the link for a reply.
func (d *daemon) link(r *checks.Reason, at time.Time) (record, link string) {
	if d.records != nil {
		record = records.NewID(at)
	}
	return record, d.linkTo(r.ID, record)
}

// linkTo returns the link to the page of a record, or if that is empty, to the page of the reason.
func (d *daemon) linkTo(reason, record string) string {
	link := d.linkURL + "/why/" + reason
	if record != "" {
		link += "?r=" + d.signer.Sign(record, reason)
	}
	return link
}

const (
	recordPart = 5000    // records that are read together
	maxCounted = 500_000 // records that a report counts, as reading more takes minutes
)

// eachRecord calls f with the kept decisions since a time, the newest first: limit of them, which is a multiple of recordPart, or all
// that there are. If there are more, it returns the time of the oldest one that it read.
func (d *daemon) eachRecord(ctx context.Context, since time.Time, limit int, f func(records.Record)) (reached time.Time, err error) {
	q := records.Query{Since: since, Look: recordPart}
	for read := 0; read < limit; read += recordPart {
		page, err := d.records.Page(ctx, q)
		if err != nil {
			return time.Time{}, err
		}
		for _, r := range page.Records {
			f(r)
		}
		if page.Next == 0 || !page.Reached.IsZero() && page.Reached.Before(since) {
			return time.Time{}, nil
		}
		q.Before, reached = page.Next, page.Reached
	}
	return reached, nil
}
