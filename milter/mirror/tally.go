package mirror

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// The store has a record for each day, each subject and each run of a daemon. Only that run writes it, so nothing is read
// before it is written, and hosts need no lock. A report adds them up.
const (
	prefix = "mirror:"
	// days is how many days a report covers, with today.
	days = 7
	keep = (days + 1) * 24 * time.Hour

	// maxSubjects is the number of subjects that a run counts in a day. With half of it, a site with many users loses some on a busy
	// day; twice as many take twice the memory, some 2 KiB each.
	maxSubjects = 4000
	// The limits of what a tally keeps, in bytes and entries.
	maxName, maxSeen, maxRepair, maxSelectors = 255, 300, 2, 4
)

// kind is what a tally is about.
type kind string

const (
	ofDomain kind = "domain"
	ofUser   kind = "user"
)

// tally has the counts of a subject for a day.
type tally struct {
	Kind      kind                    `json:"kind"`
	Name      string                  `json:"name"`
	Day       int64                   `json:"day"`
	Own       bool                    `json:"own,omitempty"`
	Messages  int                     `json:"messages"`
	Unsigned  int                     `json:"unsigned,omitempty"`
	To        map[string]int          `json:"to,omitempty"` // recipients by receiver
	Selectors []string                `json:"selectors,omitempty"`
	Hits      map[string]*occurrences `json:"hits,omitempty"` // by id of the finding

	changed bool // since the last call of takeChanged
}

// occurrences counts the messages of a subject with a finding, and has the values of the last one.
type occurrences struct {
	N      int      `json:"n"`
	Last   int64    `json:"last"` // Unix seconds
	Queue  string   `json:"queue,omitempty"`
	Seen   string   `json:"seen,omitempty"`
	Repair []string `json:"repair,omitempty"`
}

// day returns the number of the day of a time, in UTC.
func day(t time.Time) int64 { return t.Unix() / int64(24*time.Hour/time.Second) }

// counts has the tallies of a run.
type counts struct {
	run     string // in the keys
	tallies map[string]*tally
}

func newCounts() counts {
	return counts{run: rand.Text()[:8], tallies: map[string]*tally{}}
}

// add counts a message. It reports whether there was no room for one of its subjects.
func (c *counts) add(m *Message, j Judgement) (lost bool) {
	for _, s := range []tally{{Kind: ofDomain, Name: m.Domain, Own: m.Own}, {Kind: ofUser, Name: m.User}} {
		if s.Name == "" {
			continue
		}
		t := c.tallyOf(s, m.Time)
		if t == nil {
			lost = true
			continue
		}
		t.Messages++
		if j.Unsigned {
			t.Unsigned++
		}
		for receiver, n := range m.To {
			t.To[receiver] += n
		}
		for _, h := range j.Hits {
			if s.Kind == ofDomain || !h.Host {
				t.addHit(m, h)
			}
		}
		if s.Kind == ofDomain {
			t.addSelectors(j.Selectors)
		}
	}
	return lost
}

// tallyOf returns the tally of a subject for the day of a time, or nil if there is no room.
func (c *counts) tallyOf(s tally, at time.Time) *tally {
	s.Name, s.Day = s.Name[:min(len(s.Name), maxName)], day(at)
	key := fmt.Sprintf("%s%d:%s:%s:%s", prefix, s.Day, s.Kind, checks.HashKey(s.Name), c.run)
	t := c.tallies[key]
	if t == nil {
		if c.subjects(s.Day) >= maxSubjects {
			return nil
		}
		t = &s
		t.Name = strings.Clone(t.Name) // it may be part of a long header field
		t.To, t.Hits = map[string]int{}, map[string]*occurrences{}
		c.tallies[key] = t
	}
	t.Own, t.changed = t.Own || s.Own, true
	return t
}

// subjects returns the number of subjects of a day. Those of yesterday stay for an hour, and take no room from those of today.
func (c *counts) subjects(day int64) (n int) {
	for _, t := range c.tallies {
		if t.Day == day {
			n++
		}
	}
	return n
}

func (t *tally) addHit(m *Message, h Hit) {
	o := t.Hits[h.ID]
	if o == nil {
		o = &occurrences{}
		t.Hits[h.ID] = o
	}
	o.N++
	o.Last, o.Queue, o.Seen, o.Repair = m.Time.Unix(), checks.Clean(m.Queue, maxName), checks.Clean(h.Seen, maxSeen), nil
	for _, record := range h.Repair[:min(len(h.Repair), maxRepair)] {
		o.Repair = append(o.Repair, checks.Clean(record, 2*maxSeen))
	}
}

func (t *tally) addSelectors(list []string) {
	for _, s := range list {
		if len(t.Selectors) < maxSelectors && !slices.Contains(t.Selectors, s) {
			t.Selectors = append(t.Selectors, strings.Clone(s)) // it may be part of a long header field
		}
	}
}

// stored is a record for the store.
type stored struct {
	key   string
	value []byte
}

// takeChanged returns the records of the tallies that changed since the last call. It removes the other ones of days before a day.
func (c *counts) takeChanged(before int64) (list []stored) {
	for key, t := range c.tallies {
		switch {
		case t.changed:
			value, err := json.Marshal(t)
			if err != nil {
				panic(err) // there is nothing in it that JSON cannot hold
			}
			list = append(list, stored{key: key, value: value})
			t.changed = false
		case t.Day < before:
			delete(c.tallies, key)
		}
	}
	return list
}

// putBack marks records as changed, so that the next call of takeChanged returns them again.
func (c *counts) putBack(list []stored) {
	for _, r := range list {
		if t := c.tallies[r.key]; t != nil {
			t.changed = true
		}
	}
}
