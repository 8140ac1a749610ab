package report

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/facts/dmarc"
)

const (
	// dueAfter is the time after midnight, UTC, at which reports are sent: all hosts have written their counts by then.
	dueAfter = 10 * time.Minute
	// retryInterval is the time to the second attempt; to the third and the fourth it is 4 and 16 times as long.
	retryInterval = 15 * time.Minute
	maxAttempts   = 4
	// maxPerCall is how many reports one call of Maintain sends in the few seconds that it has. The next call sends the others.
	maxPerCall = 20
	// submitTimeout is the time for the submission of one report. It is longer than a call of Maintain has, as a server with content
	// filters may need some seconds for its last reply, and a report that it accepts after that time is sent twice.
	submitTimeout = time.Minute
	// maxWhy is the length of the reason that is stored with a delivery, in bytes: a record of the store has 64 KiB.
	maxWhy = 4 << 10
)

// errSubmission is the error of a mail server that does not take mail of this host. It is not the fault of a domain.
var errSubmission = errors.New("checks.dmarc.reports.submit does not take the reports")

// permanentError is an error after which a report is not tried again.
type permanentError struct{ error }

// deliver sends the reports of the day before now that are due.
func (p *Reporter) deliver(ctx context.Context, now time.Time) {
	day := dayOf(now).Add(-24 * time.Hour)
	wait := p.next.Sub(now)
	if now.Before(dayOf(now).Add(dueAfter)) || wait > 0 && wait <= retryInterval { // longer: the clock was set back
		return
	}
	list, err := p.Deliveries(ctx, day)
	if err != nil {
		p.warn(ctx, err, "could not read which DMARC reports are due")
		return
	}
	early, cancel := checks.WithShare(ctx, 0.7) // an attempt that begins later could fail for lack of time
	defer cancel()
	tried := 0
	for _, o := range list {
		if o.Over {
			continue
		}
		if tried == maxPerCall || early.Err() != nil {
			return
		}
		attempted, err := p.attempt(ctx, now, o)
		if attempted {
			tried++
		}
		if err == nil {
			continue
		}
		log := p.env.Log.WithError(err).WithField("check", checkName)
		switch {
		case errors.Is(err, errSubmission):
			log.Warn("could not send DMARC reports; they are tried again")
			p.setFailing(err)
			p.next = now.Add(retryInterval)
		case ctx.Err() == nil:
			log.Warn("could not read or store which DMARC reports are sent")
		}
		return
	}
	p.setFailing(nil)
	p.next = now.Add(retryInterval)
}

// setFailing sets the error that Condition shows, or nil.
func (p *Reporter) setFailing(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = err
}

// attempt sends a report, unless another host does so or has tried lately. attempted reports whether it tried. With an error, deliver
// tries no other report.
func (p *Reporter) attempt(ctx context.Context, now time.Time, o Outgoing) (attempted bool, err error) {
	ctx, cancel := checks.WithShare(ctx, 0.5) // slow name servers of one domain leave time for the next
	defer cancel()
	key := keyOf(o.Day, o.Domain)
	claimed, err := p.env.Store.PutNew(ctx, claimKey+key, []byte(p.env.Site.Hostname), retryInterval<<(2*o.Attempts))
	if err != nil || !claimed {
		return false, err
	}
	o, ok, err := p.load(ctx, o.Day, o.Domain)
	if err != nil || !ok || o.Over {
		return false, err
	}
	err = p.send(ctx, now, &o)
	write, cancelWrite := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // the report may be sent: do not send it twice
	defer cancelWrite()
	if errors.Is(err, errSubmission) {
		return true, errors.Join(err, p.env.Store.Delete(write, claimKey+key))
	}
	o.finish(now, err)
	p.log(o)
	if err := checks.PutJSON(write, p.env.Store, outKeys+key, o.Delivery, keep); err != nil {
		return true, fmt.Errorf("an attempt is not stored, so the report may be sent again: %w", err)
	}
	return true, nil
}

// finish sets the result of an attempt. A nil error with nobody in To means that nobody wants the report.
func (d *Delivery) finish(now time.Time, err error) {
	d.Attempts++
	defer func() { d.Why = checks.Clean(d.Why, maxWhy) }()
	var permanent permanentError
	switch {
	case err != nil:
		d.Why = err.Error()
		d.Over = errors.As(err, &permanent) || d.Attempts == maxAttempts
		d.Failed = d.Over
	case len(d.To) > 0:
		d.Sent, d.Over = now, true
	default:
		d.Over = true
	}
}

func (p *Reporter) log(o Outgoing) {
	e := p.env.Log.WithFields(logrus.Fields{"check": checkName, "domain": o.Domain, "messages": o.Messages, "rows": o.Rows})
	if o.Why != "" {
		e = e.WithField("why", checks.LogValue(o.Why))
	}
	switch {
	case len(o.To) > 0:
		e.WithField("to", strings.Join(o.To, ",")).Info("DMARC report sent")
	case o.Failed:
		e.Warn("DMARC report not sent")
	case o.Over:
		e.Info("nobody wants the DMARC report")
	default:
		e.Warn("DMARC report not sent, it is tried again")
	}
}

// send sends a report to the addresses that its domain names. It sets To to those that got it, and Why to the reason if others did
// not.
func (p *Reporter) send(ctx context.Context, now time.Time, o *Outgoing) error {
	m, err := p.compose(ctx, now, *o)
	o.To, o.Why = nil, m.why
	if err != nil || len(m.to) == 0 {
		return err
	}
	accepted, refused, err := p.submit(ctx, m.to, m.text)
	if err != nil {
		return err
	}
	o.To = accepted
	if m.why != "" {
		refused = append(refused, m.why)
	}
	o.Why = strings.Join(refused, "; ")
	return nil
}

// reportMessage is a message with a report.
type reportMessage struct {
	document []byte   // XML
	text     []byte   // of the message
	to       []string // addresses that get it
	why      string   // why other addresses do not
}

// compose makes the message with a report. The error means that the DNS did not answer. The last attempt leaves out the addresses
// whose consent is not known, if there are others.
func (p *Reporter) compose(ctx context.Context, now time.Time, o Outgoing) (m reportMessage, err error) {
	reporting, err := dmarc.NewTree(p.env.DNS).Reporting(ctx, o.Domain)
	if err != nil {
		return m, err
	}
	if !reporting.Found {
		m.why = "there is no DMARC record any more"
		return m, nil
	}
	missed := errors.Join(reporting.Unanswered...)
	if missed != nil && (o.Attempts < maxAttempts-1 || len(reporting.Destinations) == 0) {
		return m, missed
	}
	if m.document, err = p.document(o, reporting.Record); err != nil {
		return m, err
	}
	var addresses []string
	for _, d := range reporting.Destinations {
		addresses = append(addresses, d.Address)
	}
	if m.text, err = p.message(o, m.document, addresses, now); err != nil {
		return m, err
	}
	faults := reporting.Refused
	for _, err := range reporting.Unanswered {
		faults = append(faults, err.Error())
	}
	for _, d := range reporting.Destinations {
		if d.MaxBytes > 0 && int64(len(m.text)) > d.MaxBytes {
			faults = append(faults, fmt.Sprintf("%s: takes %d bytes, the report has %d", d.Address, d.MaxBytes, len(m.text)))
			continue
		}
		m.to = append(m.to, d.Address)
	}
	if len(reporting.Destinations)+len(faults) == 0 {
		faults = append(faults, "its record names no mail address in rua=")
	}
	m.why = strings.Join(faults, "; ")
	return m, nil
}
