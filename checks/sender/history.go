package sender

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// A history belongs to a reverse-path and to who uses it: to the reverse-path alone if the client may speak for its domain
// (it passes SPF, or has a confirmed name under the domain), else to both the reverse-path and the identity of the client. So
// what a forger was refused for is never held against the owner of the address, nor against another who uses it from
// elsewhere.
const (
	// refusedKey begins the counter of refusals, a hash of whose history it is follows.
	refusedKey = "sender:refused:"
	// deliveredKey begins the record of the last delivery, in seconds since 1970.
	deliveredKey = "sender:delivered:"
	// deliveredEvery is how old the record of a delivery may become before it is written again, to save writes.
	deliveredEvery = 24 * time.Hour
)

// held tells whether a refusal is a part of the sender's history. One with 4yz never is: the mail may come in yet.
func held(e checks.Event) bool {
	return e.Kind == checks.Refused && e.Reply.Code >= 500 && e.Reason != nil && !e.Reason.NotHistory
}

// past is the history that the open transaction belongs to. The zero value: it has none, or was not looked at.
type past struct {
	hash    string
	counted bool // a refusal of this transaction; a message to a hundred recipients that is refused counts once
}

type pastKey struct{}

func pastOf(s *checks.Request) *past {
	p, _ := checks.Remember(s, checks.MailFrom, pastKey{}, func() (*past, error) { return new(past), nil })
	return p
}

// history judges what became of the sender's mail before.
func (c *check) history(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	from := s.Envelope.MailFrom
	if c.History == 0 || !s.Used(history) || from.Local == "" || from.Domain == "" || c.isOurs(from.Domain) || s.AuthUser != "" {
		return nil, nil
	}
	p := pastOf(s)
	p.hash = c.whose(ctx, s)
	value, ok, err := c.env.Store.Get(ctx, refusedKey+p.hash)
	if !ok || err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(string(value)); err != nil || n <= c.History {
		return nil, err
	}
	if _, delivered, err := c.env.Store.Get(ctx, deliveredKey+p.hash); delivered || err != nil {
		return nil, err
	}
	return []checks.Verdict{{Reason: history, Detail: map[string]string{
		"refusals": string(value), "window": days(c.HistoryWindow),
	}}}, nil
}

// whose names the history in keys, by 128 bits of a hash: nobody can find a second sender for it.
//
// A DNS that does not answer gives the client another identity than the next time, with another history. Most likely that
// is an empty one, which is harmless.
func (c *check) whose(ctx context.Context, s *checks.Request) string {
	who := ""
	if is, _ := facts.SenderVerified(ctx, c.env, s); !is {
		id, _ := facts.ClientIdentity(ctx, c.env, s)
		who = id.String()
	}
	sender := strings.ToLower(facts.StableSender(s.Envelope.MailFrom)) // no site tells its users apart by case
	sum := sha256.Sum256([]byte(sender + "\x00" + who))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Observe implements checks.Observer: it learns the histories. On a session that is trusted, and of a transaction whose
// recipients are all exempt, nothing was looked at, so nothing is noted.
func (c *check) Observe(ctx context.Context, s *checks.Request, e checks.Event) {
	if e.Kind != checks.Accepted && !held(e) {
		return
	}
	p := pastOf(s)
	if p.hash == "" {
		return
	}
	var err error
	switch {
	case e.Kind == checks.Accepted:
		err = c.noteDelivery(ctx, s, p)
	case !p.counted:
		p.counted = true
		_, err = c.env.Store.Add(ctx, refusedKey+p.hash, 1, c.HistoryWindow)
	}
	if err != nil {
		c.env.Log.WithFields(s.LogFields()).WithError(err).Warn("could not note what became of a sender's mail")
	}
}

// noteDelivery writes down that mail of the sender was taken.
func (c *check) noteDelivery(ctx context.Context, s *checks.Request, p *past) error {
	value, ok, err := c.env.Store.Get(ctx, deliveredKey+p.hash)
	if err != nil {
		return err
	}
	if last, err := strconv.ParseInt(string(value), 10, 64); ok && err == nil {
		age := s.Time.Sub(time.Unix(last, 0))
		if age >= 0 && age < min(deliveredEvery, c.HistoryWindow/2) {
			return nil
		}
	}
	return c.env.Store.Put(ctx, deliveredKey+p.hash, strconv.AppendInt(nil, s.Time.Unix(), 10), c.HistoryWindow)
}

// days writes a duration in the largest unit that fits it.
func days(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := d / unit.length; n == 1 {
			return "1 " + unit.name
		} else if n > 1 {
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return "a moment"
}
