package rate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"milterd/checks"
)

// maxName is the length of the longest name in a key of the store, in bytes: a longer one is hashed. With half of it, the names of many
// users would be, and their keys could not be read.
const maxName = 64

// counter returns the key in the store of the counter of a subject for a limit at a time, and the end of its window.
func (s subject) counter(l limit, now time.Time) (key string, end time.Time) {
	name := s.name
	if len(name) > maxName {
		name = checks.HashKey(name)
	}
	seconds := int64(l.Per / time.Second)
	window := now.Unix() / seconds
	return fmt.Sprintf("rate:%s:%d:%d:%s", s.reason.ID, seconds, window, name), time.Unix((window+1)*seconds, 0)
}

// addition is what was added to a counter for a recipient.
type addition struct {
	key  string // of the counter in the store
	per  time.Duration
	n    int64
	rcpt int // index of the recipient; at the end of the message, of the last one
}

// add adds n to the counter of an addition and returns the sum. A counter is kept for longer than its window, so that a count can be
// taken back at the end of the window.
func (c *check) add(ctx context.Context, a addition, n int64) (total int64, err error) {
	return c.env.Store.Add(ctx, a.key, n, 2*a.per)
}

type additionsKey struct{}

// additionsOf returns the additions of the current mail transaction, without those for refused recipients.
func additionsOf(r *checks.Request) *[]addition {
	list, _ := checks.Remember(r, checks.MailFrom, additionsKey{}, func() (*[]addition, error) { return new([]addition), nil })
	return list
}

func (c *check) takeBack(ctx context.Context, additions []addition) error {
	var errs []error
	for _, a := range additions {
		_, err := c.add(ctx, a, -a.n)
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
	list := additionsOf(r)
	*list = slices.DeleteFunc(*list, func(a addition) bool {
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
