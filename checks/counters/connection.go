package counters

import (
	"context"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// connection is the state of one connection, for one subject.
type connection struct {
	subject                  // what is counted
	blockOf subject          // whose block it is: of the subject, of the client, or of a network with it
	block   *block           // as last read, nil if there is none; use blockAt
	passed  []*checks.Reason // limits that this connection passed: it is refused for them, not as client-blocked
	loaded  bool             // block was read

	resets, bad       int // counts that each delivery lowers by one
	unknown, accepted int // recipients, without the accepted ones of the open transaction
	delivered         int // messages that are not in the tally yet
}

// The keys of checks.Remember.
type (
	connectionKey struct{}
	loadKey       struct{}
)

// connectionOf returns the state of the connection. It is nil if the client is unknown. When the sender's domain of a good sender
// changes, the state begins anew: a client could make it grow by any number of domains.
func (c *check) connectionOf(ctx context.Context, r *checks.Request) *connection {
	client := ClientOf(r.Client)
	if !client.IsValid() {
		return nil
	}
	s := subject{client: client, sender: c.pairDomain(ctx, r)}
	conn, _ := checks.Remember(r, checks.Connect, connectionKey{}, func() (*connection, error) {
		return &connection{subject: s, blockOf: s}, nil
	})
	if conn.subject != s {
		if err := c.countDeliveries(ctx, conn); err != nil {
			c.logFailure(r.Time, err)
		}
		*conn = connection{subject: s, blockOf: s}
	}
	return conn
}

// load reads the block of the subject, once per connection, or once per transaction while the store fails.
func (c *check) load(ctx context.Context, r *checks.Request, conn *connection) error {
	if conn.loaded {
		return nil
	}
	_, err := checks.Remember(r, checks.MailFrom, loadKey{}, func() (struct{}, error) {
		of := conn.subject
		b, err := getBlock(ctx, c.env.Store, of)
		if conn.sender != "" && b.at(r.Time) == nil && err == nil {
			of = subject{client: conn.client}
			if b, err = getBlock(ctx, c.env.Store, of); b != nil && b.Level > 0 {
				b = nil // of the time before it was a good sender
			}
		}
		if b.at(r.Time) == nil && err == nil {
			b, of, err = networkBlock(ctx, c.env.Store, conn.client)
		}
		if b != nil {
			conn.block, conn.blockOf = b, of
		}
		conn.loaded = err == nil
		return struct{}{}, err
	})
	return err
}

// blockAt returns the block, pending or in force, as far as it has not ended.
func (conn *connection) blockAt(now time.Time) *block {
	if conn.block = conn.block.at(now); conn.block == nil {
		conn.passed = nil
	}
	return conn.block
}

// blockedBefore returns the span of b for which the connection is refused as client-blocked: that of a block in force, or of
// the first limit that is enforced for the recipient. It is nil if there is none, or if the connection passed the limit itself.
func (conn *connection) blockedBefore(r *checks.Request, b *block) *span {
	if b.InForce {
		if slices.ContainsFunc(conn.passed, b.has) {
			return nil
		}
		return &b.Spans[0]
	}
	for _, limit := range limits {
		if sp := b.span(limit); sp != nil && !slices.Contains(conn.passed, limit) && r.Action(limit).Enforced() {
			return sp
		}
	}
	return nil
}

// counts reports whether violations of a limit are counted, which ends when the limit is passed.
func (conn *connection) counts(limit *checks.Reason) bool { return !conn.block.has(limit) }

// clear sets the counts of a limit to zero.
func (conn *connection) clear(limit *checks.Reason) {
	switch limit {
	case tooManyResets:
		conn.resets = 0
	case tooManyBadRecipients:
		conn.bad, conn.unknown, conn.accepted = 0, 0, 0
	case tooManyErrors:
		conn.delivered = 0
	}
}

// distinctAccepted returns the number of accepted recipients, each counted once.
func distinctAccepted(rcpts []checks.Recipient) int {
	seen := map[string]bool{}
	for _, rcpt := range rcpts {
		if rcpt.Refused == "" {
			seen[strings.ToLower(rcpt.Text)] = true
		}
	}
	return len(seen)
}
