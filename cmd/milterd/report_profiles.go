package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/milter/evidence"
	"milterd/milter/records"
)

// watchReport is the result of the function report/watch.
type watchReport struct {
	evidence.WatchReport
	Profiles []profileResult `json:"profiles"` // what safe and strict would have answered; empty if no decisions are kept
}

// profileResult is what a profile would have done with the messages of the kept decisions.
type profileResult struct {
	Profile    string         `json:"profile"`
	Messages   int            `json:"messages"`
	Refused    int            `json:"refused"`
	Greylisted int            `json:"greylisted"`
	Refusing   map[string]int `json:"refusing"` // messages by the reason that refuses
	Holding    map[string]int `json:"holding"`  // messages by the reason that greylists
}

// String returns the result as a sentence.
func (p profileResult) String() string {
	return fmt.Sprintf("The profile %s would have refused %d of %d %s%s, and greylisted %d%s.",
		p.Profile, p.Refused, p.Messages, plural(p.Messages, "messages"), mostFrequent(p.Refusing), p.Greylisted, mostFrequent(p.Holding))
}

// mostFrequent returns the most frequent reasons in brackets.
func mostFrequent(counts map[string]int) string {
	const most = 4
	ids := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	var parts []string
	for _, id := range ids[:min(len(ids), most)] {
		parts = append(parts, fmt.Sprintf("%s %d", id, counts[id]))
	}
	if len(ids) > most {
		parts = append(parts, fmt.Sprintf("%d other reasons", len(ids)-most))
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// profilePeriod is the period of the decisions that are judged by the profiles.
const profilePeriod = 14 * 24 * time.Hour

// judgedMail are the reasons that applied to the mail of one session and sender, and the number of its accepted messages. There may be
// half a million of them, so they hold no text of a record.
type judgedMail struct {
	accepted int
	reasons  []int // by their order in the registry, sorted
}

// profiles returns what the profiles safe and strict would have answered to the mail of the kept decisions of the last two weeks,
// for report watch and the overview.
func (d *daemon) profiles(ctx context.Context) ([]profileResult, error) {
	list := []profileResult{} // [] in JSON
	if d.records == nil {
		return list, nil
	}
	var reasons []*checks.Reason
	number := map[string]int{} // of a reason
	for _, r := range all.Reasons() {
		number[r.ID] = len(reasons)
		reasons = append(reasons, r)
	}
	mail := map[string]*judgedMail{}
	_, err := d.eachRecord(ctx, time.Now().Add(-profilePeriod), maxCounted, func(r records.Record) {
		key := r.Session + " " + r.MailFrom
		m := mail[key]
		if m == nil {
			m = new(judgedMail)
			mail[key] = m
		}
		if r.Action == records.Accept {
			m.accepted++
		}
		for _, o := range r.Outcomes {
			if n, known := number[o.Reason]; known {
				if i, has := slices.BinarySearch(m.reasons, n); !has {
					m.reasons = slices.Insert(m.reasons, i, n)
				}
			}
		}
	})
	if err != nil {
		return list, err
	}
	for _, p := range []checks.Profile{checks.Safe, checks.Strict} {
		result := profileResult{Profile: p.String(), Refusing: map[string]int{}, Holding: map[string]int{}}
		for _, m := range mail {
			result.add(p, reasons, m)
		}
		list = append(list, result)
	}
	return list, nil
}

const (
	profilesFor     = 10 * time.Minute // how long the sentences of the overview are used
	profilesTimeout = time.Minute      // of the reading for them
)

// profileSentences are the sentences about the profiles for the overview. Reading weeks of decisions takes too long for a page, so they
// are made in the background and kept for a while. The zero value has none. It is safe for concurrent use.
type profileSentences struct {
	mu      sync.Mutex
	made    time.Time
	making  bool
	current []string
}

// get returns the sentences, which may be missing or some minutes old, and has them made again of the results of find if they are.
func (s *profileSentences) get(now time.Time, find func(context.Context) ([]profileResult, error)) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.making && now.Sub(s.made) >= profilesFor {
		s.making = true
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), profilesTimeout)
			defer cancel()
			list, err := find(ctx)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.making, s.made = false, now; err == nil {
				s.current = nil
				for _, p := range list {
					s.current = append(s.current, p.String())
				}
			}
		}()
	}
	return s.current
}

// add adds the mail of one session and sender. reasons are those of the registry.
func (p *profileResult) add(profile checks.Profile, reasons []*checks.Reason, m *judgedMail) {
	n := max(m.accepted, 1)
	p.Messages += n
	worst, by := checks.Off, ""
	for _, i := range m.reasons {
		r := reasons[i]
		if a := profile.Action(r); !r.Greylisting && a > worst {
			worst, by = a, r.ID
		}
	}
	switch {
	case worst.Enforced():
		p.Refused += n
		p.Refusing[by] += n
	case worst == checks.Greylist:
		p.Greylisted += n
		p.Holding[by] += n
	}
}
