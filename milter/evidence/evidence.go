// Package evidence notes whom each reason applies to, and what else is known of them: so that an operator learns which watched
// reason is safe to enforce, and whom an enforced one has refused wrongly.
//
// The words, as the reports use them:
//
//   - An occasion of a reason is a mail transaction that it applied to, to however many recipients.
//   - A client is an identity (facts.Identity), as hosts of one site come from many addresses.
//   - A sender is the organisational domain of the reverse-path, if the client may speak for it: it passes SPF, not too widely,
//     or has a confirmed name under the domain. Else it is that domain as this client uses it: what a forger does is never held
//     for or against the domain's owner. A bounce belongs to its client.
//   - A clean message was let in although all was looked for, and no reason applied; reasons that are off in the profile safe, or
//     that can only be watched, are no faults. Since a watched reason lets mail in, messages that it applied to prove nothing.
//   - What speaks against a sender: refusals for other enforced reasons, a listing in a DNSBL or on an access list, a limit passed.
//
// A sender is good, and its mail nothing to be refused, if one of these holds:
//
//   - answered: a user of this site has written to the very address that wrote to the user, before or after. If the client may
//     not speak for the sender, which anybody could forge, this must be so on two days.
//   - delivers: its clean messages (or those of its client, whoever the sender) came in on three days or more, and are more than
//     what speaks against it.
//   - regular: the reason applied to messages that were let in on four days or more, over two weeks or longer, and nothing else
//     speaks against the sender. A small site whose one host has a fault looks like this; so does a persistent spammer that
//     nobody lists, whom the report names and whom the operator may deny: then it counts no more.
//
// Passing SPF is no proof: spammers publish records for the domains that they use for some days. It says for whom a client
// speaks, so that what the domain has earned counts for all its hosts.
//
// Trusted sessions, exempt recipients and what an allow list lets in are no evidence, for nothing was looked for; but those to
// whom such sessions write are answered.
package evidence

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

const (
	// maxWaiting is how many transactions wait for somebody to find out whose they are: some seconds of a busy host.
	maxWaiting = 4096
	// maxRcpts is how many recipients of a transaction are asked whether they have written to the sender. There may be ten thousand,
	// and as many transactions as may wait would have gigabytes of them.
	maxRcpts = 100
	// workers find that out at the same time: mostly it is known, sometimes the DNS must be asked.
	workers = 8
	// patience is how long they ask for one transaction.
	patience = 10 * time.Second
	// maxPending is how many senders are kept until the store takes them, some hundred octets each.
	maxPending = 8192
	// flushEvery is how often the store is told, unless half of maxPending is there sooner. A crash loses no more.
	flushEvery = time.Minute
	// quiet is how long after having told of losses the next ones are told.
	quiet = time.Minute
)

// Who is whose a transaction is.
type Who struct {
	Client string   // identity: a domain, a network, or a domain, a space and a network; empty: unknown
	Sender string   // organisational domain of the reverse-path; empty: a bounce, or an address without a domain
	Own    bool     // the client may speak for Sender
	SPF    bool     // it passes SPF for the reverse-path, not too widely
	Pairs  []string // sender with each recipient, for Options.Known; of many, those of the first
}

// Options is what a Book depends on.
type Options struct {
	// Who finds out whose a transaction is. It receives a checks.Request.Snapshot, and may take its time.
	Who func(ctx context.Context, r *checks.Request) Who
	// Known tells whether the user of one of Who.Pairs has written to the address lately.
	Known func(ctx context.Context, pair string, at time.Time) (bool, error)

	Now func() time.Time // nil: time.Now
	Log *logrus.Entry    // told of losses; nil: nobody is
}

// Book gathers evidence, for all hosts that share the store. It implements milter.Journal: mail never waits for it, and what is
// too much is lost and counted. Store and memory are bounded, whatever comes in: see table.go. It is safe for concurrent use.
type Book struct {
	store checks.Store
	opts  Options
	name  string // of this process, for the lock in the store

	mu      sync.Mutex
	idle    sync.Cond // told when waiting becomes 0
	closed  bool
	queue   chan item
	waiting int // in the queue, or being worked on
	pending pending

	working  sync.WaitGroup
	flushing sync.Mutex
	kick     chan struct{} // there is much to write
	stop     chan struct{}
	lost     atomic.Uint64
	told     atomic.Int64 // when losses were last told, in Unix seconds
}

// Open begins to gather evidence. End it with Close.
func Open(store checks.Store, opts Options) *Book {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Book{
		store: store, opts: opts, name: rand.Text(), queue: make(chan item, maxWaiting),
		kick: make(chan struct{}, 1), stop: make(chan struct{}), pending: newPending(),
	}
	b.idle.L = &b.mu
	for range workers {
		b.working.Go(b.work)
	}
	b.working.Go(b.flushNowAndThen)
	return b
}

// Lost tells of how many transactions the evidence was lost since the start: the store did not take it, or it was too much.
func (b *Book) Lost() uint64 { return b.lost.Load() }

// Close writes what is not written yet, but takes no longer than the patience. What comes after it is lost.
func (b *Book) Close(patience time.Duration) {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b.settle(ctx)
	err := b.flush(ctx)
	b.mu.Lock()
	b.lose(uint64(len(b.pending.entries)), err)
	b.mu.Unlock()
	close(b.queue)
	close(b.stop)
	done := make(chan struct{})
	go func() { b.working.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// What became of a transaction that a reason applied to.
const (
	seen    = 1 << iota
	passed  // it was let in
	refused // by this reason
	held    // greylisted, for this reason
	anyway  // refused by another one
	spoke   // the reason is one of those that speak against the sender, or refused
)

// transaction is what was told of the open one.
type transaction struct {
	met     []met
	partial bool // not all was looked for
	against bool // something speaks against the sender
}

// met is a reason that applied.
type met struct {
	*checks.Reason
	soft  bool // it is no fault
	known int  // what became of it
}

type transactionKey struct{}

func transactionOf(s *checks.Request) *transaction {
	t, _ := checks.Remember(s, checks.MailFrom, transactionKey{}, func() (*transaction, error) { return new(transaction), nil })
	return t
}

// note notes what became of a reason, and returns what of it is new.
func (t *transaction) note(o checks.Outcome, what int) int {
	i := slices.IndexFunc(t.met, func(m met) bool { return m.Reason == o.Reason })
	if i < 0 {
		i = len(t.met)
		t.met = append(t.met, met{Reason: o.Reason, soft: soft(o)})
	}
	added := what &^ t.met[i].known
	t.met[i].known |= what
	return added
}

// soft tells whether a reason is no fault of the sender: one that the profile safe does not even watch, one that can only be
// watched, or greylisting itself, which faults are for.
func soft(o checks.Outcome) bool {
	return o.Reason.Greylisting || o.Action <= checks.Watch && (o.Reason.Safe == checks.Off || o.Reason.Most == checks.Watch)
}

// item is news of a transaction.
type item struct {
	*checks.Request
	reasons []news
	against bool
	clean   bool
	soft    string // the reasons of a clean message
}

type news struct {
	reason string
	what   int
}

// Decided implements milter.Journal.
func (b *Book) Decided(s *checks.Request, d checks.Decision) {
	if s.Trusted() || len(d.Outcomes) == 0 && !d.Partial {
		return
	}
	t := transactionOf(s)
	t.partial = t.partial || d.Partial
	var i item
	for _, o := range d.Outcomes {
		what := fate(o, d)
		if what == 0 {
			continue
		}
		if added := t.note(o, what); added != 0 {
			i.reasons = append(i.reasons, news{o.Reason.ID, added})
		}
		if what&spoke != 0 && !t.against {
			t.against, i.against = true, true
		}
	}
	if len(i.reasons) > 0 {
		b.add(s, i)
	}
}

// fate is what a decision makes of a transaction that a reason applied to; 0: the reason is the pipeline's own.
func fate(o checks.Outcome, d checks.Decision) int {
	own := func(r *checks.Reason) bool { return slices.Contains(pipelineReasons, r) }
	what := seen
	if o.Reason.Accuses {
		what |= spoke
	}
	switch waits := d.Reason != nil && d.Reason.Greylisting; {
	case own(o.Reason):
		return 0
	case d.Reason == nil, own(d.Reason):
	case waits && o.Action == checks.Greylist:
		what |= held
	case waits: // the reason is greylisting itself, or is watched: as far as it goes, the mail may come again
	case o.Reason == d.Reason:
		what |= refused | spoke
	default:
		what |= anyway
	}
	return what
}

var pipelineReasons = checks.PipelineReasons()

// Accepted implements milter.Journal.
func (b *Book) Accepted(s *checks.Request) {
	if s.Trusted() {
		return
	}
	t := transactionOf(s)
	i := item{clean: !t.partial}
	var softs []string
	for _, m := range t.met {
		i.reasons = append(i.reasons, news{m.ID, passed})
		i.clean = i.clean && m.soft
		softs = append(softs, m.ID)
	}
	if i.clean {
		slices.Sort(softs)
		i.soft = strings.Join(softs, " ")
	}
	if i.clean || len(i.reasons) > 0 {
		b.add(s, i)
	}
}

// add puts news into the queue.
func (b *Book) add(s *checks.Request, i item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if b.waiting >= maxWaiting {
		b.lose(1, nil)
		return
	}
	i.Request = s.Snapshot(maxRcpts)
	b.waiting++
	b.queue <- i // which has room for maxWaiting
}

// work takes news from the queue until it is closed.
func (b *Book) work() {
	for i := range b.queue {
		e, err := b.find(i)
		b.mu.Lock()
		if err != nil {
			b.lose(1, err)
		} else {
			b.pending.sum(i)
			b.keep(week(i.Time), e)
		}
		b.waiting--
		if b.waiting == 0 {
			b.idle.Broadcast()
		}
		b.mu.Unlock()
	}
}

// find makes the entry of some news: whose they are, and what is new. A panic on some odd answer of the DNS loses that alone.
func (b *Book) find(i item) (e *entry, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	who := b.opts.Who(ctx, i.Request)
	e = &entry{Client: cmp.Or(who.Client, "unknown"), Sender: who.Sender, Own: who.Own, SPF: who.SPF, Hits: hits{}}
	once := one(i.Time)
	for _, n := range i.reasons {
		e.Hits.add(n.reason, hitOf(n.what, once))
	}
	if i.against {
		e.Against = once
	}
	if i.clean {
		e.Clean = map[string]tally{i.soft: once}
	}
	if len(i.reasons) > 0 {
		b.findKnown(ctx, e, who.Pairs, i.Time)
	}
	return e, nil
}

// findKnown asks whether one of the recipients has written to the sender. Who has not may do so later, and the report asks again.
func (b *Book) findKnown(ctx context.Context, e *entry, pairs []string, at time.Time) {
	for _, pair := range pairs {
		known, err := b.opts.Known(ctx, pair, at)
		if known && err == nil {
			e.Known = one(at)
			return
		}
	}
	e.Pairs = pairs[:min(len(pairs), maxPairs)]
}

// keep adds to what is to be written. The caller holds mu, as for lose where it matters.
func (b *Book) keep(week int64, e *entry) {
	if !b.pending.add(week, e) {
		b.lose(1, nil)
	}
	if len(b.pending.entries) >= maxPending/2 {
		select {
		case b.kick <- struct{}{}:
		default:
		}
	}
}

// lose counts what was lost, and tells of it now and then.
func (b *Book) lose(n uint64, err error) {
	total := b.lost.Add(n)
	now, told := b.opts.Now().Unix(), b.told.Load()
	if b.opts.Log == nil || n == 0 || now >= told && now-told < int64(quiet/time.Second) || !b.told.CompareAndSwap(told, now) {
		return
	}
	e := b.opts.Log.WithField("transactions", total)
	if err != nil {
		e = e.WithError(err)
	}
	e.Warn("evidence lost since the start: there is too much, or the store does not take it")
}
