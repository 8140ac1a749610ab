package report

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"milterd/checks/facts/dmarc/aggregate"
)

// Outgoing is a report of one day to one domain.
type Outgoing struct {
	Day      time.Time `json:"day"`
	Domain   string    `json:"domain"`
	Messages int64     `json:"messages"`
	Passed   int64     `json:"passed"`
	Rows     int       `json:"rows"`
	Delivery

	records []aggregate.Record
}

func (o Outgoing) end() time.Time { return o.Day.Add(24*time.Hour - time.Second) }

// Delivery is what became of a report. The zero value is that of a report for which there was no attempt.
type Delivery struct {
	Origin   string    `json:"origin,omitempty"` // of the host that counted first, see Reporter.origin; part of the Report-ID
	Attempts int       `json:"attempts,omitempty"`
	Sent     time.Time `json:"sent,omitzero"`
	To       []string  `json:"to,omitempty"`
	Why      string    `json:"why,omitempty"`  // why it was not sent, or not to all
	Over     bool      `json:"over,omitempty"` // there is no other attempt
	Failed   bool      `json:"failed,omitempty"`
}

// Deliveries returns the reports of a day without their rows: only what became of them.
func (p *Reporter) Deliveries(ctx context.Context, day time.Time) (list []Outgoing, err error) {
	day = dayOf(day)
	prefix := outKeys + keyOf(day, "")
	for r, err := range p.env.Store.Scan(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		o := Outgoing{Day: day, Domain: strings.TrimPrefix(r.Key, prefix)}
		if err := json.Unmarshal(r.Value, &o.Delivery); err == nil { // else of another version
			list = append(list, o)
		}
	}
	return list, nil
}

// Outgoing returns the reports of a day. What was counted in the last seconds is not in them yet.
func (p *Reporter) Outgoing(ctx context.Context, day time.Time) ([]Outgoing, error) {
	day = dayOf(day)
	list, err := p.Deliveries(ctx, day)
	if err != nil {
		return nil, err
	}
	index := map[string]int{}
	for i, o := range list {
		index[o.Domain] = i
	}
	for r, err := range p.env.Store.Scan(ctx, rowKeys+keyOf(day, "")) {
		if err != nil {
			return nil, err
		}
		domain, text, _ := strings.Cut(strings.TrimPrefix(r.Key, rowKeys+keyOf(day, "")), ":")
		if i, known := index[domain]; known {
			list[i].add(text, string(r.Value))
			list[i].records = nil // the rows of all domains may have 32 MiB
		}
	}
	return list, nil
}

// add adds a row with its count, both as in the store.
func (o *Outgoing) add(text, count string) {
	r, err := decodeRow(text)
	n, errCount := strconv.ParseInt(count, 10, 64)
	if err != nil || errCount != nil || n < 1 {
		return // of another version
	}
	r.Count = n
	o.Messages += r.Count
	o.Rows++
	if r.Passes() {
		o.Passed += r.Count
	}
	o.records = append(o.records, r)
}

// load returns the report of a day to a domain. ok is false if there is none.
func (p *Reporter) load(ctx context.Context, day time.Time, domain string) (o Outgoing, ok bool, err error) {
	o = Outgoing{Day: day, Domain: domain}
	value, ok, err := p.env.Store.Get(ctx, outKeys+keyOf(day, domain))
	if err != nil || !ok {
		return o, false, err
	}
	if err := json.Unmarshal(value, &o.Delivery); err != nil {
		return o, false, nil // of another version
	}
	prefix := rowKeys + keyOf(day, domain) + ":"
	for r, err := range p.env.Store.Scan(ctx, prefix) {
		if err != nil {
			return o, false, err
		}
		o.add(strings.TrimPrefix(r.Key, prefix), string(r.Value))
	}
	return o, len(o.records) > 0, nil
}

// Preview is a report as it would be sent now.
type Preview struct {
	Outgoing
	Address []string `json:"addresses"` // those that would get it
	Refused string   `json:"refused"`   // why other addresses would not
	XML     string   `json:"xml"`
}

// Preview returns the report of a day to a domain. ok is false if there is nothing to report.
func (p *Reporter) Preview(ctx context.Context, now, day time.Time, domain string) (v Preview, ok bool, err error) {
	if v.Outgoing, ok, err = p.load(ctx, dayOf(day), domain); err != nil || !ok {
		return v, false, err
	}
	m, err := p.compose(ctx, now, v.Outgoing)
	v.Address, v.Refused, v.XML = m.to, m.why, string(m.document)
	return v, err == nil, err
}
