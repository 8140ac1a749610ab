package counters

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// conn is what is known in one connection. The goroutine of its session owns it.
type conn struct {
	client netip.Prefix
	block  *block           // as last seen; nil: none. Use blockAt
	passed []*checks.Reason // limits that this connection passed, or that were first enforced in it: they answer for the block

	resets, bad       int // as the limits count them: each delivery takes one off
	unknown, accepted int // recipients; accepted ones of the open transaction are not counted yet
	delivered         int // messages that are not in the tally yet
}

// connKey and loadKey are the keys of checks.Remember.
type (
	connKey struct{}
	loadKey struct{}
)

// connOf finds what is known in the session's connection; nil if its client is unknown.
func connOf(s *checks.Request) *conn {
	k, _ := checks.Remember(s, checks.Connect, connKey{}, func() (*conn, error) {
		if p := ClientOf(s.Client); p.IsValid() {
			return &conn{client: p}, nil
		}
		return nil, nil
	})
	return k
}

// load looks for a block, once per connection, or once per transaction while the store fails.
func (c *check) load(ctx context.Context, s *checks.Request, k *conn) error {
	_, err := checks.Remember(s, checks.Connect, loadKey{}, func() (struct{}, error) {
		b, err := getBlock(ctx, c.env.Store, k.client)
		if b != nil {
			k.block = b
		}
		return struct{}{}, err
	})
	return err
}

// blockAt is what lasts of the block, in force or not; nil if nothing does.
func (k *conn) blockAt(now time.Time) *block {
	if k.block = k.block.at(now); k.block == nil {
		k.passed = nil
	}
	return k.block
}

// elsewhere is the first limit of a block, not in force yet, that is enforced and that this connection has not passed itself;
// nil if there is none.
func (k *conn) elsewhere(s *checks.Request, b *block) *checks.Reason {
	for _, r := range limits() {
		if b.has(r) && !slices.Contains(k.passed, r) && s.Action(r).Enforced() {
			return r
		}
	}
	return nil
}

// counts tells whether it matters how often a limit is violated: no longer when it is passed.
func (k *conn) counts(limit *checks.Reason) bool { return k.block.span(limit) == nil }

// clear forgets what was counted towards a limit.
func (k *conn) clear(limit *checks.Reason) {
	switch limit {
	case tooManyResets:
		k.resets = 0
	case tooManyBadRecipients:
		k.bad, k.unknown, k.accepted = 0, 0, 0
	case tooManyErrors:
		k.delivered = 0
	}
}

func anyAccepted(rcpts []checks.Recipient) bool {
	return slices.ContainsFunc(rcpts, func(r checks.Recipient) bool { return r.Refused == "" })
}

// distinct is the number of different accepted recipients.
func distinct(rcpts []checks.Recipient) int {
	if len(rcpts) == 1 && rcpts[0].Refused == "" {
		return 1
	}
	seen := map[string]bool{}
	for _, r := range rcpts {
		if r.Refused == "" {
			seen[strings.ToLower(r.Text)] = true
		}
	}
	return len(seen)
}

// tally is what a client did in the window, in all connections to all hosts: its errors, its deliveries, and how many errors
// those made good for. It is one number, 21 bits each, so that one Add counts and tells, and no two hosts can see the same
// total. Errors or deliveries beyond 2 million a window run over into the next field, in the client's favour.
type tally int64

const tallyBits = 21

func tallyOf(errors, deliveries, forgiven int) tally {
	return tally(errors) + tally(deliveries)<<tallyBits + tally(forgiven)<<(2*tallyBits)
}

func (t tally) errors() int     { return int(t & (1<<tallyBits - 1)) }
func (t tally) deliveries() int { return int(t >> tallyBits & (1<<tallyBits - 1)) }
func (t tally) forgiven() int   { return int(t >> (2 * tallyBits)) }

// count is how many errors there are that no later delivery made good for.
func (t tally) count() int { return t.errors() - t.forgiven() }

// add counts errors, after the deliveries of the connection that are not counted yet: so a delivery costs at most one Add per
// connection. Deliveries make good for the errors before them, one each; a client without errors needs no second Add.
func (c *check) add(ctx context.Context, k *conn, errors int) (tally, error) {
	key := tallyKey(k.client)
	total, err := c.env.Store.Add(ctx, key, int64(tallyOf(errors, k.delivered, 0)), c.Window)
	if err != nil {
		return 0, err
	}
	t := tally(total)
	forgiven := min(k.delivered, t.count()-errors)
	k.delivered = 0
	if forgiven > 0 {
		total, err = c.env.Store.Add(ctx, key, int64(tallyOf(0, 0, forgiven)), c.Window)
		t = tally(total)
	}
	return t, err
}
