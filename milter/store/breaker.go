package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// tolerated is how many failures in a row are taken for bad luck. The next session does not wait for the store.
	tolerated = 2
	// probeEvery is the time between two probes, so that /readyz tells the truth when there is no mail. Half of it is twice the
	// work for a server that many hosts share; twice of it is twice as long until an outage ends.
	probeEvery = time.Second
)

// Status tells how a store does.
type Status struct {
	Driver  string    `json:"driver"`
	Place   string    `json:"place"`             // folder, or address without the password; empty: memory
	OK      bool      `json:"ok"`                // as Healthy
	Since   time.Time `json:"since"`             // since when operations work, or fail at once
	Error   string    `json:"error"`             // what is wrong now, or else the last failure; empty: there was none
	ErrorAt time.Time `json:"error_at,omitzero"` // when that was; zero: never
	Errors  uint64    `json:"errors"`            // how many since the start, probes included
	Records int64     `json:"records"`           // how many records there are, about, as of the last probe; -1: unknown
	Octets  int64     `json:"octets"`            // what they take, about: on the disk, or in memory; -1: unknown
}

// health knows whether a driver works: a circuit breaker.
type health struct {
	driver  driver
	name    string
	timeout time.Duration
	now     func() time.Time
	log     *logrus.Entry

	first  chan struct{} // closed after the first probe
	ctx    context.Context
	cancel context.CancelFunc
	prober sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	inARow  int // failures since the last success
	down    error
	since   time.Time
	last    error
	lastAt  time.Time
	errors  uint64
	records int64
	octets  int64
}

func newHealth(d driver, cfg Config) *health {
	h := &health{
		driver: d, name: cfg.Driver, timeout: cfg.Timeout, now: cfg.wall, log: cfg.Log,
		first: make(chan struct{}),
		since: cfg.wall(), records: -1, octets: -1,
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// start begins to probe, and returns after the first one, or when an operation would give up.
func (h *health) start() {
	h.prober.Go(h.watch)
	limit := time.NewTimer(h.timeout)
	defer limit.Stop()
	select {
	case <-h.first:
	case <-limit.C:
		h.fell(errors.New("no answer at the start"))
	}
}

// stop ends the probes. It tells whether it was the first to do so.
func (h *health) stop() bool {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.prober.Wait()
	return !again
}

// admit returns an error if there is no sense in trying.
func (h *health) admit() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	return h.down
}

// succeeded notes an operation that worked. One that began before an outage does not end it: that is for the probe.
func (h *health) succeeded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inARow = 0
}

// failed notes an operation that did not work.
func (h *health) failed(err error) {
	h.mu.Lock()
	h.note(err)
	h.inARow++
	fall := h.inARow > tolerated
	h.mu.Unlock()
	if fall {
		h.fell(err)
	}
}

func (h *health) note(err error) {
	h.last, h.lastAt = err, h.now()
	h.errors++
}

// fell begins an outage.
func (h *health) fell(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down != nil || h.closed {
		return
	}
	h.since = h.now()
	h.last, h.lastAt = err, h.since
	h.down = fmt.Errorf("%w since %s: %w", ErrDown, h.since.Format(time.RFC3339), err)
	h.log.WithError(err).Error("store is down")
}

// rose ends an outage.
func (h *health) rose() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inARow = 0
	if h.down == nil {
		return
	}
	was := h.since
	h.down, h.since = nil, h.now()
	h.log.WithField("outage", h.since.Sub(was).Round(time.Millisecond).String()).Warn("store is up again")
}

// watch probes until the store is closed.
func (h *health) watch() {
	h.probe()
	close(h.first)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
			h.probe()
		}
	}
}

// probe asks the driver how it does. One that does not answer is down, without any further proof.
func (h *health) probe() {
	ctx, cancel := context.WithTimeout(h.ctx, h.timeout)
	defer cancel()
	err := safely(func() error { return h.driver.probe(ctx) })
	if h.ctx.Err() != nil {
		return
	}
	if err != nil {
		h.mu.Lock()
		h.note(err)
		h.mu.Unlock()
		h.fell(err)
		return
	}
	h.rose()
	records, octets := int64(-1), int64(-1)
	// A size that cannot be told is no outage.
	_ = safely(func() error { records, octets = h.driver.size(ctx); return nil })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records, h.octets = records, octets
}

// Healthy returns nil, or what the operator should know, for /readyz: why operations fail, or why what is written is not
// on the disk yet. It asks nobody.
func (s *Store) Healthy() error {
	if err := s.health.admit(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.driver.trouble(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// Status tells how the store does, at once: it asks nobody.
func (s *Store) Status() Status {
	h := s.health
	now := s.Healthy()
	h.mu.Lock()
	defer h.mu.Unlock()
	st := Status{
		Driver: h.name, Place: h.driver.place(), OK: now == nil,
		Since: h.since, ErrorAt: h.lastAt, Errors: h.errors, Records: h.records, Octets: h.octets,
	}
	switch {
	case now != nil:
		st.Error = now.Error()
	case h.last != nil:
		st.Error = h.last.Error()
	}
	return st
}
