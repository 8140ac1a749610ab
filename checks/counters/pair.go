package counters

import (
	"cmp"
	"context"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// pairStore keeps the records of a client together with a sender's domain, apart from those of the client.
type pairStore struct {
	checks.Store
	prefix string
}

func (s pairStore) Get(ctx context.Context, key string) ([]byte, bool, error) {
	return s.Store.Get(ctx, s.prefix+key)
}

func (s pairStore) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return s.Store.Put(ctx, s.prefix+key, value, ttl)
}

func (s pairStore) PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	return s.Store.PutNew(ctx, s.prefix+key, value, ttl)
}

func (s pairStore) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	return s.Store.Add(ctx, s.prefix+key, n, ttl)
}

func (s pairStore) Delete(ctx context.Context, key string) error {
	return s.Store.Delete(ctx, s.prefix+key)
}

// The keys of checks.Remember.
type (
	pairKey struct{}
	lastKey struct{} // domain of the last transaction
)

// pairDomain returns the organisational domain of the sender, with a null reverse-path that of the HELO name, if the client is a
// good sender, else "". Such a client is counted and blocked for each of these domains alone: one user of a shared relay does not
// shut out the others.
func (c *check) pairDomain(ctx context.Context, r *checks.Request) string {
	if c.env.Senders == nil {
		return ""
	}
	last, _ := checks.Remember(r, checks.Connect, lastKey{}, func() (*string, error) { return new(string), nil })
	if r.Envelope.MailFrom.IsNull() && len(r.Envelope.Rcpts) == 0 {
		return *last // the event is about the transaction that ended
	}
	*last, _ = checks.Remember(r, checks.MailFrom, pairKey{}, func() (string, error) {
		if !c.mayBeGood(r.ClientName) && !c.mayBeGood(r.Helo) && !c.mayBeGood(r.Envelope.MailFrom.Domain) {
			return "", nil // asks nothing: the checks that follow show what they asked for their own reasons
		}
		id, _ := facts.ClientIdentity(ctx, c.env, r)
		if org := cmp.Or(facts.OrgDomain(id.Domain), id.Domain); org == "" || !c.env.Senders.IsGood(org) {
			return "", nil
		}
		sender := r.Envelope.MailFrom.Domain
		if r.Envelope.MailFrom.IsNull() {
			sender = strings.ToLower(strings.TrimSuffix(r.Helo, "."))
		}
		return cmp.Or(facts.OrgDomain(sender), sender), nil
	})
	return *last
}

// mayBeGood reports whether the organisation of a name that the client has not proved is a good sender.
func (c *check) mayBeGood(name string) bool {
	org := facts.OrgDomain(strings.ToLower(strings.TrimSuffix(name, ".")))
	return org != "" && c.env.Senders.IsGood(org)
}
