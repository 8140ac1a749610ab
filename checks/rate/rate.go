// Package rate limits to how many recipients an authenticated user, a client network and a sender domain may send. A user over the
// limit is how a stolen password shows itself, so users are limited in sessions of trusted clients too.
//
// A recipient is counted when it is asked about, and the count is taken back if the recipient is refused. The recipients of a domain that
// only a DKIM signature shows are counted at the end of the message. The counts are in the
// store, which adds atomically, so hosts that share a store admit no recipient too many between them. A count is for a window of
// fixed times, such as an hour of the clock.
//
// rate.go has the check, limits.go the limits and their windows, over.go the list of who is over a limit, operator.go what the counts
// are. Start with Check.
package rate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// Settings configure the check.
type Settings struct {
	User   Limits            `yaml:"user" doc:"To how many recipients an authenticated user may send, as 200/h or 200/h 1000/d; empty: any number. It holds for trusted clients too." example:"200/h 1000/d"`
	Client Limits            `yaml:"client" doc:"To how many recipients a client network (IPv4 /24, IPv6 /64) may send; empty: any number."`
	Domain Limits            `yaml:"domain" doc:"To how many recipients an organisational sender domain may send mail that passes SPF or DKIM for it; empty: any number."`
	Users  map[string]Limits `yaml:"users" doc:"Other limits for users: by name, or for all users of a @domain; an empty limit is none." example:"{newsletter: \"\", \"@dept.example\": 5000/d}"`
}

// Validate returns an error for limits and users that cannot be.
func (c Settings) Validate() error {
	var faults []error
	for key, l := range map[string]Limits{"user": c.User, "client": c.Client, "domain": c.Domain} {
		if _, err := l.parse(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", key, err))
		}
	}
	for name, l := range c.Users {
		if _, err := l.parse(); err != nil {
			faults = append(faults, fmt.Errorf("users: %w", err))
		}
		if strings.TrimPrefix(name, "@") == "" {
			faults = append(faults, fmt.Errorf("users: %.60q is no user and no @domain", name))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check. It runs at each RCPT, for trusted clients too, and at the end of the message for signing domains.
var Info = checks.Define(checks.Info{
	Name: "rate",
	Doc: "Limits to how many recipients an authenticated user, a client network (IPv4 /24, IPv6 /64) and a sender domain that passes " +
		"SPF or DKIM may send. There are no limits by default. Users are limited in sessions of trusted clients too, as a stolen password " +
		"shows itself so; private clients and forwarders are not limited.",
	Stages:     []checks.Stage{checks.RcptTo, checks.EndOfMessage},
	Reasons:    []*checks.Reason{userRate, clientRate, domainRate},
	TrustedToo: true,
	Body:       true,
}, Settings{}, build)

type check struct {
	env                  checks.Env
	user, client, domain []limit
	users                map[string][]limit // by name or @domain, in lower case
	over                 overList
}

var (
	_ checks.Observer   = (*check)(nil)
	_ checks.Maintainer = (*check)(nil)
	_ checks.Reloader   = (*check)(nil)
	_ checks.Prefetcher = (*check)(nil)
)

func build(c Settings, env checks.Env) (checks.Check, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	limits := func(l Limits) []limit {
		list, _ := l.parse() // Validate has parsed it
		return list
	}
	k := &check{env: env, user: limits(c.User), client: limits(c.Client), domain: limits(c.Domain), users: map[string][]limit{}}
	for name, l := range c.Users {
		k.users[strings.ToLower(name)] = limits(l)
	}
	return k, nil
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	if len(c.domain) > 0 && r.Stage == checks.MailFrom {
		return facts.PrefetchMailFromSPF(r)
	}
	return nil
}

// subject is who is limited.
type subject struct {
	reason *checks.Reason
	name   string
	limits []limit
}

// Check implements checks.Check. It counts the current recipient, or at the end of the message all of them, for each subject, unless
// that is over its limit.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Stage == checks.EndOfMessage {
		return c.checkMessage(ctx, r)
	}
	subjects, err := c.subjects(ctx, r)
	var verdicts []checks.Verdict
	for _, s := range subjects {
		v, errStore := c.count(ctx, r, s, 1)
		err = errors.Join(err, errStore)
		if v != nil {
			verdicts = append(verdicts, *v)
		}
	}
	return verdicts, err
}

// checkMessage counts all recipients for a domain that a signature shows, unless SPF has shown it at RCPT.
func (c *check) checkMessage(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if len(c.domain) == 0 || r.Trusted() {
		return nil, nil
	}
	if domain, err := c.senderDomain(ctx, r); domain != "" || err != nil {
		return nil, err
	}
	domain, err := c.signingDomain(ctx, r)
	if domain == "" || err != nil {
		return nil, err
	}
	accepted := int64(0)
	for i, rcpt := range r.Envelope.Rcpts {
		if rcpt.Refused == "" && !r.Forwarded(i) {
			accepted++
		}
	}
	if accepted == 0 {
		return nil, nil
	}
	v, err := c.count(ctx, r, subject{reason: domainRate, name: domain, limits: c.domain}, accepted)
	if v == nil {
		return nil, err
	}
	return []checks.Verdict{*v}, err
}

// signingDomain returns the organisational domain of the sender, or else of the only author, if a DKIM signature of it passes, or "".
func (c *check) signingDomain(ctx context.Context, r *checks.Request) (string, error) {
	var domains []string
	if from := r.Envelope.MailFrom.Domain; from != "" {
		domains = append(domains, from)
	}
	if a := facts.MessageAuthors(r); len(a.Domains) == 1 && len(a.Invalid) == 0 {
		domains = append(domains, a.Domains[0])
	}
	for _, domain := range domains {
		if signed, err := facts.SignedBy(ctx, c.env, r, domain); signed || err != nil {
			return facts.OrgDomain(domain), err
		}
	}
	return "", nil
}

// subjects returns who is limited in a session.
func (c *check) subjects(ctx context.Context, r *checks.Request) (list []subject, err error) {
	if user := strings.ToLower(r.AuthUser); user != "" {
		list = append(list, subject{reason: userRate, name: user, limits: c.limitsOf(user)})
	}
	if r.Trusted() {
		return list, nil
	}
	if len(c.client) > 0 && r.Client.IsValid() {
		list = append(list, subject{reason: clientRate, name: facts.Network(r.Client).String(), limits: c.client})
	}
	if len(c.domain) > 0 {
		domain, errSPF := c.senderDomain(ctx, r)
		err = errSPF
		if domain != "" {
			list = append(list, subject{reason: domainRate, name: domain, limits: c.domain})
		}
	}
	return list, err
}

// limitsOf returns the limits of a user: those of its name, of its domain, or of all users.
func (c *check) limitsOf(user string) []limit {
	if l, ok := c.users[user]; ok {
		return l
	}
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		if l, ok := c.users[user[i:]]; ok {
			return l
		}
	}
	return c.user
}

// senderDomain returns the organisational domain of the sender if the client passes SPF for it, or "".
func (c *check) senderDomain(ctx context.Context, r *checks.Request) (string, error) {
	from := r.Envelope.MailFrom
	if from.Domain == "" {
		return "", nil
	}
	result, err := facts.MailFromSPF(ctx, c.env, r)
	if err != nil {
		return "", err
	}
	if ok, err := result.Identifies(); !ok {
		return "", err
	}
	return facts.OrgDomain(from.Domain), nil
}

// counted are the counts of recipients that are not refused yet.
type counted struct{ counts []count }

// count is a number of recipients in a counter of the store.
type count struct {
	key string
	n   int64
}

type countedKey struct{}

// countedOf returns the counters of a scope: RcptTo for those of the current recipient, MailFrom for those of all accepted ones.
func countedOf(r *checks.Request, scope checks.Stage) *counted {
	c, _ := checks.Remember(r, scope, countedKey{}, func() (*counted, error) { return new(counted), nil })
	return c
}

// count counts n recipients for a subject. If that is over a limit, it takes the counts back and returns the verdict.
func (c *check) count(ctx context.Context, r *checks.Request, s subject, n int64) (*checks.Verdict, error) {
	var counts []count
	for _, l := range s.limits {
		key, end := s.key(l, r.Time)
		total, err := c.env.Store.Add(ctx, key, n, 2*l.per) // longer than the window, so that a count can be taken back at its end
		if err != nil {
			return nil, errors.Join(err, c.release(ctx, counts))
		}
		counts = append(counts, count{key: key, n: n})
		if total > l.n && (n == 1 || total > n) { // a message with too many recipients passes alone: it cannot be split any more
			c.over.add(s, l, end, r.Time)
			return &checks.Verdict{Reason: s.reason, Detail: map[string]string{
				detailOf[s.reason]: s.name, "limit": l.String(), "until": end.UTC().Format(checks.UntilLayout),
			}}, c.release(ctx, counts)
		}
	}
	scopes := []checks.Stage{checks.RcptTo, checks.MailFrom}
	if r.Stage == checks.EndOfMessage {
		scopes = scopes[1:]
	}
	for _, scope := range scopes {
		held := countedOf(r, scope)
		held.counts = append(held.counts, counts...)
	}
	return nil, nil
}

// key returns the key of the counter of a subject for a limit at a time, and the end of its window.
func (s subject) key(l limit, now time.Time) (key string, end time.Time) {
	number, end := l.window(now)
	return fmt.Sprintf("rate:%s:%d:%d:%s", s.reason.ID, int64(l.per.Seconds()), number, storeName(s.name)), end
}

// detailOf are the names of the subjects in the replies and the log.
var detailOf = map[*checks.Reason]string{userRate: "user", clientRate: "network", domainRate: "sender_domain"}

// release takes counts back.
func (c *check) release(ctx context.Context, counts []count) error {
	var errs []error
	for _, one := range counts {
		if _, err := c.env.Store.Add(ctx, one.key, -one.n, units["d"]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Observe implements checks.Observer. It takes back the counts of recipients that another reason refuses.
func (c *check) Observe(ctx context.Context, r *checks.Request, e checks.Event) {
	if e.Kind != checks.Refused || len(r.Envelope.Rcpts) == 0 {
		return
	}
	last, all := countedOf(r, checks.RcptTo), countedOf(r, checks.MailFrom)
	counts := last.counts
	if len(r.Envelope.Header) > 0 {
		counts = all.counts
	}
	all.counts, last.counts = without(all.counts, counts), nil
	if err := c.release(ctx, counts); err != nil {
		c.env.Log.WithError(err).WithField("check", Info.Name).Warn("could not take back a count")
	}
}

// without returns list without one element for each of counts.
func without(list, counts []count) []count {
	list = slices.Clone(list)
	for _, one := range counts {
		if i := slices.Index(list, one); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
	}
	return list
}
