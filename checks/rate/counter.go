package rate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"milterd/checks"
)

// counter is a counter of the store: of the recipients of a subject in one window of a limit.
type counter struct {
	reason *checks.Reason
	name   string // of the subject
	per    time.Duration
	window int64 // number of the window
}

// counter returns the counter of a subject for a limit at a time, and the end of its window.
func (s subject) counter(l limit, now time.Time) (_ counter, end time.Time) {
	number, end := l.window(now)
	return counter{reason: s.reason, name: s.name, per: l.Per, window: number}, end
}

// maxName is the length of the longest name in a key of the store, in bytes. Half of it would hash the names of many users, which
// makes the keys harder to read; names have no limit of their own.
const maxName = 64

// key returns the key of the counter in the store.
func (k counter) key() string {
	name := k.name
	if len(name) > maxName {
		name = checks.HashKey(name)
	}
	return fmt.Sprintf("rate:%s:%d:%d:%s", k.reason.ID, k.per/time.Second, k.window, name)
}

// add adds n to a counter and returns the sum. A counter is kept for longer than its window, so that a count can be taken back at
// the end of the window.
func (c *check) add(ctx context.Context, k counter, n int64) (total int64, err error) {
	return c.env.Store.Add(ctx, k.key(), n, 2*k.per)
}

// addition is what was added to a counter for a recipient.
type addition struct {
	counter
	n    int64
	rcpt int // index of the recipient; at the end of the message, of the last one
}

// transaction has the additions of the current mail transaction, without those for refused recipients.
type transaction struct{ additions []addition }

type transactionKey struct{}

func transactionOf(r *checks.Request) *transaction {
	t, _ := checks.Remember(r, checks.MailFrom, transactionKey{}, func() (*transaction, error) { return new(transaction), nil })
	return t
}

// detailOf are the names of the subjects in the replies and the log.
var detailOf = map[*checks.Reason]string{userRate: "user", clientRate: "network", domainRate: "sender_domain"}

// admit counts n recipients for a subject. If that is over a limit, it takes them back and returns the verdict.
func (c *check) admit(ctx context.Context, r *checks.Request, s subject, n int64) (*checks.Verdict, error) {
	var additions []addition
	for _, l := range s.limits {
		k, end := s.counter(l, r.Time)
		total, err := c.add(ctx, k, n)
		if err != nil {
			return nil, errors.Join(err, c.takeBack(ctx, additions))
		}
		additions = append(additions, addition{counter: k, n: n, rcpt: len(r.Envelope.Rcpts) - 1})
		if total > l.N && (n == 1 || total > n) { // a message with too many recipients passes alone: it cannot be split any more
			c.over.add(s, l, r.Time)
			return &checks.Verdict{Reason: s.reason, Detail: map[string]string{
				detailOf[s.reason]: s.name, "limit": l.String(), "until": end.UTC().Format(checks.TimeLayout),
			}}, c.takeBack(ctx, additions)
		}
	}
	t := transactionOf(r)
	t.additions = append(t.additions, additions...)
	return nil, nil
}

func (c *check) takeBack(ctx context.Context, additions []addition) error {
	var errs []error
	for _, a := range additions {
		_, err := c.add(ctx, a.counter, -a.n)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Observe implements checks.Observer. It takes back what was added for a refused recipient, or for all if the message is refused.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	if e.Kind != checks.Refused {
		return
	}
	var refused []addition
	t := transactionOf(r)
	t.additions = slices.DeleteFunc(t.additions, func(a addition) bool {
		is := e.Stage == checks.EndOfMessage || a.rcpt == len(r.Envelope.Rcpts)-1
		if is {
			refused = append(refused, a)
		}
		return is
	})
	if err := c.takeBack(ctx, refused); err != nil {
		checks.WarnOfStore(c.env.Log.WithField("check", Info.Name), err, "could not take back a count")
	}
}
