package feedback

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"milterd/checks"
	"milterd/checks/facts/dmarc/aggregate"
)

const (
	// keepFor is how long a report is kept after its period.
	keepFor = 35 * 24 * time.Hour
	// maxKept is how many reports are kept. Of a small site, large receivers send a handful each day.
	maxKept = 1000
	// maxRows is how many rows of a report are kept, and maxValue how many bytes: a record of the store has 64 KiB.
	maxRows  = 150
	maxValue = 60 << 10
	// prefix begins the keys of kept reports.
	prefix = "feedback:"
)

// Summary is a report as the command sends it to the daemon, which keeps it.
type Summary struct {
	Domain   string    `json:"domain"`
	Reporter string    `json:"reporter"`
	ID       string    `json:"id"`
	End      time.Time `json:"end"`
	Rows     []Row     `json:"rows"`    // the first, see Table
	Omitted  int       `json:"omitted"` // other rows
}

// Summarize returns the summary of a report.
func Summarize(r *aggregate.Report) Summary {
	rows := Rows(r)
	s := Summary{Domain: r.Policy.Domain, Reporter: cmp.Or(r.Organization, r.Email, r.ID), ID: r.ID, End: r.End, Rows: rows[:min(len(rows), maxRows)]}
	s.Omitted = len(rows) - len(s.Rows)
	return s
}

// Keep keeps summaries for Kept, until five weeks after their period. A report that was kept before is replaced. It returns how many
// it kept. It leaves out reports about domains that are not of the site, old ones, those from the future, and those with too many rows.
// If there is no room for all, it keeps the newest of the summaries, and an error says so; what was kept before stays.
func Keep(ctx context.Context, store checks.Store, site checks.Site, summaries []Summary, now time.Time) (kept int, err error) {
	room := maxKept
	for _, err := range store.Scan(ctx, prefix) {
		if err != nil {
			return 0, err
		}
		room--
	}
	slices.SortStableFunc(summaries, func(a, b Summary) int { return b.End.Compare(a.End) })
	for _, s := range summaries {
		left := s.End.Add(keepFor).Sub(now)
		if left <= 0 || s.End.After(now.Add(48*time.Hour)) || !ofSite(site, s.Domain) || len(s.Rows) > maxRows {
			continue
		}
		key := prefix + checks.HashKey(s.Reporter, s.ID, s.Domain)
		_, known, err := store.Get(ctx, key)
		if err != nil {
			return kept, err
		}
		if !known && room <= 0 {
			return kept, fmt.Errorf("%d reports are kept, which is the maximum; older ones are deleted after five weeks", maxKept)
		}
		value, err := s.encode()
		if err != nil {
			return kept, err
		}
		if err := store.Put(ctx, key, value, left); err != nil {
			return kept, err
		}
		if !known {
			room--
		}
		kept++
	}
	return kept, nil
}

// encode encodes a summary, with as many rows as fit in a record.
func (s Summary) encode() ([]byte, error) {
	for {
		value, err := json.Marshal(s)
		if err != nil || len(value) <= maxValue {
			return value, err
		}
		if len(s.Rows) == 0 {
			return nil, fmt.Errorf("the texts of a report about %.80q are too long", s.Domain)
		}
		half := len(s.Rows) / 2
		s.Omitted += len(s.Rows) - half
		s.Rows = s.Rows[:half]
	}
}

// ofSite reports whether a domain is one of the site or below one.
func ofSite(site checks.Site, domain string) bool {
	return slices.ContainsFunc(site.LocalDomains, func(d string) bool { return checks.Under(domain, d) })
}

// Kept returns the rows of the kept reports, added up, see Table. It is empty if none are kept.
func Kept(ctx context.Context, store checks.Store) ([]Row, error) {
	var rows []Row
	for r, err := range store.Scan(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		var s Summary
		if err := json.Unmarshal(r.Value, &s); err != nil {
			continue // of another version
		}
		rows = append(rows, s.Rows...)
	}
	return Table(rows), nil
}
