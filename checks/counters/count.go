package counters

import (
	"context"
	"errors"
	"strings"

	"milterd/checks"
)

// count counts an event of a client that is not under a block in force.
func (c *check) count(ctx context.Context, r *checks.Request, conn *connection, e checks.Event) error {
	switch e.Kind {
	case checks.Accepted:
		n := distinctAccepted(r.Envelope.Rcpts)
		conn.delivered += min(n, maxWeight)
		conn.resets, conn.bad = max(conn.resets-1, 0), max(conn.bad-1, 0)
		conn.accepted += n
		if conn.delivered >= maxUncounted {
			return c.countDeliveries(ctx, conn)
		}
	case checks.Reset:
		if distinctAccepted(e.Reset.Rcpts) > 0 {
			return c.countReset(ctx, r, conn)
		}
	case checks.BadRecipient:
		var err error
		for range guesses(r) {
			err = errors.Join(err, c.countBadRecipient(ctx, r, conn), c.countError(ctx, r, conn, checks.RcptTo))
		}
		return err
	case checks.Refused:
		if e.Stage > checks.RcptTo {
			// A client that sends the message is not looking for addresses, even if the message is refused.
			conn.accepted += distinctAccepted(r.Envelope.Rcpts)
		}
		if e.Reply.Code >= 500 {
			return c.countError(ctx, r, conn, e.Stage)
		}
	}
	return nil
}

// isUnknown reports whether the MTA refused a recipient because it does not exist. 5.7.1 is a relay refusal. 5.1.7 and 5.1.8
// are about the sender's address (RFC 3463 section 3.2), and so is 5.1.0, which Postfix sends at RCPT.
func isUnknown(enhanced string) bool {
	return strings.HasPrefix(enhanced, "5.1.") && enhanced != "5.1.0" && enhanced != "5.1.7" && enhanced != "5.1.8"
}

// maxProbes is the number of unknown recipients that a bounce or a callout of another site may have: a callout asks for a random
// address first. With one, a callout would count; with twice as many, guessing would need half as many transactions.
const maxProbes = 2

// guesses returns how many unknown recipients the current one adds to the counts. Those of a null reverse-path count from the third
// one of a transaction on. Fewer are a bounce or a callout: whoever forges mail with addresses of this site makes other sites send
// these, and must not block the mail of these sites.
func guesses(r *checks.Request) int {
	if !isUnknown(r.Rcpt().Refused) {
		return 0
	}
	if !r.Envelope.MailFrom.IsNull() {
		return 1
	}
	unknown := 0
	for _, rcpt := range r.Envelope.Rcpts {
		if isUnknown(rcpt.Refused) {
			unknown++
		}
	}
	switch {
	case unknown <= maxProbes:
		return 0
	case unknown == maxProbes+1:
		return unknown
	}
	return 1
}

// countReset counts a transaction that was given up.
func (c *check) countReset(ctx context.Context, r *checks.Request, conn *connection) error {
	if !conn.counts(tooManyResets) {
		return nil
	}
	conn.resets++
	if c.Resets == 0 || conn.resets <= c.Resets {
		return nil
	}
	return c.pass(ctx, r, conn, tooManyResets)
}

// countBadRecipient counts a recipient that does not exist. The accepted recipients of the open transaction outweigh it if
// they are distinct: one known address, repeated, does not excuse any number of guesses.
func (c *check) countBadRecipient(ctx context.Context, r *checks.Request, conn *connection) error {
	if !conn.counts(tooManyBadRecipients) {
		return nil
	}
	conn.bad++
	conn.unknown++
	if c.BadRecipients == 0 || conn.bad <= c.BadRecipients || conn.unknown <= conn.accepted+distinctAccepted(r.Envelope.Rcpts) {
		return nil
	}
	return c.pass(ctx, r, conn, tooManyBadRecipients)
}

// countError counts an error of the client at a stage, across its connections. Up to RCPT, the accepted recipients of the open
// transaction, up to maxOpen, outweigh errors as deliveries do: a message to many recipients has its unknown ones refused before the
// others get it.
func (c *check) countError(ctx context.Context, r *checks.Request, conn *connection, st checks.Stage) error {
	if c.Errors == 0 || !conn.counts(tooManyErrors) {
		return nil
	}
	t, err := c.add(ctx, conn, 1)
	if err != nil || t.count() <= c.Errors {
		return err
	}
	open := 0
	if st <= checks.RcptTo {
		open = min(distinctAccepted(r.Envelope.Rcpts), maxOpen)
	}
	if t.errors() <= t.deliveries()+open {
		return nil
	}
	if err := c.pass(ctx, r, conn, tooManyErrors); err != nil || conn.counts(tooManyErrors) {
		return err
	}
	return c.env.Store.Delete(ctx, conn.key(tallyKind))
}

// maxOpen is the highest number of accepted recipients of an open transaction that outweigh errors. A site may accept every address of a
// domain. 100 recipients are what each MTA must take (RFC 5321 section 4.5.3.1.8). With half of it, a message to 260 recipients of whom 60
// do not exist blocks its client; with double, a client may guess twice as many addresses.
const maxOpen = 100

// maxWeight is the highest number of deliveries that a message counts as. A refused message is one error, and one spam that is let in
// must not outweigh any number of them. 50 is the number of recipients that Postfix puts in a message. With half of it, a list in messages
// to 100 recipients is blocked if over a quarter of them do not exist; with double, one spam outweighs 100 refused messages.
const maxWeight = 50

// maxUncounted is the number of deliveries from which those of an open connection are counted: errors in other connections of the
// client are compared with them. A message to as many recipients is counted at once. With half of it, a connection with messages to one
// recipient each writes twice as often; with double, a client that sends all its mail over a few long connections is blocked for a few more
// errors than it should be.
const maxUncounted = 16

// countDeliveries counts the deliveries of a connection.
func (c *check) countDeliveries(ctx context.Context, conn *connection) error {
	if c.Errors == 0 || conn.delivered == 0 {
		return nil
	}
	_, err := c.add(ctx, conn, 0)
	return err
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

// tally is what a client did in the window, in all connections to all hosts: the errors, the deliveries, and the errors that
// later deliveries forgave. Each recipient of a delivered message is a delivery, up to maxWeight of a message. An unknown recipient is
// an error, and so is a refused message, whatever the number of its recipients. The tally is one number with 21 bits for each, so that
// one atomic Add counts an event and returns all three. With three numbers, two hosts could both miss the moment when the limit is
// passed. Over 2 million errors in a window run into the deliveries, in the client's favour. Deliveries end at maxDeliveries.
type tally int64

const tallyBits = 21

// maxDeliveries is the highest number of deliveries that is kept. If they ran into the next field, they would be few again, and the
// client would be blocked for its errors. The field has room for 1<<16 more, as several connections may add theirs before the excess is
// taken off: with half of that, 500 may do so at once.
const maxDeliveries = 1<<tallyBits - 1<<16

func newTally(errors, deliveries, forgiven int) tally {
	return tally(errors) + tally(deliveries)<<tallyBits + tally(forgiven)<<(2*tallyBits)
}

func (t tally) errors() int     { return int(t & (1<<tallyBits - 1)) }
func (t tally) deliveries() int { return int(t >> tallyBits & (1<<tallyBits - 1)) }
func (t tally) forgiven() int   { return int(t >> (2 * tallyBits)) }

// count returns the number of errors that no later delivery forgave.
func (t tally) count() int { return t.errors() - t.forgiven() }

// add counts errors, and before them the deliveries of the connection that are not counted yet, so that deliveries cost at
// most one Add per connection. Each delivery forgives one earlier error. A client without errors needs no second Add, unless it has
// over maxDeliveries.
func (c *check) add(ctx context.Context, conn *connection, errors int) (tally, error) {
	key := conn.key(tallyKind)
	total, err := c.env.Store.Add(ctx, key, int64(newTally(errors, conn.delivered, 0)), c.Window)
	if err != nil {
		return 0, err
	}
	t := tally(total)
	forgiven := max(min(conn.delivered, t.count()-errors), 0)
	over := max(min(conn.delivered, t.deliveries()-maxDeliveries), 0)
	conn.delivered = 0
	if forgiven > 0 || over > 0 {
		total, err = c.env.Store.Add(ctx, key, int64(newTally(0, -over, forgiven)), c.Window)
		t = tally(total)
	}
	return t, err
}
