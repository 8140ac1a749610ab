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
	watched, err := c.watchedSince(ctx, r.Time)
	if err != nil {
		return "", err
	}
	first, err := c.firstSeen(ctx, r.Time, org)
	// A time in the future means that the clock is wrong, or was wrong when the time was stored.
	age := r.Time.Sub(first)
	if err != nil || age < -maxSkew || age >= c.FirstSeen || first.Sub(watched) < max(minWatched, c.FirstSeen) {
		return "", err
	}
	return fmt.Sprintf("%s was first seen here on %s", org, first.UTC().Format(checks.TimeLayout)), nil
}

// firstSeen returns when a domain was seen first, which may be now.
func (c *check) firstSeen(ctx context.Context, now time.Time, org string) (time.Time, error) {
	value, _, err := c.env.Store.Get(ctx, seenPrefix+org)
	if err != nil {
		return now, err
	}
	first, last, ok := parseSpan(value)
	if !ok {
		first = now
	}
	if age := now.Sub(last); ok && age > -maxSkew && age < seenEvery {
		return first, nil
	}
	// Put needs no transaction: two hosts that see a new domain at once store nearly the same time.
	return first, c.env.Store.Put(ctx, seenPrefix+org, formatSpan(first, now), seenFor)
}

// watchedSince returns since when this site has stored domains without a pause.
func (c *check) watchedSince(ctx context.Context, now time.Time) (time.Time, error) {
	value, _, err := c.env.Store.Get(ctx, watchedKey)
	if err != nil {
		return now, err
	}
	first, last, ok := parseSpan(value)
	// The record expires after a pause by the clock of the store. If the clock of the sessions was wrong and is right again,
	// the record may still be too old, or begin in the future.
	if !ok || now.Sub(last) >= minWatched || first.After(now.Add(maxSkew)) {
		first = now
	}
	if age := now.Sub(last); ok && age > -maxSkew && age < watchedEvery {
		return first, nil
	}
	return first, c.env.Store.Put(ctx, watchedKey, formatSpan(first, now), minWatched)
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
