package checks

import (
	"context"
	"strconv"
	"time"
)

const (
	// escalateKey begins the key of the record of when a client first met a reason, in seconds since 1970.
	escalateKey = "escalate:"
	// escalateKeep is how long the record is kept after Options.Escalate. If it were shorter than the 4 to 5 days for which
	// servers keep mail in their queues (RFC 5321 section 4.5.4.1), one message could be deferred twice.
	escalateKeep = 14 * 24 * time.Hour
)

// escalating reports whether a refusal is temporary because Options.Escalate has not passed since the client first met its
// reason. It is temporary as well while the clock is in doubt or the store fails.
func (run *Run) escalating(ctx context.Context, o Outcome) bool {
	opts, s := &run.pipeline.opts, run.session
	if opts.Escalate <= 0 || o.Action != Reject || !o.Reason.Identity {
		return false
	}
	if opts.Clock.Doubt(s.Time) != "" {
		return true
	}
	first, err := run.firstMet(ctx, escalateKey+o.Reason.ID+":"+ClientOf(s.Client).String())
	return err != nil || s.Time.Sub(first) < opts.Escalate
}

// firstMet returns when the record of a key was first written. It writes it if necessary.
func (run *Run) firstMet(ctx context.Context, key string) (time.Time, error) {
	store, now := run.pipeline.opts.Store, run.session.Time
	keep, record := run.pipeline.opts.Escalate+escalateKeep, strconv.AppendInt(nil, now.Unix(), 10)
	value, ok, err := store.Get(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	if !ok {
		_, err = store.PutNew(ctx, key, record, keep) // another host may write it at the same time
		return now, err
	}
	if seconds, err := strconv.ParseInt(string(value), 10, 64); err == nil && seconds <= now.Unix() {
		return time.Unix(seconds, 0), nil
	}
	return now, store.Put(ctx, key, record, keep) // the record is from the future: it was written while the clock was ahead
}
