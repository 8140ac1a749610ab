// Package mirror says whether the big receivers would take the mail that leaves this site. It never refuses or delays mail.
//
// A Collector receives each message that a trusted client sends to other sites, has it judged in the background, and counts its
// Findings (finding.go) by domain and user (tally.go). Reports sum up the last days of all hosts that share the store
// (report.go), and say what receivers do with such mail (verdict.go). What is found about a message comes from Options.Outgoing:
// package main judges with the facts that checks use.
//
// Start reading at Collector.
package mirror

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/periodic"
	"milterd/milter/queue"
)

const (
	// maxQueued is the size of the messages that wait to be judged. With half of it, a slow DNS loses messages after half the time;
	// with twice as much, the queue may take twice the memory.
	maxQueued = 8 << 20 // bytes
	// judges is how many messages are judged at the same time. Nearly all questions are about the own domains, so the cache has the
	// answers. With half of it, fewer foreign domains with slow servers fill the queue.
	judges = 4
	// judgeTimeout bounds the DNS questions about one message.
	judgeTimeout = 10 * time.Second
	// reportTimeout is how long a report waits for messages that are not judged yet.
	reportTimeout = 2 * time.Second
	// flushInterval is how often the store is written. A crash loses the counts of this time.
	flushInterval = time.Minute
	// flushTimeout bounds one write of all counts that changed.
	flushTimeout = 20 * time.Second
)

// Message is a message that leaves the site.
type Message struct {
	Time   time.Time
	Queue  string         // id that the MTA gave it
	Domain string         // author domain, or else that of the reverse-path; may be empty
	Own    bool           // Domain is one of the site
	User   string         // who sent it: the authenticated user, or else the address of the client
	To     map[string]int // recipients with personal accounts, by receiver
	Size   int            // bytes that Judge holds

	// Judge asks the DNS and returns what is found. It is called once, in another goroutine.
	Judge func(ctx context.Context) Judgement
}

// Judgement is what is found about a message.
type Judgement struct {
	Hits      []Hit
	Unsigned  bool     // no signature of the domain yet; a program after milterd may sign
	Selectors []string // of valid signatures of the author's domain
}

// Hit is a finding that applies.
type Hit struct {
	*Finding
	Seen   string   // the value, as a clause; may have remote text
	Repair []string // records for a zone file that repair it, each a line
}

// Options configure a Collector.
type Options struct {
	// Outgoing returns the message of a trusted client that was accepted, or nil if it does not leave the site. It is called in the
	// session's goroutine, so it must be quick. It must not retain r.
	Outgoing func(r *checks.Request) *Message
	Now      func() time.Time
	Log      *logrus.Entry // gets a warning when messages are not judged; may be nil
}

// Collector counts the findings of outgoing messages. It implements milter.Journal. It drops and counts the messages for which there
// is no room. It is safe for concurrent use.
type Collector struct {
	store  checks.Store
	opts   Options
	queue  *queue.Writer[*Message]
	stop   context.CancelFunc
	ended  sync.WaitGroup
	writes chan struct{} // holds a value while flush writes

	mu     sync.Mutex // guards counts
	counts counts
}

// Open starts a Collector. Close ends it.
func Open(store checks.Store, opts Options) *Collector {
	c := &Collector{store: store, opts: opts, writes: make(chan struct{}, 1), counts: newCounts()}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.queue = queue.New(queue.Config[*Message]{
		MaxBytes: maxQueued,
		Size:     func(m *Message) int { return m.Size },
		Write:    c.judge,
		OnDrop:   queue.Warn(opts.Log, "messages", "outgoing messages that the mirror did not judge since the start: the DNS or the store is too slow"),
	})
	c.ended.Go(func() {
		// What is not written is written the next time.
		periodic.Run(ctx, flushInterval, flushTimeout, func(ctx context.Context) { _ = c.flush(ctx) })
	})
	return c
}

// Decided implements milter.Journal. The mirror judges only accepted messages.
func (c *Collector) Decided(*checks.Request, checks.Decision) {}

// Accepted implements milter.Journal.
func (c *Collector) Accepted(r *checks.Request) {
	if !r.Trusted() {
		return
	}
	if m := c.opts.Outgoing(r); m != nil {
		c.queue.Add(m)
	}
}

// judge judges a batch of messages, and counts what is found. Message.Judge may panic, as on a malformed DNS answer.
func (c *Collector) judge(batch []*Message) {
	c.queue.Each(batch, judges, func(m *Message) error {
		ctx, cancel := context.WithTimeout(context.Background(), judgeTimeout)
		defer cancel()
		j := m.Judge(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		if lost := c.counts.add(m, j); lost {
			c.queue.Drop(1, nil)
		}
		return nil
	})
}

// flush writes the counts that changed. One call writes at a time: of two records of a subject, the newer one must be written last.
func (c *Collector) flush(ctx context.Context) error {
	select {
	case c.writes <- struct{}{}:
		defer func() { <-c.writes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	changed := c.counts.takeChanged(day(c.opts.Now().Add(-time.Hour))) // a message of last night may still be judged
	c.mu.Unlock()
	for i, r := range changed {
		if err := c.store.Put(ctx, r.key, r.value, keep); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.counts.putBack(changed[i:])
			return err
		}
	}
	return nil
}

// Waiting returns the size of what waits to be judged, in bytes.
func (c *Collector) Waiting() int { return c.queue.Size() }

// Close judges what waits and writes the counts, for at most the timeout.
func (c *Collector) Close(timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c.queue.Close(timeout / 2)
	c.stop()
	c.ended.Wait()
	_ = c.flush(ctx) // the store logs its outages
}
