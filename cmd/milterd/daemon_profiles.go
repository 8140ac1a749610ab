package main

import (
	"context"
	"sync"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/profiles"
)

// profilePeriod is how far back decisions are judged by the profiles.
const profilePeriod = 14 * day

// profiles returns what the profiles safe and strict would have answered to the mail of the kept decisions of the last two weeks,
// for report watch and the overview.
func (d *daemon) profiles(ctx context.Context) ([]profiles.Result, error) {
	if d.records == nil {
		return []profiles.Result{}, nil // [] in JSON
	}
	t := profiles.NewTally()
	if _, err := d.eachRecord(ctx, time.Now().Add(-profilePeriod), maxCounted, t.Add); err != nil {
		return nil, err
	}
	return t.Results(), nil
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

// get returns the sentences that were made last, or none. If there are none or they are old, it makes new ones of the results of find, in the
// background.
func (s *profileSentences) get(now time.Time, find func(context.Context) ([]profiles.Result, error)) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.making && now.Sub(s.made) >= profilesFor {
		s.making = true
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), profilesTimeout)
			defer cancel()
			var list []profiles.Result
			err := checks.Protect(func() (err error) { list, err = find(ctx); return err })
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
