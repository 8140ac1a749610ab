package sender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"milterd/checks"
)

// checkAge checks whether the sender's domain is new. A domain of unknown age is not new. The registry is asked in the background.
// Until its answer is stored, checkAge returns an error.
func (c *check) checkAge(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	domain := r.Envelope.MailFrom.Domain
	if c.NewDomain == 0 && c.FirstSeen == 0 || c.env.Site.IsLocal(domain) {
		return nil, nil
	}
	registered, errRegistered := c.registeredSince(ctx, r, domain)
	seen, errSeen := c.seenSince(ctx, r, domain) // needed in any case: it stores that the domain was seen
	since := cmp.Or(registered, seen)
	if since == "" {
		return nil, errors.Join(errRegistered, errSeen)
	}
	unsure := c.env.Clock.Doubt(r.Time) != ""
	return []checks.Verdict{{Reason: domainNew, Detail: map[string]string{"since": since}, Unsure: unsure}}, nil
}

// registeredSince returns a clause with the date of registration if that is less than NewDomain ago, or else "".
func (c *check) registeredSince(ctx context.Context, r *checks.Request, domain string) (string, error) {
	if c.NewDomain == 0 || c.env.Registry == nil {
		return "", nil
	}
	name := registrable(domain)
	if name == "" {
		return "", nil
	}
	at, err := c.registrations.lookup(ctx, r.Time, name)
	if at.IsZero() || err != nil {
		return "", err
	}
	clause := fmt.Sprintf("%s was registered on %s", name, at.UTC().Format(time.DateOnly))
	checks.Note(ctx, clause)
	// A date in the future comes from a wrong clock, or from a replay of mail that is older than the registration.
	if age := r.Time.Sub(at); age < -24*time.Hour || age >= c.NewDomain {
		return "", nil
	}
	return clause, nil
}

// registrable returns the part of a domain that is registered at a registry: the public suffix and the label below it. It is
// "" for a public suffix, and below the suffix of a private owner (user.github.io), which has no registry.
func registrable(domain string) string {
	suffix, byICANN := publicsuffix.PublicSuffix(domain)
	if !byICANN && strings.Contains(suffix, ".") {
		return ""
	}
	return checks.OrgDomain(domain)
}
