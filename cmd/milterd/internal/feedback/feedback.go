// Package feedback finds the DMARC aggregate reports (RFC 9990) that other sites sent about the domains of this one, and makes a
// table of them: which hosts sent mail with a domain in From, and whether it passed.
//
// Read finds reports in mailboxes and files (read.go), and message.go takes them out of a message. Table adds up their records. Keep
// and Kept store the rows, so that the daemon can show them (keep.go). Package aggregate parses the reports themselves.
package feedback

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks/facts/dmarc/aggregate"
)

// Row counts the messages of one host with one author domain that a reporter treated alike. Texts are remote text, without control
// characters and of bounded length.
type Row struct {
	Domain      string     `json:"domain"`      // whose policy applies
	From        string     `json:"from"`        // author domain
	Source      netip.Addr `json:"source"`      // host that sent them
	Count       int64      `json:"count"`       // messages
	DKIM        string     `json:"dkim"`        // pass if a signature passes that aligns with From, else fail
	SPF         string     `json:"spf"`         // pass if SPF passes for a domain that aligns with From, else fail
	Disposition string     `json:"disposition"` // what the reporter did: none, pass, quarantine or reject
	Reporter    string     `json:"reporter"`    // organisation
	Begin       time.Time  `json:"begin"`
	End         time.Time  `json:"end"`
}

// Passes reports whether the messages pass DMARC.
func (r Row) Passes() bool { return r.DKIM == "pass" || r.SPF == "pass" }

// Rows returns the rows of a report.
func Rows(r *aggregate.Report) []Row {
	var rows []Row
	for _, rec := range r.Records {
		rows = append(rows, Row{
			Domain: r.Policy.Domain, From: cmp.Or(rec.HeaderFrom, r.Policy.Domain), Source: rec.Source, Count: rec.Count, DKIM: rec.DKIM, SPF: rec.SPF,
			Disposition: rec.Disposition, Reporter: cmp.Or(r.Organization, r.Email, r.ID), Begin: r.Begin, End: r.End,
		})
	}
	return Table(rows)
}

// Table adds up the rows that differ only in their count and period. For each domain, those that fail come first, and of them those
// with the most messages. The table of no rows is not nil.
func Table(rows []Row) []Row {
	index := map[Row]int{} // by rows without count and period
	table := []Row{}       // JSON has a list of no rows too
	for _, r := range rows {
		key := r
		key.Count, key.Begin, key.End = 0, time.Time{}, time.Time{}
		i, seen := index[key]
		if !seen {
			index[key] = len(table)
			table = append(table, r)
			continue
		}
		t := &table[i]
		t.Count += r.Count
		if r.Begin.Before(t.Begin) {
			t.Begin = r.Begin
		}
		if r.End.After(t.End) {
			t.End = r.End
		}
	}
	passes := func(r Row) int {
		if r.Passes() {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(table, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Domain, b.Domain), cmp.Compare(passes(a), passes(b)), cmp.Compare(b.Count, a.Count),
			a.Source.Compare(b.Source), strings.Compare(a.Reporter, b.Reporter))
	})
	return table
}
