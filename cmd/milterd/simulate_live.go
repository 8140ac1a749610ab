package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/log"
)

// liveArgs are the arguments of the function simulate: a session.
type liveArgs struct {
	Name  string         `json:"name"`
	Steps []session.Step `json:"steps"`
}

// liveResult is the result of the function simulate.
type liveResult struct {
	Text   string      `json:"text"` // the exchange and the results of the checks
	Result *jsonResult `json:"result"`
}

// simulateLive plays a session with the configuration, the DNS and the state of the daemon. Nothing of it is written.
func (d *daemon) simulateLive(_ context.Context, a liveArgs) (liveResult, error) {
	sim := startSimulator(false)
	env := d.env()
	env.Store, env.Log = &overlay{Store: d.store, written: map[string]*checks.Record{}}, log.Discard()
	p, err := newPipeline(d.config(), env, func(o *checks.Options) { o.Trace, o.Clock = checks.TraceAll, d.clock })
	if err != nil {
		return liveResult{}, err
	}
	p.Reload(d.pipeline.Load()) // the state of DNS lists
	sim.player.Pipeline = p
	var text bytes.Buffer
	wrong, err := sim.play(&session.Script{Name: a.Name, Steps: a.Steps}, &text)
	if err != nil {
		return liveResult{}, err
	}
	return liveResult{Text: text.String(), Result: sim.result.finish(wrong)}, nil
}

// playLive has the running daemon play a script.
func (f *simulateFlags) playLive(ctx context.Context, script *session.Script) ([]*session.Mismatch, error) {
	if script.Config != nil || script.Zone != "" {
		return nil, wrongUsage("%s has a configuration or DNS of its own; --live uses those of the daemon", script.Name)
	}
	socket, err := (&remote{configFile: &f.configFile, socket: f.socket}).adminSocket()
	if err != nil {
		return nil, err
	}
	var result liveResult
	if err := admin.Call(ctx, socket, "simulate", liveArgs{Name: script.Name, Steps: script.Steps}, &result); err != nil {
		return nil, err
	}
	if f.json {
		enc := json.NewEncoder(f.stdout)
		enc.SetEscapeHTML(false)
		err = enc.Encode(result.Result)
	} else {
		_, err = io.WriteString(f.stdout, result.Text)
	}
	for _, m := range result.Result.Wrong {
		m.Name = script.Name
	}
	return result.Result.Wrong, err
}

// overlay is a store that reads from another one and keeps what is written to itself. It is for one simulation. It is safe for
// concurrent use.
type overlay struct {
	checks.Store
	mu      sync.Mutex
	written map[string]*checks.Record // nil: deleted
}

// get returns a record. The caller holds mu.
func (s *overlay) get(ctx context.Context, key string) ([]byte, bool, error) {
	if r, ok := s.written[key]; ok {
		if r == nil {
			return nil, false, nil
		}
		return r.Value, true, nil
	}
	return s.Store.Get(ctx, key)
}

func (s *overlay) put(key string, value []byte, ttl time.Duration) {
	s.written[key] = &checks.Record{Key: key, Value: value, Expires: time.Now().Add(ttl)}
}

// Get implements checks.Store.
func (s *overlay) Get(ctx context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(ctx, key)
}

// Put implements checks.Store.
func (s *overlay) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, value, ttl)
	return nil
}

// PutNew implements checks.Store.
func (s *overlay) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok, err := s.get(ctx, key)
	if ok || err != nil {
		return false, err
	}
	s.put(key, value, ttl)
	return true, nil
}

// Add implements checks.Store.
func (s *overlay) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok, err := s.get(ctx, key)
	if err != nil {
		return 0, err
	}
	if ok {
		old, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is no counter", key)
		}
		n += old
	}
	s.put(key, strconv.AppendInt(nil, n, 10), ttl)
	return n, nil
}

// Delete implements checks.Store.
func (s *overlay) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[key] = nil
	return nil
}

// Scan implements checks.Store.
func (s *overlay) Scan(ctx context.Context, prefix string) iter.Seq2[checks.Record, error] {
	s.mu.Lock()
	own := map[string]*checks.Record{}
	for key, r := range s.written {
		if strings.HasPrefix(key, prefix) {
			own[key] = r
		}
	}
	s.mu.Unlock()
	return func(yield func(checks.Record, error) bool) {
		for r, err := range s.Store.Scan(ctx, prefix) {
			if _, ok := own[r.Key]; ok && err == nil {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
		for _, r := range own {
			if r != nil && !yield(*r, nil) {
				return
			}
		}
	}
}
