// Package evidence collects what is known of the senders to whose mail each reason applied. Its reports say which
// watched reason is safe to enforce, and which good senders an enforced reason has refused.
//
// Start reading at Collector. Its methods Decided and Accepted make an update of what a decision adds to a mail transaction
// (transaction.go). In the background, an update is attributed to a client and a sender, and becomes an entry (entry.go).
// Entries of the same client and sender are added, and written to the store that all hosts of a site share (buckets.go).
// Reports read the last weeks of all hosts (report.go) and judge each reason (judge.go). good.go says who is a good sender,
// relays.go who passes on mail of others, and index.go answers both questions of checks.
//
// A tally counts one kind of event. The counts of a reason are tallies of what became of the transactions that it applied
// to. An entry has the counts of each reason for one client and sender.
//
// Trusted clients, exempt recipients and mail that an allow list lets in are no evidence, as they are not checked.
package evidence

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/periodic"
	"milterd/milter/queue"
)

const (
	// maxQueued is the size of the transactions that wait to be attributed: 4,096 of average size, which a busy host
	// makes in some seconds. With half of it, evidence is lost after half the time; with twice as much, the queue may
	// take twice the memory.
	maxQueued = 16 << 20 // bytes
	// maxRcpts is how many recipients of a transaction are kept, see Origin.Pairs.
	maxRcpts = 100
	// lookups is how many transactions are attributed at the same time. Few need a DNS question that no check has asked.
	// With half of it, fewer slow name servers fill the queue; with twice as much, twice as many questions are asked at
	// once.
	lookups = 8
	// linger is how long a transaction waits for others, to be attributed with them: starting goroutines for each one took 3 percent
	// of the CPU time in the benchmark hot10. With half of it, a quiet host starts them more often; with twice as much, a crash loses
	// the evidence of as much more time.
	linger = 100 * time.Millisecond
	// lookupTimeout bounds the attribution of one transaction.
	lookupTimeout = 10 * time.Second
	// queueTimeout is how long a report waits for transactions that are not attributed yet.
	queueTimeout = 5 * time.Second
	// flushInterval is how often the store is written. A crash loses the evidence of this time. With half of it, the
	// store is written twice as often; with twice as much, the reports of other hosts lack twice as much.
	flushInterval = time.Minute
)

// Origin is the client and the sender that a transaction is attributed to.
type Origin struct {
	Client   string   // see facts.Identity: a domain, a network, or both with a space between them; empty if unknown
	Sender   string   // organisational domain of the reverse-path; of a bounce, that of the client; empty if there is none
	Verified bool     // the client may send for Sender: by SPF or by its confirmed name
	SPF      bool     // SPF passes for the reverse-path, by a record that is not too wide
	Pairs    []string // keys of the sender with each recipient, for Options.Known
}

// Options configure a Collector.
type Options struct {
	// Origin attributes a transaction. It receives a checks.Request.Snapshot, and may ask the DNS.
	Origin func(ctx context.Context, r *checks.Request) Origin
	// Authors returns the organisational domains of the From field of an accepted message. It must be quick. It may be nil.
	Authors func(r *checks.Request) []string
	// Known reports whether the recipient in an element of Origin.Pairs has written to the sender lately.
	Known func(ctx context.Context, pair string, at time.Time) (bool, error)

	Now func() time.Time // nil: time.Now
	Log *logrus.Entry    // gets a warning when evidence is lost or cannot be read; may be nil
}

// Collector collects evidence. It implements milter.Journal: it works in the background, and drops and counts the
// transactions for which there is no room. It is safe for concurrent use.
type Collector struct {
	store  checks.Store
	opts   Options
	holder string // names this process as the holder of the lock in the store
	queue  *queue.Writer[update]

	ctx        context.Context // of the goroutines in the background; done after stop
	stop       context.CancelFunc
	background sync.WaitGroup

	index atomic.Pointer[senderIndex] // nil until the first reading
	tried chan struct{}               // closed after the first attempt to read the index

	mu      sync.Mutex // locked while the store is written
	pending pending    // what is not in the store
	failed  bool       // the last flush failed
}

// Open starts a Collector. It returns after the first attempt to read the evidence, or after firstTimeout; then the attempt goes on in
// the background. Close ends the Collector.
func Open(store checks.Store, opts Options) *Collector {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Collector{store: store, opts: opts, holder: rand.Text(), pending: newPending(), tried: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.queue = queue.New(queue.Config[update]{
		MaxBytes: maxQueued,
		Size:     update.size,
		Write:    c.attribute,
		Linger:   linger,
		OnDrop:   queue.Warn(opts.Log, "transactions", "evidence lost since the start: the DNS or the store is too slow, or the store is down"),
	})
	c.background.Go(func() {
		periodic.Run(c.ctx, flushInterval, flushTimeout, func(ctx context.Context) { _ = c.flush(ctx) })
	})
	c.background.Go(c.keepFresh)
	select {
	case <-c.tried:
	case <-time.After(firstTimeout):
	}
	return c
}

// Decided implements milter.Journal.
func (c *Collector) Decided(r *checks.Request, d checks.Decision) {
	if r.Trusted() || len(d.Outcomes) == 0 && !d.Partial {
		return
	}
	if u := transactionOf(r).decided(d, newTally(r.Time)); len(u.reasons) > 0 {
		c.add(r, u)
	}
}

// Accepted implements milter.Journal.
func (c *Collector) Accepted(r *checks.Request) {
	if r.Trusted() {
		return
	}
	u := transactionOf(r).accepted(r.Marks(), newTally(r.Time))
	if !u.clean && len(u.reasons) == 0 {
		return
	}
	if c.opts.Authors != nil {
		for _, a := range c.opts.Authors(r) {
			u.authors = append(u.authors, strings.Clone(a)) // a may be part of a long header field
		}
	}
	c.add(r, u)
}

func (c *Collector) add(r *checks.Request, u update) {
	u.Request, u.rcpts = r.Snapshot(maxRcpts), len(r.Envelope.Rcpts)
	c.queue.Add(u)
}

// attribute makes the entries of a batch, and adds them to what the next flush writes.
func (c *Collector) attribute(batch []update) {
	c.queue.Each(batch, lookups, func(u update) error {
		e := c.entryOf(u)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.addPending(week(u.Time), e)
		return nil
	})
	c.flushIfMuch()
}

// unknownClient stands for clients without an address and private ones.
const unknownClient = "unknown"

// entryOf returns the entry of an update. It may panic, as on a malformed DNS answer.
func (c *Collector) entryOf(u update) *entry {
	ctx, cancel := checks.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	from := c.opts.Origin(ctx, u.Request)
	once := newTally(u.Time)
	e := &entry{
		Client: cmp.Or(from.Client, unknownClient), Sender: from.Sender, Verified: from.Verified, SPF: from.SPF, Reasons: u.reasons,
	}
	if u.against {
		e.Against = once
	}
	if u.clean {
		e.Clean = once
	}
	e.addRelayed(u.authors, once)
	if len(u.reasons) > 0 {
		c.findKnown(ctx, e, from.Pairs, u.Time)
	}
	return e
}

// findKnown asks whether one of the recipients has written to the sender. If not, the entry keeps some pairs, and a
// report asks again: a recipient may write to the sender later.
func (c *Collector) findKnown(ctx context.Context, e *entry, pairs []string, at time.Time) {
	for _, pair := range pairs {
		if known, err := c.opts.Known(ctx, pair, at); known && err == nil {
			e.Known = newTally(at)
			return
		}
	}
	e.Pairs = slices.Clone(pairs[:min(len(pairs), maxPairs)]) // keeps the others out of memory
}

// Waiting returns the size of what waits to be attributed, in bytes.
func (c *Collector) Waiting() int { return c.queue.Size() }

// Lost returns the number of transactions since the start whose evidence was lost.
func (c *Collector) Lost() uint64 { return c.queue.Dropped() }

// Close writes what is not in the store, for at most the timeout. Later evidence is lost.
func (c *Collector) Close(timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c.queue.Close(timeout / 2)
	c.stop()
	c.background.Wait()
	err := c.flush(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.Drop(len(c.pending.entries), err)
	c.pending = newPending()
}
