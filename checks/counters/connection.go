package counters

import (
	"context"
	"slices"
	"time"

	"milterd/checks"
)

// connection is the state of one connection, for one subject.
type connection struct {
	subject                  // what is counted
	block   *block           // as last read, see findBlock; nil if there is none; use blockAt
	passed  []*checks.Reason // limits that this connection passed: it is refused for them, not as client-blocked
	loaded  bool             // block was read

	resets, bad       int // counts that each delivery lowers by one
	unknown, accepted int // recipients, without the accepted ones of the open transaction
	delivered         int // deliveries that are not in the tally yet
}

// The keys of checks.Remember.
type (
	connectionKey struct{}
	loadKey       struct{}
)

// lastConnection returns the state of the connection for the subject of the last transaction. It is nil if the client is unknown.
func lastConnection(r *checks.Request) *connection {
	client := checks.ClientOf(r.Client)
	if !client.IsValid() {
		return nil
	}
	conn, _ := checks.Remember(r, checks.Connect, connectionKey{}, func() (*connection, error) {
		return &connection{subject: subject{client: client}}, nil
	})
	return conn
}

// connectionOf returns the state of the connection for the subject of the current transaction, or nil. When the sender's domain of a
// good sender changes, the state begins anew: a client could make it grow by any number of domains.
func (c *check) connectionOf(ctx context.Context, r *checks.Request) *connection {
	conn := lastConnection(r)
	if conn == nil {
		return nil
	}
	if s := (subject{client: conn.client, sender: c.pairDomain(ctx, r)}); conn.subject != s {
		if err := c.countDeliveries(ctx, conn); err != nil {
			c.logFailure(r.Time, err)
		}
		*conn = connection{subject: s}
	}
	return conn
}

// load reads the block that holds for the subject, once per connection, or once per transaction while the store fails.
func (c *check) load(ctx context.Context, r *checks.Request, conn *connection) error {
	if conn.loaded {
		return nil
	}
	_, err := checks.Remember(r, checks.MailFrom, loadKey{}, func() (struct{}, error) {
		b, err := findBlock(ctx, c.env.Store, conn.subject, r.Time)
		if b != nil {
			conn.block = b
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

// spanFor returns the span of the block for which a reason of this check applies to the current recipient, or nil. The reason is the
// limit if this connection passed it, or if the limit is not enforced for the recipient, and else client-blocked.
func (conn *connection) spanFor(r *checks.Request, reason *checks.Reason) *span {
	b := conn.blockAt(r.Time)
	switch {
	case reason != blocked:
		return b.span(reason)
	case b == nil:
		return nil
	case b.InForce:
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
