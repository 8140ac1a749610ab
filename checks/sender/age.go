package sender

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"milterd/checks"
	"milterd/checks/facts"
)

// domainAge judges whether the sender's domain is new. What is not known is never new. An error does not keep the mail
// waiting: the registry is asked in the background, and the next mail will know.
func (c *check) domainAge(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	domain := s.Envelope.MailFrom.Domain
	if c.NewDomain == 0 && c.FirstSeen == 0 || c.isOurs(domain) {
		return nil, nil
	}
	// Both are asked whatever the other says: first_seen learns from each mail.
	registered, errRegistered := c.newlyRegistered(ctx, s, domain)
	seen, errSeen := c.newlySeen(ctx, s, domain)
	since := registered
	if since == "" {
		since = seen
	}
	if since == "" {
		return nil, errors.Join(errRegistered, errSeen)
	}
	return []checks.Verdict{{Reason: domainNew, Detail: map[string]string{"since": since}, Unsure: c.env.Clock.Doubt(s.Time) != ""}}, nil
}

// newlyRegistered says when the domain was registered if that is not long ago.
func (c *check) newlyRegistered(ctx context.Context, s *checks.Request, domain string) (string, error) {
	if c.NewDomain == 0 || c.env.Registry == nil {
		return "", nil
	}
	name := registrable(domain)
	if name == "" {
		return "", nil
	}
	at, err := c.registrations.look(ctx, s.Time, name)
	if !at.IsZero() {
		checks.Note(ctx, fmt.Sprintf("%s was registered on %s", name, at.UTC().Format(time.DateOnly)))
	}
	// A date ahead is a clock that is wrong, or a domain registered anew since the mail that is replayed.
	age := s.Time.Sub(at)
	if at.IsZero() || err != nil || age < -24*time.Hour || age >= c.NewDomain {
		return "", err
	}
	return fmt.Sprintf("%s was registered on %s", name, at.UTC().Format(time.DateOnly)), nil
}

// registrable is the part of a domain that was registered at a registry: the label below the public suffix, and that
// suffix. It is empty where there is none: at a public suffix itself, and below the suffix of a private owner
// (user.github.io), who gives names away and tells nobody when.
func registrable(domain string) string {
	suffix, byICANN := publicsuffix.PublicSuffix(domain)
	if !byICANN && strings.Contains(suffix, ".") {
		return ""
	}
	return facts.OrgDomain(domain)
}

const (
	// seenKey begins the record of a domain: when this site saw it first, and when it noted so last.
	seenKey = "sender:seen:"
	// watchedKey is the record of when this site began to note domains.
	watchedKey = "sender:watched"
	// seenFor is how long a domain is remembered that writes no more.
	seenFor = 180 * 24 * time.Hour
	// seenEvery is how old the last note may become before it is written again, to save writes.
	seenEvery = 24 * time.Hour
	// learning is how long this site watches before it calls any domain new: until then it has seen hardly any that write to
	// it. Who does not note for so long begins anew.
	learning = 7 * 24 * time.Hour
	// watchedEvery is how often it is noted that this site still watches.
	watchedEvery = time.Hour
	// skew is how far the clocks of hosts that share a store may be apart.
	skew = time.Minute
)

// newlySeen says when the domain was first seen here if that is not long ago, and notes that it was seen. It goes by the
// organisational domain, or one domain would have as many first times as it has names.
func (c *check) newlySeen(ctx context.Context, s *checks.Request, domain string) (string, error) {
	org := facts.OrgDomain(domain)
	if c.FirstSeen == 0 || org == "" {
		return "", nil
	}
	watched, err := c.watchedSince(ctx, s.Time)
	if err != nil {
		return "", err
	}
	first, err := c.firstSeen(ctx, s.Time, org)
	age := s.Time.Sub(first)
	// A time ahead was noted by a clock that was wrong then, or one that is wrong now reads it.
	if err != nil || age < -skew || age >= c.FirstSeen || first.Sub(watched) < max(learning, c.FirstSeen) {
		return "", err
	}
	return fmt.Sprintf("%s was first seen here on %s", org, first.UTC().Format("2006-01-02 15:04 MST")), nil
}

// firstSeen returns when a domain was seen first, which may be now.
func (c *check) firstSeen(ctx context.Context, now time.Time, org string) (time.Time, error) {
	value, _, err := c.env.Store.Get(ctx, seenKey+org)
	if err != nil {
		return now, err
	}
	first, last, ok := parseSpan(value)
	if !ok {
		first = now
	}
	if age := now.Sub(last); ok && age > -skew && age < seenEvery {
		return first, nil
	}
	// Two hosts that see a domain first at the same time write the same, but for moments.
	return first, c.env.Store.Put(ctx, seenKey+org, formatSpan(first, now), seenFor)
}

// watchedSince returns since when this site has been noting domains without a pause.
func (c *check) watchedSince(ctx context.Context, now time.Time) (time.Time, error) {
	value, _, err := c.env.Store.Get(ctx, watchedKey)
	if err != nil {
		return now, err
	}
	first, last, ok := parseSpan(value)
	// The store forgets who pauses, but it keeps a time of its own: where the clock of the sessions was wrong and has been put
	// right, the beginning may be too long ago, or be still to come.
	if !ok || now.Sub(last) >= learning || first.After(now.Add(skew)) {
		first = now
	}
	if age := now.Sub(last); ok && age > -skew && age < watchedEvery {
		return first, nil
	}
	return first, c.env.Store.Put(ctx, watchedKey, formatSpan(first, now), learning)
}

// formatSpan writes two times, in seconds since 1970.
func formatSpan(first, last time.Time) []byte {
	return fmt.Appendf(nil, "%d %d", first.Unix(), last.Unix())
}

// parseSpan reads what formatSpan wrote.
func parseSpan(value []byte) (first, last time.Time, ok bool) {
	a, b, _ := strings.Cut(string(value), " ")
	from, errA := strconv.ParseInt(a, 10, 64)
	to, errB := strconv.ParseInt(b, 10, 64)
	return time.Unix(from, 0), time.Unix(to, 0), errA == nil && errB == nil
}
