package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/periodic"
)

const (
	// toleratedFailures is how many failures in a row do not count as an outage. With half as many, two lost packets
	// are one; with double, each of five operations waits for the timeout before the store is down.
	toleratedFailures = 2

	// probeEvery is the time between two probes. With half, many hosts load a shared server twice as much; with double,
	// an outage lasts up to a second longer.
	probeEvery = time.Second
)

// breaker is a circuit breaker for a driver: it makes operations fail at once during an outage. An outage begins after
// several failed operations or one failed probe, and ends with a successful probe.
type breaker struct {
	driver  driver
	timeout time.Duration
	now     func() time.Time
	log     *logrus.Entry

	ctx    context.Context // done after stop
	cancel context.CancelFunc
	prober sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	inARow   int    // failed operations since the last success
	down     error  // nil if there is no outage
	degraded bool   // at the last probe that succeeded, see driver.degraded
	last     error  // last failure
	status   Status // without Place, OK and Error
}

func newBreaker(d driver, cfg Config) *breaker {
	b := &breaker{
		driver: d, timeout: cfg.Timeout, now: cfg.wall, log: cfg.Log,
		status: Status{Driver: cfg.Driver, Since: cfg.wall(), Records: -1, Bytes: -1},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// start starts the probes. It returns after the first one, or when the time of an operation is over.
func (b *breaker) start() {
	first := make(chan struct{})
	probed := sync.OnceFunc(func() { close(first) })
	b.prober.Go(func() { // also finds outages while there is no mail, for /readyz
		periodic.Run(b.ctx, probeEvery, b.timeout, func(ctx context.Context) {
			b.probe(ctx)
			probed()
		})
	})
	limit := time.NewTimer(b.timeout)
	defer limit.Stop()
	select {
	case <-first:
	case <-limit.C:
		b.failed(errors.New("no answer at the start"), true)
	}
}

// stop ends the probes. It reports whether this is the first call.
func (b *breaker) stop() (first bool) {
	b.mu.Lock()
	first = !b.closed
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.prober.Wait()
	return first
}

// admit returns errClosed, checks.ErrStoreDown with its cause, or nil if an operation may be tried.
func (b *breaker) admit() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	return b.down
}

// succeeded records a successful operation. It does not end an outage: the operation may have started before.
func (b *breaker) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inARow = 0
}

// failed records a failed operation or probe. A probe begins an outage, as do several operations in a row.
func (b *breaker) failed(err error, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.last, b.status.ErrorAt = err, now
	b.status.Errors++
	b.inARow++
	if b.down != nil || b.closed || !probe && b.inARow <= toleratedFailures {
		return
	}
	b.status.Since = now
	b.down = fmt.Errorf("%w since %s: %w", checks.ErrStoreDown, now.Format(time.DateTime), err)
	b.log.WithError(err).Error("store is down")
}

func (b *breaker) endOutage() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inARow = 0
	if b.down == nil {
		return
	}
	began, now := b.status.Since, b.now()
	b.down, b.status.Since = nil, now
	b.log.WithField("outage", now.Sub(began).Round(time.Millisecond).String()).Warn("store is up again")
}

// probe probes the driver once and updates the status.
func (b *breaker) probe(ctx context.Context) {
	err := checks.Protect(func() error { return b.driver.probe(ctx) })
	if b.ctx.Err() != nil {
		return
	}
	if err != nil {
		b.failed(err, true)
		return
	}
	b.endOutage()
	degraded := b.driver.degraded() != nil
	records, bytes := int64(-1), int64(-1)
	_ = checks.Protect(func() error { // an unknown size is no outage
		records, bytes = b.driver.size(ctx)
		return nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Records, b.status.Bytes = records, bytes
	if degraded != b.degraded {
		b.degraded, b.status.Since = degraded, b.now()
	}
}
