// Package correspondents vouches for the people that our own users write to: their answers are not delayed.
package correspondents

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "correspondents",
	Doc: "Remembers for 60 days to whom the users of this site write (seen on trusted and authenticated sessions). Mail from " +
		"such an address to such a user is not greylisted, if the client passes SPF or has a confirmed name under the " +
		"sender's domain.",
	Stages: []checks.Stage{checks.RcptTo},
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env}, nil
})

const (
	// pairKey begins the key of a pair in the store; a hash of it follows, as addresses may be long.
	pairKey = "correspondents:"
	// remember is how long a pair is known after the last message to the outside.
	remember = 60 * 24 * time.Hour
	// most is how many recipients of one message are remembered. Who writes to more is sending a newsletter, and the MTA
	// waits for us meanwhile.
	most = 50
)

// pair is what the store has.
type pair struct {
	Local   string `json:"local"` // both in the form of facts.Mailbox
	Outside string `json:"outside"`
	At      int64  `json:"at"` // time of the last message, in seconds since 1970
}

type check struct{ env checks.Env }

// Check implements checks.Check. The DNS is asked for those alone who are known.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	from := s.Envelope.MailFrom
	if from.Local == "" || from.Domain == "" || c.local(from) {
		return nil, nil
	}
	known, err := Known(ctx, c.env.Store, Pair(from, s.Rcpt().Address), s.Time)
	if !known || err != nil {
		return nil, err
	}
	is, err := facts.SenderIsClients(ctx, c.env, s)
	if !is || err != nil {
		return nil, err
	}
	return []checks.Verdict{{Vouch: checks.SkipDelays}}, nil
}

// Pair names an outside address and a user of this site, for Known: some 30 octets, of which the addresses cannot be read.
func Pair(outside, local checks.Address) string {
	return pair{Local: facts.Mailbox(local), Outside: facts.Mailbox(outside)}.key()
}

// Known tells whether the user of a pair wrote to its outside address in the 60 days before a time.
func Known(ctx context.Context, store checks.Store, name string, at time.Time) (bool, error) {
	value, ok, err := store.Get(ctx, name)
	if !ok || err != nil {
		return false, err
	}
	var stored pair
	if json.Unmarshal(value, &stored) != nil {
		return false, nil
	}
	return at.Unix()-stored.At < int64(remember/time.Second), nil
}

// Observe implements checks.Observer: it remembers to whom a user of this site has written. Bounces have no author, and mail
// that a forwarder gave a new sender (SRS) has another one.
func (c *check) Observe(ctx context.Context, s *checks.Request, e checks.Event) {
	from := s.Envelope.MailFrom
	if e.Kind != checks.Accepted || !s.Trusted() || !c.local(from) || facts.IsSRS(from) {
		return
	}
	p := pair{Local: facts.Mailbox(from), At: s.Time.Unix()}
	left := most
	for _, r := range s.Envelope.Rcpts {
		if r.Refused != "" || r.Local == "" || r.Domain == "" || c.local(r.Address) {
			continue
		}
		if left--; left < 0 {
			return
		}
		p.Outside = facts.Mailbox(r.Address)
		if err := c.put(ctx, p); err != nil {
			// A store that failed once is not asked for the other recipients.
			c.env.Log.WithFields(s.LogFields()).WithError(err).Warn("could not remember a correspondent")
			return
		}
	}
}

func (c *check) put(ctx context.Context, p pair) error {
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return c.env.Store.Put(ctx, p.key(), value, remember)
}

// local tells whether an address is in one of this site's domains.
func (c *check) local(a checks.Address) bool {
	return a.Domain != "" && slices.ContainsFunc(c.env.Site.LocalDomains, func(d string) bool { return checks.SameName(d, a.Domain) })
}

func (p pair) key() string {
	sum := sha256.Sum256([]byte(p.Local + "\x00" + p.Outside))
	return pairKey + base64.RawURLEncoding.EncodeToString(sum[:16])
}
