package resolver

import (
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/miekg/dns"

	"milterd/checks"
)

// How long something is known.
const (
	// minTTL is at least a session: what was asked when the client came must still be there at the end of the header,
	// also with a TTL of 0, which means "for the transaction in progress" (RFC 1035 section 3.2.1). Here that is the
	// session. It is too the life of a negative answer without SOA, which RFC 2308 section 5 would not have kept.
	minTTL = 30 * time.Second

	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour // RFC 2308 section 5 advises one to three hours

	// failureTTL spares a session that asks for one thing in several checks from waiting for several time-outs. RFC 9520
	// section 3.2 wants 1 s at least, 5 min at most.
	failureTTL = 5 * time.Second
)

// known is what is known about a question.
type known struct {
	answer checks.Answer
	err    error
	ttl    time.Duration // from when it was learned; 0: not to be kept
}

// cache keeps what is known until it is too old or the memory is needed for what is asked more often. It is safe for
// concurrent use and has no goroutines.
type cache struct {
	entries *otter.Cache[checks.Question, *known]
}

// newCache makes a cache of about so many octets. elapsed is the time since some moment.
func newCache(octets int, elapsed func() time.Duration) (*cache, error) {
	entries, err := otter.New(&otter.Options[checks.Question, *known]{
		MaximumWeight: uint64(octets),
		Weigher:       weight,
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[checks.Question, *known]) time.Duration {
			return e.Value.ttl
		}),
		Clock:    cacheClock(elapsed),
		Executor: func(f func()) { f() }, // no goroutines to wait for at Close
	})
	if err != nil {
		return nil, err
	}
	return &cache{entries}, nil
}

func (c *cache) get(q checks.Question) (known, bool) {
	k, ok := c.entries.GetIfPresent(q)
	if !ok {
		return known{}, false
	}
	return *k, true
}

func (c *cache) put(q checks.Question, k known) {
	if k.ttl > 0 {
		c.entries.Set(q, &k)
	}
}

func (c *cache) forget(q checks.Question) { c.entries.Invalidate(q) }

// weight estimates the octets of memory that an entry takes, rather too high: the heap grew by 206 for a negative answer,
// 326 with one A record, 534 with a TXT record of 200 octets, 1430 with ten A records.
func weight(q checks.Question, k *known) uint32 {
	octets := 220 + len(q.Name)
	for _, rr := range k.answer.Records {
		octets += 100 + dns.Len(rr)
	}
	return uint32(octets) // at most some MiB: a message has 64 KiB, and a record 11 octets or more
}

// cacheClock is the time for otter: since the resolver was made, so that a step of the wall clock changes nothing.
type cacheClock func() time.Duration

func (c cacheClock) NowNano() int64 { return int64(c()) }

// Tick says that there are no ticks: what has expired goes with later writes.
func (cacheClock) Tick(time.Duration) <-chan time.Time { return nil }
