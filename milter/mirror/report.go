package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report says what receivers would refuse of the mail of the last days.
type Report struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Lost    uint64    `json:"lost"`    // messages that were not judged or not counted, at this host
	Domains []Subject `json:"domains"` // of the site first, then those with the most messages
	Users   []Subject `json:"users"`   // those with the most messages first
}

// Subject is a domain or a user. Its names are remote text.
type Subject struct {
	Name      string         `json:"name"`
	Own       bool           `json:"own"`      // a domain of the site
	Messages  int            `json:"messages"` // to other sites
	Busiest   int            `json:"busiest"`  // messages on the busiest day
	To        map[string]int `json:"to"`       // recipients with personal accounts by receiver, on the busiest day for it
	Unsigned  int            `json:"unsigned"` // messages that had no DKIM signature of the domain yet
	Selectors []string       `json:"selectors,omitempty"`
	Faults    []Fault        `json:"faults"`   // in the order of Findings
	Verdicts  []Verdict      `json:"verdicts"` // of each receiver, in the order of Receivers
}

// Fault is a finding about a subject.
type Fault struct {
	Finding  string    `json:"finding"` // id
	Messages int       `json:"messages"`
	Last     time.Time `json:"last,omitzero"`
	Queue    string    `json:"queue,omitempty"` // id of the last message
	Seen     string    `json:"seen,omitempty"`  // its value
	Repair   []string  `json:"repair,omitempty"`
}

// About returns the finding, or an empty one if a later version wrote it.
func (f Fault) About() *Finding {
	for _, known := range Findings() {
		if known.ID == f.Finding {
			return known
		}
	}
	return &Finding{ID: f.Finding}
}

// maxReported is the number of domains, and of users, in a report.
const maxReported = 200

// Report returns the report on the last days.
func (c *Collector) Report(ctx context.Context) (Report, error) {
	_ = c.queue.Flush(ctx, reportTimeout) // what still waits is in the next report
	if err := c.flush(ctx); err != nil {
		return Report{}, err
	}
	now := c.opts.Now()
	r := Report{Since: now.AddDate(0, 0, 1-days).UTC().Truncate(24 * time.Hour), Until: now, Lost: c.queue.Dropped()}
	sums := map[kind]map[string]*sum{ofDomain: {}, ofUser: {}}
	for rec, err := range c.store.Scan(ctx, prefix) {
		if err != nil {
			return Report{}, err
		}
		var t tally
		if json.Unmarshal(rec.Value, &t) != nil || sums[t.Kind] == nil || t.Day < day(r.Since) {
			continue
		}
		s := sums[t.Kind][t.Name]
		if s == nil {
			s = newSum()
			sums[t.Kind][t.Name] = s
		}
		s.add(&t)
	}
	r.Domains, r.Users = subjects(sums[ofDomain]), subjects(sums[ofUser])
	return r, nil
}

// sum adds up the tallies of a subject.
type sum struct {
	tally
	messages map[int64]int            // by day
	to       map[string]map[int64]int // by receiver and day
}

func newSum() *sum {
	return &sum{tally: tally{Hits: map[string]*occurrences{}}, messages: map[int64]int{}, to: map[string]map[int64]int{}}
}

func (s *sum) add(t *tally) {
	s.Name, s.Own = t.Name, s.Own || t.Own
	s.Messages, s.Unsigned = s.Messages+t.Messages, s.Unsigned+t.Unsigned
	s.messages[t.Day] += t.Messages
	for receiver, n := range t.To {
		if s.to[receiver] == nil {
			s.to[receiver] = map[int64]int{}
		}
		s.to[receiver][t.Day] += n
	}
	s.addSelectors(t.Selectors)
	for id, h := range t.Hits {
		old := s.Hits[id]
		switch {
		case h == nil: // the record is damaged
		case old == nil:
			s.Hits[id] = h
		case h.Last > old.Last:
			h.N += old.N
			s.Hits[id] = h
		default:
			old.N += h.N
		}
	}
}

// subject returns the sum with the verdicts on it.
func (s *sum) subject() Subject {
	out := Subject{
		Name: s.Name, Own: s.Own, Messages: s.Messages, Busiest: most(s.messages), To: map[string]int{}, Unsigned: s.Unsigned,
		Selectors: s.Selectors, Faults: []Fault{},
	}
	for receiver, byDay := range s.to {
		out.To[receiver] = most(byDay)
	}
	bulk := func(receiver string) bool { return out.To[receiver] >= bulkMessages }
	var found []*Finding
	for _, f := range Findings() {
		h := s.Hits[f.ID]
		if f == volume && slices.ContainsFunc(Receivers(), bulk) {
			h = &occurrences{N: s.Messages, Seen: s.volume()}
		}
		if h == nil {
			continue
		}
		found = append(found, f)
		fault := Fault{Finding: f.ID, Messages: h.N, Queue: h.Queue, Seen: h.Seen, Repair: h.Repair}
		if h.Last > 0 {
			fault.Last = time.Unix(h.Last, 0)
		}
		out.Faults = append(out.Faults, fault)
	}
	out.Verdicts = VerdictsOn(found, bulk)
	return out
}

// volume says how much was sent to the receivers on the busiest day.
func (s *sum) volume() string {
	var parts []string
	for _, receiver := range Receivers() {
		if n := most(s.to[receiver]); n >= bulkMessages {
			parts = append(parts, fmt.Sprintf("%d messages to %s on one day", n, receiver))
		}
	}
	return strings.Join(parts, ", ")
}

func most(byDay map[int64]int) (n int) {
	for _, m := range byDay {
		n = max(n, m)
	}
	return n
}

// subjects returns the subjects in the order of a report.
func subjects(sums map[string]*sum) []Subject {
	list := []Subject{}
	for _, s := range sums {
		list = append(list, s.subject())
	}
	slices.SortFunc(list, func(a, b Subject) int {
		if a.Own != b.Own {
			if a.Own {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Messages-a.Messages, strings.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), maxReported)]
}
