package rate

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

// Count is the count of a user, network or domain for a limit.
type Count struct {
	Reason string    `json:"reason"` // user-rate, client-rate or domain-rate
	Name   string    `json:"name"`   // of the user, network or domain
	Count  int64     `json:"count"`  // recipients in the current window
	Limit  int64     `json:"limit"`
	Per    string    `json:"per"`   // "an hour"
	Until  time.Time `json:"until"` // end of the window, when the count begins at 0 again
}

// String returns the count as a clause.
func (c Count) String() string {
	return fmt.Sprintf("%s has sent to %d of %d recipients in %s", checks.Clean(c.Name, 100), c.Count, c.Limit, c.Per)
}

// Key returns the key of the configuration that has the limit.
func (c Count) Key() string {
	switch c.Reason {
	case userRate.ID:
		return "checks.rate.users"
	case clientRate.ID:
		return "checks.rate.client"
	default:
		return "checks.rate.domain"
	}
}

// Counter is implemented by the check.
type Counter interface {
	// Counts returns the counts over 0 for the address of a client, the name of a user or a domain.
	Counts(ctx context.Context, now time.Time, who string) ([]Count, error)
}

var _ Counter = (*check)(nil)

// Counts implements Counter.
func (c *check) Counts(ctx context.Context, now time.Time, who string) (list []Count, err error) {
	for _, s := range c.subjectsNamed(strings.ToLower(strings.TrimSpace(who))) {
		for _, l := range s.limits {
			key, end := s.counter(l, now)
			value, ok, err := c.env.Store.Get(ctx, key)
			if err != nil {
				return list, err
			}
			if n, err := strconv.ParseInt(string(value), 10, 64); ok && err == nil && n > 0 {
				list = append(list, Count{Reason: s.reason.ID, Name: s.name, Count: n, Limit: l.N, Per: l.period(), Until: end})
			}
		}
	}
	return list, nil
}

// subjectsNamed returns whom a name may mean.
func (c *check) subjectsNamed(who string) []subject {
	if addr, err := netip.ParseAddr(who); err == nil {
		return []subject{{reason: clientRate, name: checks.Network(addr).String(), limits: c.client}}
	}
	list := []subject{{reason: userRate, name: who, limits: c.limitsOf(who)}}
	if domain := checks.OrgDomain(who); domain != "" && !strings.Contains(who, "@") {
		list = append(list, subject{reason: domainRate, name: domain, limits: c.domain})
	}
	return list
}
