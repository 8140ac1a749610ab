package evidence

import (
	"cmp"
	"context"
	"time"
)

// The mail of a good sender should not be refused. These are the causes for which a sender is good. An SPF pass is none: it
// only verifies the sender, and spammers publish SPF records too.
const (
	// answered: a recipient has written to the sender's address, before the mail or after it. If the sender is not
	// verified, it could be forged, and must have written on forgedDays days.
	answered = "answered"
	// delivers: the sender or its client has sent clean messages on deliversDays days, and more of them than speak
	// against it. What a verified sender has sent counts for all its clients.
	delivers = "delivers"
	// regular: the reason applied to messages that were accepted on regularDays days over regularSpan, and no other
	// reason speaks against the sender. A small site with one misconfigured host looks like this. A spammer that is on no
	// list does too: the report names it, and the operator can put it on a deny list, which speaks against it.
	regular = "regular"
)

const (
	deliversDays = 3
	regularDays  = 4
	regularSpan  = 14 * 24 * time.Hour
	forgedDays   = 2
)

// findAnswered asks again about recipients that had not written to the sender before, and sets e.answered if one has.
func (c *Collector) findAnswered(ctx context.Context, e *entry, now time.Time) error {
	if e.answered || e.all().days() < e.answeredDays() {
		return nil
	}
	for _, pair := range e.Pairs {
		known, err := c.opts.Known(ctx, pair, now)
		if err != nil {
			return err
		}
		e.answered = e.answered || known
	}
	return nil
}

// answeredDays returns on how many days an answered sender must have written.
func (e *entry) answeredDays() int {
	if e.Verified {
		return 1
	}
	return forgedDays
}

// whyGood returns why the sender of an entry is good, or "" if it is not known to be, and its clean messages without those that the
// reason applied to. A sender that is not verified counts by what its client has sent.
func (d *reportData) whyGood(e *entry, reason string) (why string, clean tally) {
	client := cmp.Or(d.clients[e.Client], &entry{})
	sender := client
	if e.Verified {
		sender = cmp.Or(d.senders[e.Sender], &entry{})
	}
	clean = sender.cleanOf(reason)
	switch {
	case e.answered || e.Verified && sender.answered:
		return answered, clean
	case sender.delivers(reason):
		return delivers, clean
	case client.delivers(reason):
		return delivers, client.cleanOf(reason)
	case e.isRegular(reason):
		return regular, clean
	}
	return "", clean
}

func (e *entry) delivers(reason string) bool {
	clean := e.cleanOf(reason)
	return clean.days() >= deliversDays && clean.N > e.Against.N-e.Reasons[reason].Against
}

func (e *entry) isRegular(reason string) bool {
	c := e.Reasons[reason]
	span := time.Duration(c.Passed.Last-c.Passed.First) * time.Second
	return c.Passed.days() >= regularDays && span >= regularSpan && e.Against.N <= c.Against
}

// isGood reports whether the sum of a domain is that of a good sender.
func (e *entry) isGood() bool {
	if e.answered || e.delivers("") {
		return true
	}
	for reason := range e.Reasons {
		if e.isRegular(reason) {
			return true
		}
	}
	return false
}
