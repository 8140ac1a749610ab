// Package counters counts what a client does wrong: transactions that it gives up, unknown recipients, errors. What passes a limit
// is blocked for a time, which is longer with each block. That is a client (an IPv4 address or an IPv6 /64), or the mail of one
// sender's domain from a client that is a good sender (pair.go). The operator can block clients and networks. A block is in one of
// three states:
//
//	none      There is no block, or it has ended. Violations count. One that passes a limit makes the block pending.
//	pending   The block refuses recipients for whom a limit that was passed is enforced. A refusal puts it in force.
//	          Violations of other limits count.
//	in force  The block refuses all recipients. Nothing counts. A block by the operator begins in this state.
//
// The connection that passed the limit is refused for it, others as client-blocked. A watched limit refuses nothing, so its block
// stays pending. Without that state, a watched limit would either block clients, or hide enforced limits and be missing in reports.
//
// Start with Check and Observe; count.go counts, block.go has the block, operator.go what the operator sees and does.
package counters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"milterd/checks"
)

// Settings configure the check. A limit of 0 is off.
type Settings struct {
	Resets        int             `yaml:"resets" doc:"How many transactions with an accepted recipient a client may give up (RSET) in one connection; a delivery takes one off. 0: any number."`
	BadRecipients int             `yaml:"bad_recipients" doc:"How many unknown recipients (5.1.x) a connection may have, if they are more than the accepted ones; a delivery takes one off. 0: any number."`
	Errors        int             `yaml:"errors" doc:"How many 5yz refusals and unknown recipients a client may have in the window, if they are more than its deliveries (of each message, up to 50 recipients); a delivery takes one off. 0: any number."`
	Window        time.Duration   `yaml:"window" doc:"How long errors and deliveries are counted, from the first one on; then the count begins anew."`
	Block         []time.Duration `yaml:"block" doc:"How long a client that passes a limit is blocked: the first time, the second, ..., the last and every time after it."`
}

// maxErrors is the highest limit of errors, half of what a tally can count.
const maxErrors = 1_000_000

// Validate returns an error for negative limits and for times under a second.
func (c Settings) Validate() error {
	var faults []error
	for _, limit := range []struct {
		key string
		n   int
	}{{"resets", c.Resets}, {"bad_recipients", c.BadRecipients}, {"errors", c.Errors}} {
		if limit.n < 0 {
			faults = append(faults, fmt.Errorf("%s: %d is negative; write 0 for no limit", limit.key, limit.n))
		}
	}
	if c.Errors > maxErrors {
		faults = append(faults, fmt.Errorf("errors: %d is too many; write %d or fewer", c.Errors, maxErrors))
	}
	if c.Window < time.Second {
		faults = append(faults, fmt.Errorf("window: %s is too short; write 1s or more", checks.FormatDuration(c.Window)))
	}
	if len(c.Block) == 0 {
		faults = append(faults, errors.New("block: the list is empty; write a duration, such as 1h"))
	} else if shortest := slices.Min(c.Block); shortest < time.Second {
		faults = append(faults, fmt.Errorf("block: %s is too short; write 1s or more", checks.FormatDuration(shortest)))
	}
	return errors.Join(faults...)
}

// Info describes the check. Mail that a forwarder passes on is exempt, as the forwarder is not at fault.
var Info = checks.Define(checks.Info{
	Name: "counters",
	Doc: "Counts what a client (an IPv4 address or an IPv6 /64) does wrong and blocks it for a time when it passes a limit. " +
		"Greylisting, watched reasons and 4yz replies never count; trusted networks and authenticated clients are neither " +
		"counted nor blocked, nor are forwarders for what they pass on. A client that is not blocked for 7 days begins with the shortest block again.",
	Stages:       []checks.Stage{checks.RcptTo},
	Reasons:      []*checks.Reason{blocked, tooManyResets, tooManyBadRecipients, tooManyErrors},
	NotForwarded: true,
}, Settings{
	Resets: 10, BadRecipients: 10, Errors: 35, Window: 24 * time.Hour,
	Block: []time.Duration{time.Hour, 4 * time.Hour, 24 * time.Hour},
}, func(c Settings, env checks.Env) (checks.Check, error) {
	return &check{Settings: c, env: env}, nil
})

type check struct {
	Settings
	env    checks.Env
	logged atomic.Int64 // when a failure of the store was last logged, in Unix seconds
}

// Check implements checks.Check. It runs at each RCPT: counts and blocks change within a connection, and exempt recipients
// such as postmaster stay reachable. The store is read once per connection.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	conn := c.connectionOf(ctx, r)
	if conn == nil {
		return nil, nil
	}
	err := c.load(ctx, r, conn)
	var verdicts []checks.Verdict
	for _, reason := range Info.Reasons {
		sp := conn.spanFor(r, reason)
		if sp == nil {
			continue
		}
		v := conn.block.verdict(reason, sp)
		missed := c.mayBeExempt(ctx, r, conn)
		v.Unsure, err = missed != nil, cmp.Or(err, missed)
		verdicts = append(verdicts, v)
		if reason == blocked {
			break
		}
	}
	return verdicts, err
}

// Observe implements checks.Observer. At the end of a connection that authenticated, it counts the deliveries before that.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	if r.Trusted() && e.Kind != checks.Disconnected {
		return
	}
	conn := lastConnection(r)
	if e.Kind != checks.Reset && e.Kind != checks.Disconnected { // these are about the transaction that ended
		conn = c.connectionOf(ctx, r)
	}
	if conn == nil {
		return
	}
	if err := c.observe(ctx, r, conn, e); err != nil {
		c.logFailure(r.Time, err)
	}
}

func (c *check) observe(ctx context.Context, r *checks.Request, conn *connection, e checks.Event) error {
	switch {
	case e.Kind == checks.Disconnected:
		return c.countDeliveries(ctx, conn)
	case e.Kind == checks.Refused && anyForwarded(r):
		return nil
	case e.Kind == checks.Refused && slices.Contains(Info.Reasons, e.Reason):
		return c.enforce(ctx, r, conn, conn.spanFor(r, e.Reason))
	}
	err := c.load(ctx, r, conn)
	if b := conn.blockAt(r.Time); b != nil && b.InForce {
		return err
	}
	return errors.Join(err, c.count(ctx, r, conn, e)) // the counts of the connection do not need the store
}

// anyForwarded reports whether the client is a forwarder of any recipient.
func anyForwarded(r *checks.Request) bool {
	for i := range r.Envelope.Rcpts {
		if r.Forwarded(i) {
			return true
		}
	}
	return false
}

// logFailure logs a failure of the store, at most once a minute: it affects every session.
func (c *check) logFailure(now time.Time, err error) {
	last := c.logged.Load()
	if ago := now.Unix() - last; (ago < 0 || ago >= 60) && c.logged.CompareAndSwap(last, now.Unix()) {
		checks.WarnOfStore(c.env.Log.WithField("check", Info.Name), err, "could not count")
	}
}
