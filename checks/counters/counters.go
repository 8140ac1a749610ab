// Package counters remembers what a client did wrong: transactions that it gave up, unknown recipients, errors. Who passes a
// limit is blocked for a while, longer each time.
//
// A client is an IPv4 address or an IPv6 /64. What counts is what no honest host does often, whatever it sends: greylisting
// and every other 4yz, relay refusals and watched reasons never do, and deliveries make good for the rest.
//
// A limit may be passed where nothing is refused, and its reason may be watched, so a block begins in two steps. Passing a
// limit writes it down. The first refusal for it, by the limit's reason in the connection that passed it or by client-blocked
// in a later one, shows that it is enforced and puts the block in force: the count stops. A limit that is watched refuses
// nothing, so its block is never in force, hides no other limit, and ends when it would have ended.
package counters

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"milterd/checks"
)

// Settings configure the check. A limit of 0 is off.
type Settings struct {
	Resets        int             `yaml:"resets" doc:"How many transactions with an accepted recipient a client may give up (RSET) in one connection; a delivery takes one off. 0: any number."`
	BadRecipients int             `yaml:"bad_recipients" doc:"How many unknown recipients (5.1.x) a connection may have, if they are more than the accepted ones; a delivery takes one off. 0: any number."`
	Errors        int             `yaml:"errors" doc:"How many 5yz refusals and unknown recipients a client may have in the window, if they are more than its deliveries; a delivery takes one off. 0: any number."`
	Window        time.Duration   `yaml:"window" doc:"How long errors and deliveries are counted, from the first one on; then the count begins anew."`
	Block         []time.Duration `yaml:"block" doc:"How long a client that passes a limit is blocked: the first time, the second, ..., the last and every time after it."`
}

// maxErrors keeps the limit well within what a tally can count.
const maxErrors = 1_000_000

// Validate finds settings that make no sense.
func (c Settings) Validate() error {
	var faults []error
	if c.Resets < 0 || c.BadRecipients < 0 || c.Errors < 0 {
		faults = append(faults, errors.New("resets, bad_recipients and errors cannot be negative; 0 switches a limit off"))
	}
	if c.Errors > maxErrors {
		faults = append(faults, fmt.Errorf("errors: %d is more than %d", c.Errors, maxErrors))
	}
	if c.Window < time.Second {
		faults = append(faults, errors.New("window: want 1s or more"))
	}
	if len(c.Block) == 0 {
		faults = append(faults, errors.New("block: want one duration or more"))
	} else if slices.Min(c.Block) < time.Second {
		faults = append(faults, errors.New("block: want 1s or more, each time"))
	}
	return errors.Join(faults...)
}

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "counters",
	Doc: "Counts what a client (an IPv4 address or an IPv6 /64) does wrong and blocks it for a while when it passes a limit. " +
		"Greylisting, watched reasons and 4yz replies never count; trusted networks and authenticated clients are neither " +
		"counted nor blocked, nor are forwarders for what they pass on. A client that stays out of blocks for 7 days begins with the shortest one again.",
	Stages:  []checks.Stage{checks.RcptTo},
	Reasons: []*checks.Reason{blocked, tooManyResets, tooManyBadRecipients, tooManyErrors},
	// What is wrong with mail that a forwarder passes on is not its fault.
	NotForwarded: true,
}, Settings{
	Resets: 10, BadRecipients: 10, Errors: 35, Window: 24 * time.Hour,
	Block: []time.Duration{time.Hour, 4 * time.Hour, 24 * time.Hour},
}, func(c Settings, env checks.Env) (checks.Check, error) {
	return &check{Settings: c, env: env}, nil
})

type check struct {
	Settings
	env        checks.Env
	complained atomic.Int64 // when the store's last failure was logged, in Unix seconds
}

// Check implements checks.Check. It is asked at each RCPT, for the counts change within a connection, and blocks end while
// one lasts; the store is asked once per connection. So postmaster stays reachable even if other reasons answer at MAIL.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	k := connOf(s)
	if k == nil {
		return nil, nil
	}
	err := c.load(ctx, s, k)
	b := k.blockAt(s.Time)
	switch {
	case b == nil:
		return nil, err
	case b.InForce && !slices.ContainsFunc(k.passed, b.has):
		return []checks.Verdict{b.Spans[0].verdict(blocked, b, k.client)}, err
	}
	if r := k.elsewhere(s, b); r != nil {
		return []checks.Verdict{b.span(r).verdict(blocked, b, k.client)}, err
	}
	var vs []checks.Verdict
	for _, r := range limits() {
		if sp := b.span(r); sp != nil {
			vs = append(vs, sp.verdict(r, b, k.client))
		}
	}
	return vs, err
}

// Observe implements checks.Observer.
func (c *check) Observe(ctx context.Context, s *checks.Request, e checks.Event) {
	k := connOf(s)
	if k == nil {
		return
	}
	var err error
	switch {
	case e.Kind == checks.Disconnected:
		err = c.flush(ctx, k)
	case s.Trusted():
	case e.Kind == checks.Refused && anyForwarded(s):
	case e.Kind == checks.Refused && e.Reason == blocked:
		if b := k.blockAt(s.Time); b != nil && !b.InForce {
			err = c.enforce(ctx, s, k, k.elsewhere(s, b))
		}
	case e.Kind == checks.Refused && slices.Contains(limits(), e.Reason):
		err = c.enforce(ctx, s, k, e.Reason)
	default:
		err = c.load(ctx, s, k) // the counts of the connection go on without the store
		if b := k.blockAt(s.Time); b == nil || !b.InForce {
			err = errors.Join(err, c.count(ctx, s, k, e))
		}
	}
	if err != nil {
		c.complain(s.Time, err)
	}
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

// complain logs a failure of the store, once a minute at most: it fails for every session then.
func (c *check) complain(now time.Time, err error) {
	last := c.complained.Load()
	if ago := now.Unix() - last; (ago < 0 || ago >= 60) && c.complained.CompareAndSwap(last, now.Unix()) {
		c.env.Log.WithError(err).WithField("check", Info.Name).Warn("could not count")
	}
}

// count notes an event of a client that no block in force keeps out.
func (c *check) count(ctx context.Context, s *checks.Request, k *conn, e checks.Event) error {
	switch e.Kind {
	case checks.Accepted:
		k.delivered++
		k.resets, k.bad = max(k.resets-1, 0), max(k.bad-1, 0)
		k.accepted += distinct(s.Envelope.Rcpts)
	case checks.Reset:
		if anyAccepted(e.Reset.Rcpts) && k.counts(tooManyResets) {
			if k.resets++; c.Resets > 0 && k.resets > c.Resets {
				return c.pass(ctx, s, k, tooManyResets)
			}
		}
	case checks.BadRecipient:
		if isUnknown(s.Rcpt().Refused) {
			return errors.Join(c.badRecipient(ctx, s, k), c.failed(ctx, s, k))
		}
	case checks.Refused:
		if len(s.Envelope.Header) > 0 {
			// Who goes on to send the message does not look for addresses, even if its header is refused.
			k.accepted += distinct(s.Envelope.Rcpts)
		}
		if e.Reply.Code >= 500 {
			return c.failed(ctx, s, k)
		}
	}
	return nil
}

// isUnknown tells whether the MTA refused a recipient because there is none. 5.7.1, relaying denied, is no guess, and neither is
// any 4.x.x. 5.1.7 and 5.1.8 are about the sender's address (RFC 3463 section 3.2), and so is 5.1.0 of Postfix, which gives such
// answers at RCPT.
func isUnknown(enhanced string) bool {
	return strings.HasPrefix(enhanced, "5.1.") && enhanced != "5.1.0" && enhanced != "5.1.7" && enhanced != "5.1.8"
}

// badRecipient counts a recipient that does not exist. Those accepted of the open transaction make good for it as far as they
// differ, or one known address, repeated, would do for any number of guesses.
func (c *check) badRecipient(ctx context.Context, s *checks.Request, k *conn) error {
	if !k.counts(tooManyBadRecipients) {
		return nil
	}
	k.bad++
	k.unknown++
	if c.BadRecipients == 0 || k.bad <= c.BadRecipients || k.unknown <= k.accepted+distinct(s.Envelope.Rcpts) {
		return nil
	}
	return c.pass(ctx, s, k, tooManyBadRecipients)
}

// failed counts an error, for all connections of the client.
func (c *check) failed(ctx context.Context, s *checks.Request, k *conn) error {
	if c.Errors == 0 || !k.counts(tooManyErrors) {
		return nil
	}
	t, err := c.add(ctx, k, 1)
	if err != nil || t.count() <= c.Errors || t.errors() <= t.deliveries() {
		return err
	}
	return errors.Join(c.pass(ctx, s, k, tooManyErrors), c.env.Store.Delete(ctx, tallyKey(k.client)))
}

// flush counts the deliveries of the connection that are not counted yet.
func (c *check) flush(ctx context.Context, k *conn) error {
	if c.Errors == 0 || k.delivered == 0 {
		return nil
	}
	_, err := c.add(ctx, k, 0)
	return err
}

// ClientOf is what counts as one client: an IPv4 address or an IPv6 /64. It is the zero Prefix if the address is unknown.
func ClientOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}
