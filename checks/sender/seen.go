package sender

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
)

const (
	// seenPrefix begins the key of a domain. The record has two times: when this site saw the domain first, and when it was written.
	seenPrefix = "sender:seen:"
	// watchedKey is the key of the site. The record has two times: when the site began to store domains, and when it was written.
	watchedKey = "sender:watched"
	// seenFor is how long a domain is remembered after its last mail. With half of it, domains that write twice a year would
	// be new again; twice as much doubles the number of records.
	seenFor = 180 * 24 * time.Hour
	// seenEvery and watchedEvery are the ages at which the records are written again. Shorter ones cost writes.
	seenEvery    = 24 * time.Hour
	watchedEvery = time.Hour
	// minWatched is how long a site must have watched before a domain can be new: until then it has seen only few of the
	// domains that write to it. After a pause of this length it begins again.
	minWatched = 7 * 24 * time.Hour
	// maxSkew is the greatest difference between the clocks of hosts that share a store.
	maxSkew = time.Minute
)

// seenSince stores that a domain was seen. It returns a clause with the time when this site saw the domain first if that is
// less than FirstSeen ago, or else "". It uses the organisational domain, as a domain may have any number of subdomains.
func (c *check) seenSince(ctx context.Context, r *checks.Request, domain string) (string, error) {
	org := checks.OrgDomain(domain)
	if c.FirstSeen == 0 || org == "" {
		return "", nil
	}
	watched, err := c.firstTime(ctx, r.Time, watchedKey, watchedEvery, minWatched, func(first, last time.Time) bool {
		// The record expires after a pause by the clock of the store. If the clock of the sessions was wrong and is right again,
		// the record may still be too old, or begin in the future.
		return r.Time.Sub(last) >= minWatched || first.After(r.Time.Add(maxSkew))
	})
	if err != nil {
		return "", err
	}
	first, err := c.firstTime(ctx, r.Time, seenPrefix+org, seenEvery, seenFor, func(_, _ time.Time) bool { return false })
	// A time in the future means that the clock is wrong, or was wrong when the time was stored.
	age := r.Time.Sub(first)
	if err != nil || age < -maxSkew || age >= c.FirstSeen || first.Sub(watched) < max(minWatched, c.FirstSeen) {
		return "", err
	}
	return fmt.Sprintf("%s was first seen here on %s", org, first.UTC().Format(checks.TimeLayout)), nil
}

// firstTime returns the first of the two times in a record, which may be now. It writes the record with now as the last time, unless that
// is less than every ago. The first time is now if there is no record, or if begins returns true for its times.
func (c *check) firstTime(ctx context.Context, now time.Time, key string, every, ttl time.Duration, begins func(first, last time.Time) bool) (time.Time, error) {
	value, _, err := c.env.Store.Get(ctx, key)
	if err != nil {
		return now, err
	}
	first, last, ok := parseSpan(value)
	if !ok || begins(first, last) {
		first = now
	}
	if age := now.Sub(last); ok && age > -maxSkew && age < every {
		return first, nil
	}
	// Put needs no transaction: two hosts that see a new domain at once store nearly the same time.
	return first, c.env.Store.Put(ctx, key, formatSpan(first, now), ttl)
}

// formatSpan returns two times as text, in seconds since 1970.
func formatSpan(first, last time.Time) []byte {
	return fmt.Appendf(nil, "%d %d", first.Unix(), last.Unix())
}

// parseSpan parses the text of formatSpan.
func parseSpan(value []byte) (first, last time.Time, ok bool) {
	a, b, _ := strings.Cut(string(value), " ")
	from, errFrom := strconv.ParseInt(a, 10, 64)
	to, errTo := strconv.ParseInt(b, 10, 64)
	return time.Unix(from, 0), time.Unix(to, 0), errFrom == nil && errTo == nil
}
