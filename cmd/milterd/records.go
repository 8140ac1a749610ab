package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/counters"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter"
	"milterd/milter/log"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/web/why"
)

// recordPatience is how long a stopping daemon waits for its last records to be written.
const recordPatience = 2 * time.Second

// explainer makes records of decisions, and the links that lead to them. The zero value makes neither.
type explainer struct {
	book   *records.Log // nil: no records
	signer records.Signer
	url    string // empty: no links
}

// openRecords begins to take records, and finds the key that signs links if there are any.
func (d *daemon) openRecords(cfg *config.Config) error {
	d.explain.url = cfg.Explain.URL
	if cfg.Records.Max == 0 {
		return nil
	}
	if d.explain.url != "" {
		key, err := d.signingKey(cfg)
		if err != nil {
			return fmt.Errorf("explain.key: %w", err)
		}
		d.explain.signer = records.NewSigner(key)
	}
	d.explain.book = records.Open(d.store, records.Options{Keep: cfg.Records.Keep, Max: cfg.Records.Max, Log: logrus.NewEntry(d.log)})
	return nil
}

// signingKey reads the key or makes it. Where the operator named no file and none can be made, links are valid until the end of
// the daemon.
func (d *daemon) signingKey(cfg *config.Config) ([]byte, error) {
	path := cfg.Explain.Key
	if path == "" {
		folder := cfg.Store.Path
		if folder == "" {
			var err error
			if folder, err = stateFolder(); err != nil {
				d.log.WithError(err).Warn("no state folder for explain.key: the links of replies are valid until the daemon ends")
				return records.NewKey(), nil
			}
		}
		path = filepath.Join(folder, "explain.key")
	}
	key, made, err := records.LoadKey(path)
	if made {
		d.log.WithField("explain.key", path).Info("made a new key for the links of replies")
	}
	return key, err
}

func (d *daemon) closeRecords() {
	if d.explain.book != nil {
		d.explain.book.Close(recordPatience)
	}
}

// recorded counts the records.
func (d *daemon) recorded() records.Stats {
	if d.explain.book == nil {
		return records.Stats{}
	}
	return d.explain.book.Stats()
}

// options lets a pipeline make traces for records, and links.
func (x explainer) options(o *checks.Options) {
	if x.book != nil {
		o.Trace = checks.TraceMatched
	}
	if x.url != "" {
		o.Link = x.link
	}
}

// link is what ends a reply. Without records it leads to what can be said of the reason alone.
func (x explainer) link(r *checks.Reason, at time.Time) (record, link string) {
	link = x.url + "/why/" + r.ID
	if x.book == nil {
		return "", link
	}
	record = records.NewID(at)
	return record, link + "?r=" + x.signer.Sign(record, r.ID)
}

// journals tells several of what was decided.
type journals []milter.Journal

// Decided implements milter.Journal.
func (js journals) Decided(s *checks.Request, d checks.Decision) {
	for _, j := range js {
		j.Decided(s, d)
	}
}

// Accepted implements milter.Journal.
func (js journals) Accepted(s *checks.Request) {
	for _, j := range js {
		j.Accepted(s)
	}
}

// journal is the log, the metrics, the evidence and the charts, and the records if there are any.
func (d *daemon) journal() milter.Journal {
	js := journals{log.Journal{Log: d.log}, d.metrics, d.evidence, d.history}
	if d.explain.book != nil {
		js = append(js, d.explain.book)
	}
	return js
}

// serveExplain answers those whose mail was refused.
func (d *daemon) serveExplain(ln net.Listener) error {
	c := why.Config{
		Checks: all.Checks, Reasons: checks.PipelineReasons(), Site: d.config().Hostname, URL: d.explain.url,
		Signer: d.explain.signer, Log: logrus.NewEntry(d.log),
	}
	if d.explain.book != nil {
		c.Tester, c.Keep = tester{d}, d.explain.book.Keep()
	}
	pages, err := why.New(c)
	if err != nil {
		return err
	}
	return serveHTTP(ln, pages)
}

// tester answers for the daemon who wants to know whether what was refused is repaired.
type tester struct{ *daemon }

// Record implements why.Tester.
func (t tester) Record(ctx context.Context, id string) (records.Record, bool, error) {
	return t.explain.book.Get(ctx, id)
}

// Again implements why.Tester. What the DNS says now is what the next mail is judged by.
func (t tester) Again(ctx context.Context, r records.Record, names []string) []checks.Result {
	s := &checks.Session{
		ID: "again", Time: time.Now(), Client: r.Client, ClientName: r.ClientName, Helo: r.Helo,
		Envelope: checks.Envelope{MailFrom: checks.ParseAddress(r.MailFrom)},
	}
	for _, rcpt := range r.Rcpts[:min(1, len(r.Rcpts))] {
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(rcpt)}}
	}
	return t.pipeline.Load().Again(resolver.Renew(ctx), s, names)
}

// Repaired implements why.Tester. A client that is blocked for refused mails alone is free when what they were refused for is
// repaired; who guessed recipients, or was blocked by hand, stays blocked.
func (t tester) Repaired(ctx context.Context, r records.Record) (lifted bool, err error) {
	client := counters.ClientOf(r.Client)
	if !client.IsValid() {
		return false, nil
	}
	now := time.Now()
	state, err := counters.Show(ctx, t.store, client, now)
	if err != nil || state.Block == nil || !slices.Equal(state.Block.Limits, []string{"too-many-errors"}) {
		return false, err
	}
	lifted, err = counters.Unblock(ctx, t.store, client, now)
	if lifted {
		t.log.WithFields(logrus.Fields{"client": client.String(), "record": r.ID}).Info("block lifted: what was refused is repaired")
	}
	return lifted, err
}

// logArgs are the arguments of the function log.
type logArgs struct {
	Sender, Rcpt, Client, Reason, Action, Session, Ref string
	Since                                              time.Duration
	Max                                                int
	Trace                                              bool
}

// find finds records.
func (d *daemon) find(ctx context.Context, a logArgs) (any, error) {
	book := d.explain.book
	if book == nil {
		return nil, errors.New("no records are kept: records.max is 0")
	}
	if a.Ref != "" {
		return book.Find(ctx, records.Query{ID: records.IDIn(a.Ref), Max: 1, Trace: true})
	}
	q := records.Query{
		Sender: a.Sender, Rcpt: a.Rcpt, Client: a.Client, Reason: a.Reason, Action: a.Action, Session: a.Session, Max: a.Max, Trace: a.Trace,
	}
	if a.Since > 0 {
		q.Since = time.Now().Add(-a.Since)
	}
	return book.Find(ctx, q)
}
