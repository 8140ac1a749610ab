package counters

import "context"

// tally is what a client did in the window, in all connections to all hosts: the errors, the deliveries, and the errors that
// later deliveries forgave. It is one number with 21 bits for each, so that one atomic Add counts an event and returns all
// three. With three numbers, two hosts could both miss the moment when the limit is passed. Over 2 million errors or deliveries
// in a window run into the next field, in the client's favour.
type tally int64

const tallyBits = 21

func newTally(errors, deliveries, forgiven int) tally {
	return tally(errors) + tally(deliveries)<<tallyBits + tally(forgiven)<<(2*tallyBits)
}

func (t tally) errors() int     { return int(t & (1<<tallyBits - 1)) }
func (t tally) deliveries() int { return int(t >> tallyBits & (1<<tallyBits - 1)) }
func (t tally) forgiven() int   { return int(t >> (2 * tallyBits)) }

// count returns the number of errors that no later delivery forgave.
func (t tally) count() int { return t.errors() - t.forgiven() }

// add counts errors, and before them the deliveries of the connection that are not counted yet, so that deliveries cost at
// most one Add per connection. Each delivery forgives one earlier error; a client without errors needs no second Add.
func (c *check) add(ctx context.Context, conn *connection, errors int) (tally, error) {
	key := conn.key(tallyKind)
	total, err := c.env.Store.Add(ctx, key, int64(newTally(errors, conn.delivered, 0)), c.Window)
	if err != nil {
		return 0, err
	}
	t := tally(total)
	forgiven := min(conn.delivered, t.count()-errors)
	conn.delivered = 0
	if forgiven > 0 {
		total, err = c.env.Store.Add(ctx, key, int64(newTally(0, 0, forgiven)), c.Window)
		t = tally(total)
	}
	return t, err
}
