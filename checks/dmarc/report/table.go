package report

import (
	"strings"
	"time"

	"milterd/checks"
)

// Limits of what is counted of one day. Senders choose domains and much of a row, so the rows of an organisation are limited. Those
// of mail that fails, which anybody can send, have half of that limit. Half of the limits would do for most sites; with double, the
// table and the store may take twice the memory.
const (
	maxTable   = 32 << 20 // bytes of all rows
	maxOrg     = 1 << 20  // bytes of the rows of one organisation
	maxDomains = 20       // policy domains of one organisation
	maxRow     = 2 << 10  // bytes of a row
	rowBytes   = 200      // of memory for a row beside its text, about
)

// table counts the messages of one day. If it is full, it forgets domains of which nothing has passed.
type table struct {
	day     time.Time // its start
	domains map[string]*domainRows
	orgs    map[string]*orgRows
	limit   int    // bytes: maxTable
	size    int    // bytes
	dropped uint64 // messages for which there was no room
}

// domainRows are the rows of a policy domain.
type domainRows struct {
	org    *orgRows
	passed bool // a message has passed
	marked bool // the store has a Delivery; only Maintain uses it
	rows   map[string]*counter
	size   int // bytes
}

// orgRows is what the domains of an organisation take.
type orgRows struct {
	name          string
	domains       int
	size, failing int // bytes, of all rows and of those that fail
}

// counter counts the messages of a row.
type counter struct {
	row    Row
	key    string // of the row in the store; empty before it is known
	count  int64
	stored int64 // how many of count are in the store; only Maintain uses it
}

func newTable(day time.Time) *table {
	return &table{day: day, limit: maxTable, domains: map[string]*domainRows{}, orgs: map[string]*orgRows{}}
}

func (t *table) add(r Row) {
	key := encodeRow(&r.Record)
	d := t.domains[r.PolicyDomain]
	if d != nil && d.rows[key] != nil {
		d.rows[key].count++
		d.passed = d.passed || r.Passed
		return
	}
	r.PolicyDomain = strings.Clone(r.PolicyDomain)
	if d == nil {
		if d = t.newDomain(r.PolicyDomain); d == nil {
			t.dropped++
			return
		}
	}
	size := len(key) + rowBytes
	d.passed = d.passed || r.Passed
	full := d.org.size+size > maxOrg || !r.Passed && d.org.failing+size > maxOrg/2
	if full || !t.makeRoom(size, d) {
		t.dropped++
		if len(d.rows) == 0 {
			t.forget(r.PolicyDomain, d) // domains without rows would have no limit
		}
		return
	}
	r.Record, _ = decodeRow(key) // strings of its own: those of the message keep the whole header in memory
	d.rows[key] = &counter{row: r, count: 1}
	t.size += size
	d.size += size
	d.org.size += size
	if !r.Passed {
		d.org.failing += size
	}
}

// newDomain returns the rows of a new domain, or nil if its organisation has too many.
func (t *table) newDomain(domain string) *domainRows {
	name := checks.Organization(domain)
	org := t.orgs[name]
	if org == nil {
		org = &orgRows{name: name}
		t.orgs[name] = org
	}
	if org.domains == maxDomains {
		return nil
	}
	org.domains++
	d := &domainRows{org: org, rows: map[string]*counter{}}
	t.domains[domain] = d
	return d
}

// makeRoom makes room for a row by forgetting domains of which nothing has passed, other than keep. It reports whether there is room.
func (t *table) makeRoom(size int, keep *domainRows) bool {
	if t.size+size <= t.limit {
		return true
	}
	for name, d := range t.domains {
		if d != keep && !d.passed {
			t.forget(name, d)
		}
		if t.size+size <= t.limit {
			return true
		}
	}
	return false
}

func (t *table) forget(name string, d *domainRows) {
	for _, c := range d.rows {
		t.dropped += uint64(c.count)
	}
	t.size -= d.size
	d.org.size -= d.size
	d.org.failing -= d.size // all its rows fail
	if d.org.domains--; d.org.domains == 0 {
		delete(t.orgs, d.org.name)
	}
	delete(t.domains, name)
}
