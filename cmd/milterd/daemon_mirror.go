package main

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/cmd/milterd/internal/feedback"
	"milterd/cmd/milterd/internal/outgoing"
	"milterd/milter/mirror"
	"milterd/milter/web/dashboard"
)

// openMirror starts the mirror. It judges nothing until useMirror.
func (d *daemon) openMirror() {
	d.mirror = mirror.Open(d.store, mirror.Options{
		Outgoing: func(r *checks.Request) *mirror.Message {
			if site := d.outgoing.Load(); site != nil {
				return site.Message(r)
			}
			return nil
		},
		Now: time.Now,
		Log: logrus.NewEntry(d.log),
	})
}

// useMirror has the mirror judge by a configuration from now on.
func (d *daemon) useMirror(cfg *config.Config) {
	if !cfg.Mirror.On {
		d.outgoing.Store(nil)
		return
	}
	site := d.outgoingSite(cfg)
	d.outgoing.Store(&site)
}

func (d *daemon) outgoingSite(cfg *config.Config) outgoing.Site {
	return outgoing.Site{Env: withConfig(d.env(), cfg), Bulk: cfg.Mirror.Bulk, Addresses: cfg.Mirror.Addresses}
}

// receivedReports returns the kept reports for the page of the mirror.
func (d *daemon) receivedReports(ctx context.Context) ([]dashboard.Received, error) {
	rows, err := feedback.Kept(ctx, d.store)
	var list []dashboard.Received
	for _, r := range rows {
		list = append(list, dashboard.Received{
			Source: r.Source.String(), From: r.From, Messages: int(r.Count), DKIM: r.DKIM, SPF: r.SPF, Did: receiverDid(r), Reporter: r.Reporter,
			Begin: r.Begin, End: r.End.Add(-time.Second),
		})
	}
	return list, err
}
