package checks

import (
	"context"
	"strconv"
	"time"
)

// escalateKey begins the record of when a client first met a reason, in seconds since 1970.
const escalateKey = "escalate:"

// escalateKeep is how long that is remembered beyond Options.Escalate: longer than servers keep mail in their queues (RFC 5321
// section 4.5.4.1 has 4 to 5 days), so that no message gets two respites.
const escalateKeep = 14 * 24 * time.Hour

// respite tells whether a refusal is temporary yet, since the client has met its reason, one of Identity, for less than
// Options.Escalate. Who cannot be remembered has respite, and so has everybody while the clock is in doubt: neither a store that is
// down nor a clock that jumps ahead makes a 5xx.
func (p *Pipeline) respite(ctx context.Context, s *Session, o Outcome) bool {
	if p.opts.Escalate <= 0 || o.Action != Reject || !o.Reason.Identity {
		return false
	}
	client := s.Client
	if client.Is6() {
		network, _ := client.Prefix(64)
		client = network.Addr()
	}
	if p.opts.Clock.Trust(s.Time) >= Doubted {
		return true
	}
	key := escalateKey + o.Reason.ID + ":" + client.String()
	first, err := p.firstMet(ctx, key, s.Time)
	return err != nil || s.Time.Sub(first) < p.opts.Escalate
}

func (p *Pipeline) firstMet(ctx context.Context, key string, now time.Time) (time.Time, error) {
	value, ok, err := p.opts.Store.Get(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	if seconds, err := strconv.ParseInt(string(value), 10, 64); ok && err == nil && seconds <= now.Unix() {
		return time.Unix(seconds, 0), nil
	} else if ok {
		// It was written while the clock was ahead: nobody knows when that was.
		return now, p.opts.Store.Put(ctx, key, strconv.AppendInt(nil, now.Unix(), 10), p.opts.Escalate+escalateKeep)
	}
	// Of several recipients, or hosts, the first one writes; the others differ by an instant.
	_, err = p.opts.Store.PutNew(ctx, key, strconv.AppendInt(nil, now.Unix(), 10), p.opts.Escalate+escalateKeep)
	return now, err
}
