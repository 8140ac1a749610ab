package counters

import (
	"cmp"
	"context"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

// pairKey is the key of checks.Remember for pairDomain.
type pairKey struct{}

// maxSender is the longest sender in a key, in bytes: that of a domain name. With half of it, long names with the same beginning would
// share a block.
const maxSender = 255

// pairDomain returns the organisational domain of the sender if the client is a good sender, or "". With a null reverse-path it is
// that of the HELO name. A good sender is counted and blocked for each of these domains alone: one user of a shared relay does not
// shut out the others.
func (c *check) pairDomain(ctx context.Context, r *checks.Request) string {
	if c.env.Senders == nil {
		return ""
	}
	domain, _ := checks.Remember(r, checks.MailFrom, pairKey{}, func() (string, error) {
		if !c.mayBeGood(r.ClientName) && !c.mayBeGood(r.Helo) && !c.mayBeGood(r.Envelope.MailFrom.Domain) {
			return "", nil // asks nothing: the checks that follow show what they asked for their own reasons
		}
		id, _ := facts.ClientIdentity(ctx, c.env, r)
		if org := checks.Organization(id.Domain); org == "" || !c.env.Senders.IsGood(org) {
			return "", nil
		}
		sender := r.Envelope.MailFrom.Domain
		if r.Envelope.MailFrom.IsNull() {
			sender = strings.ToLower(strings.TrimSuffix(r.Helo, "."))
		}
		// "-" stands for an empty name, which would stand for all mail of the client.
		return cmp.Or(checks.Clean(checks.Organization(sender), maxSender), "-"), nil
	})
	return domain
}

// mayBeExempt returns an error if the block of all mail of the client might not apply: a good sender is exempt from it, and an answer of
// the DNS is missing that might show the client to be one, or the good senders were not read yet.
func (c *check) mayBeExempt(ctx context.Context, r *checks.Request, conn *connection) error {
	if c.env.Senders == nil || conn.block.of.sender != "" || conn.block.byOperator() {
		return nil
	}
	id, err := facts.ClientIdentity(ctx, c.env, r)
	if err == nil && checks.Organization(id.Domain) != "" {
		err = c.env.Senders.Unread()
	}
	return err
}

// mayBeGood reports whether the organisation of a name that the client has not proved is a good sender.
func (c *check) mayBeGood(name string) bool {
	org := checks.OrgDomain(strings.ToLower(strings.TrimSuffix(name, ".")))
	return org != "" && c.env.Senders.IsGood(org)
}
