package sender

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// A history belongs to a reverse-path alone if the client is verified for its domain (facts.SenderVerified), else to the
// reverse-path together with the identity of the client. So refusals of forgers do not count against the owner of an
// address, nor against others who use it.
const (
	// refusedPrefix begins the key of the counter of refusals; the key of a history follows.
	refusedPrefix = "sender:refused:"
	// deliveredPrefix begins the key of the time of the last delivery, in seconds since 1970.
	deliveredPrefix = "sender:delivered:"
	// deliveredEvery is the age at which the record of a delivery is written again. A shorter one costs writes.
	deliveredEvery = 24 * time.Hour
)

// transaction is the state of the check in the current mail transaction.
type transaction struct {
	history string // key of its history; empty if it has none
	counted bool   // a refusal was counted: a message with many recipients counts once
}

type transactionKey struct{}

// transactionOf returns the state of the current mail transaction.
func transactionOf(r *checks.Request) *transaction {
	t, _ := checks.Remember(r, checks.MailFrom, transactionKey{}, func() (*transaction, error) { return new(transaction), nil })
	return t
}

// checkHistory checks how earlier mail of the sender fared.
func (c *check) checkHistory(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	from := r.Envelope.MailFrom
	if c.History == 0 || !r.Used(history) || from.Local == "" || from.Domain == "" || c.env.Site.IsLocal(from.Domain) || r.AuthUser != "" {
		return nil, nil
	}
	t := transactionOf(r)
	t.history = c.historyKey(ctx, r)
	value, ok, err := c.env.Store.Get(ctx, refusedPrefix+t.history)
	if !ok || err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(string(value)); err != nil || n <= c.History {
		return nil, err
	}
	if _, delivered, err := c.env.Store.Get(ctx, deliveredPrefix+t.history); delivered || err != nil {
		return nil, err
	}
	return []checks.Verdict{{Reason: history, Detail: map[string]string{
		"refusals": string(value), "window": formatWindow(c.HistoryWindow),
	}}}, nil
}

// historyKey returns the key of the history. If the DNS fails, the client gets another identity and history than usual. That
// history is most likely empty, so there is no verdict.
func (c *check) historyKey(ctx context.Context, r *checks.Request) string {
	client := ""
	if verified, _ := facts.SenderVerified(ctx, c.env, r); !verified {
		id, _ := facts.ClientIdentity(ctx, c.env, r)
		client = id.String()
	}
	return checks.HashKey(strings.ToLower(facts.StableSender(r.Envelope.MailFrom)), client)
}

// Observe implements checks.Observer: it counts refusals and deliveries. Trusted sessions and transactions whose recipients
// are all exempt have no history, as the check did not run.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	if e.Kind != checks.Accepted && !counts(e) {
		return
	}
	t := transactionOf(r)
	if t.history == "" {
		return
	}
	var err error
	switch {
	case e.Kind == checks.Accepted:
		err = c.storeDelivery(ctx, r, t)
	case !t.counted:
		t.counted = true
		_, err = c.env.Store.Add(ctx, refusedPrefix+t.history, 1, c.HistoryWindow)
	}
	if err != nil {
		checks.WarnOfStore(c.env.Log.WithFields(r.LogFields()), err, "could not update the history of a sender")
	}
}

// counts reports whether an event is a refusal that counts in a history. After 4yz the mail may still be delivered.
func counts(e checks.Event) bool {
	return e.Kind == checks.Refused && e.Reply.Code >= 500 && e.Reason != nil && !e.Reason.NotHistory
}

// storeDelivery stores that mail of the sender was accepted.
func (c *check) storeDelivery(ctx context.Context, r *checks.Request, t *transaction) error {
	value, ok, err := c.env.Store.Get(ctx, deliveredPrefix+t.history)
	if err != nil {
		return err
	}
	if last, err := strconv.ParseInt(string(value), 10, 64); ok && err == nil {
		age := r.Time.Sub(time.Unix(last, 0))
		if age >= 0 && age < min(deliveredEvery, c.HistoryWindow/2) {
			return nil
		}
	}
	return c.env.Store.Put(ctx, deliveredPrefix+t.history, strconv.AppendInt(nil, r.Time.Unix(), 10), c.HistoryWindow)
}

// formatWindow returns a duration in the largest unit of which it is a multiple, as text.
func formatWindow(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{length: 24 * time.Hour, name: "day"}, {length: time.Hour, name: "hour"}, {length: time.Minute, name: "minute"}} {
		switch n := d / unit.length; {
		case d%unit.length > 0:
		case n == 1:
			return "1 " + unit.name
		default:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}
