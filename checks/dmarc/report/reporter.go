// Package report sends DMARC aggregate reports, RFC 9990: once a day, to each domain that asks for them and of which a message passed.
//
// The check dmarc counts its messages with a Reporter (reporter.go). The Reporter keeps the counts of the day in a table (table.go) and
// adds them to the store. On the next day it reads them (outgoing.go), makes the message to each domain (mail.go) and submits it
// to the mail server of the site (deliver.go). Section numbers in this package are those of RFC 9990.
package report

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"milterd/checks"
	"milterd/checks/facts/dmarc"
)

// checkName is the name of the check in log lines.
const checkName = "dmarc"

// Reporter counts the results of messages, and sends an aggregate report to each domain of which a message has passed, once a day.
//
// Count adds a message to a table in memory. Maintain writes the counts to the store, where all hosts of the site add them up, and
// after midnight UTC sends the reports of the day before. Whichever host claims a domain first sends its report. A Reporter is safe
// for concurrent use.
type Reporter struct {
	settings Settings
	env      checks.Env
	*counts
}

// counts is what survives a change of the configuration.
type counts struct {
	mu     sync.Mutex
	today  *table
	before *table // table of another day that is not all written; nil: none

	work    sync.Mutex // held by Maintain, of the former configuration too
	begun   bool       // Maintain was called
	next    time.Time  // of the next delivery
	failing error      // why the last delivery failed; nil: it did not
}

// New returns a Reporter, or nil if no reports are sent. It counts nothing where no connection may be made, as in simulate.
func New(settings Settings, env checks.Env) *Reporter {
	if settings.From == "" || env.Dial == nil || env.Store == nil {
		return nil
	}
	return &Reporter{settings: settings, env: env, counts: &counts{}}
}

// Adopt takes over the counts of the Reporter of a former configuration.
func (p *Reporter) Adopt(former *Reporter) { p.counts = former.counts }

// Condition returns whether reports are sent, and how much of today is counted.
func (p *Reporter) Condition() checks.Condition {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := checks.Condition{Name: "reports", State: "on", Counts: map[string]uint64{"domains": 0, "dropped": 0}}
	if p.today != nil {
		state.Counts["domains"], state.Counts["dropped"] = uint64(len(p.today.domains)), p.today.dropped
	}
	if p.failing != nil {
		state.State, state.Why = "failing", p.failing.Error()
	}
	return state
}

// dayOf returns the start of the day of a time, in UTC as section 3.1.1.4 has it.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Count counts a message that began at a time. One that began before midnight and ended after it is counted on the new day: the
// table of its own day may be written already.
func (p *Reporter) Count(at time.Time, r Row) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if day := dayOf(at); p.today == nil || day.After(p.today.day) {
		p.beginDay(day)
	}
	p.today.add(r)
}

// beginDay begins the table of a day, unless it is the current day. It may be an earlier day if the clock was set back.
func (c *counts) beginDay(day time.Time) {
	if c.today != nil && c.today.day.Equal(day) {
		return
	}
	if c.today != nil {
		c.before = c.today
	}
	c.today = newTable(day)
}

// Maintain writes what was counted, and sends the reports that are due. The daemon calls it every few seconds.
func (p *Reporter) Maintain(ctx context.Context, now time.Time) {
	if !p.work.TryLock() {
		return // Maintain of the former configuration is still submitting a report
	}
	defer p.work.Unlock()
	if !p.begun {
		p.begun = true
		return // the daemon waits for the first call before it serves
	}
	p.mu.Lock()
	p.beginDay(dayOf(now))
	today, before := p.today, p.before
	p.mu.Unlock()
	err := p.write(ctx, today, false)
	if before != nil && err == nil {
		if err = p.write(ctx, before, true); err == nil {
			p.mu.Lock()
			if p.before == before {
				p.before = nil
			}
			p.mu.Unlock()
		}
	}
	if err != nil {
		p.warn(ctx, err, "could not store the counts for DMARC reports")
		return
	}
	p.deliver(ctx, now)
}

// warn logs an error of the store. If the time of Maintain ran out, it does not: the next call goes on.
func (p *Reporter) warn(ctx context.Context, err error, message string) {
	if ctx.Err() == nil {
		checks.WarnOfStore(p.env.Log.WithField("check", checkName), err, message)
	}
}

// Keys of the store. A report is sent on the day after its own. On the third day, "milterd report dmarc" still shows what became of it.
const (
	keep     = 3 * 24 * time.Hour
	rowKeys  = "dmarc:row:"   // day, domain and row follow; the value is the number of messages
	outKeys  = "dmarc:out:"   // day and domain follow; the value is the Delivery, for a domain of which a message has passed
	claimKey = "dmarc:claim:" // day and domain follow; there is a record while a host sends the report or has tried to lately
)

func keyOf(day time.Time, domain string) string { return day.Format("20060102") + ":" + domain }

// write adds to the store the counts of each domain of which a message has passed. At the end of the day a message that has passed on
// another host counts too.
func (p *Reporter) write(ctx context.Context, t *table, end bool) error {
	p.mu.Lock()
	domains := maps.Clone(t.domains)
	maps.DeleteFunc(domains, func(_ string, d *domainRows) bool { return !d.passed && !end })
	p.mu.Unlock()
	for name, d := range domains {
		key := outKeys + keyOf(t.day, name)
		if end && !d.passed { // nothing is added to the table any more
			if _, known, err := p.env.Store.Get(ctx, key); err != nil {
				return err
			} else if !known {
				continue
			}
		}
		if err := p.writeRows(ctx, t.day, name, d); err != nil {
			return err
		}
		if !d.marked {
			value, _ := json.Marshal(Delivery{Origin: p.origin()})
			if _, err := p.env.Store.PutNew(ctx, key, value, keep); err != nil {
				return err
			}
			d.marked = true
		}
	}
	return nil
}

func (p *Reporter) writeRows(ctx context.Context, day time.Time, domain string, d *domainRows) error {
	due := map[*counter]int64{} // messages that are not in the store
	p.mu.Lock()
	for _, c := range d.rows {
		if n := c.count - c.stored; n > 0 {
			due[c] = n
		}
	}
	p.mu.Unlock()
	tree := dmarc.NewTree(p.env.DNS)
	for c, n := range due {
		if c.key == "" {
			completeAlignment(ctx, tree, &c.row)
			if err := ctx.Err(); err != nil {
				return err // the next call asks again
			}
			c.row.DKIM, c.row.SPF = cmp.Or(c.row.DKIM, "fail"), cmp.Or(c.row.SPF, "fail")
			c.key = encodeRow(&c.row.Record)
		}
		if _, err := p.env.Store.Add(ctx, rowKeys+keyOf(day, domain)+":"+c.key, n, keep); err != nil {
			return err
		}
		c.stored += n // only this goroutine changes it
	}
	return nil
}

// completeAlignment completes the results of the alignment of a row. The evaluation of a message ends at the first identifier that
// aligns and passes, so the others are evaluated here, in the background. Without an answer of the DNS, they do not align.
func completeAlignment(ctx context.Context, tree *dmarc.Tree, r *Row) {
	ctx, cancel := checks.WithShare(ctx, 0.2) // slow name servers of one row leave time for the others
	defer cancel()
	for _, s := range r.Signatures {
		if s.Result == "pass" && r.DKIM == "" && aligns(ctx, tree, r.HeaderFrom, s.Domain, r.StrictDKIM) {
			r.DKIM = "pass"
		}
	}
	if r.Sender.Result == "pass" && r.SPF == "" && aligns(ctx, tree, r.HeaderFrom, r.Sender.Domain, r.StrictSPF) {
		r.SPF = "pass"
	}
}

func aligns(ctx context.Context, tree *dmarc.Tree, author, domain string, strict bool) bool {
	if strict {
		return author == domain
	}
	is, _ := tree.Aligned(ctx, author, domain)
	return is
}
