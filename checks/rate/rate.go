// Package rate limits to how many recipients an authenticated user, a client network and a sender domain may send. A user over the
// limit is how a stolen password shows itself, so users are limited in sessions of trusted clients too.
//
// A recipient is counted when it is asked about, and the count is taken back if the recipient is refused. The counts are in the
// store, which adds atomically, so hosts that share a store admit no recipient too many between them. A count is for a window of
// fixed times, such as an hour of the clock.
//
// rate.go has the check, limits.go the limits and their windows, over.go the list of who is over a limit. Start with Check.
package rate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

// Settings configure the check.
type Settings struct {
	User   Limits            `yaml:"user" doc:"To how many recipients an authenticated user may send, as 200/h or 200/h 1000/d; empty: any number. It holds for trusted clients too." example:"200/h 1000/d"`
	Client Limits            `yaml:"client" doc:"To how many recipients a client network (IPv4 /24, IPv6 /64) may send; empty: any number."`
	Domain Limits            `yaml:"domain" doc:"To how many recipients an organisational sender domain may send from hosts that pass SPF for it; empty: any number."`
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

// Info describes the check. It runs at each RCPT, for trusted clients too.
var Info = checks.Define(checks.Info{
	Name: "rate",
	Doc: "Limits to how many recipients an authenticated user, a client network (IPv4 /24, IPv6 /64) and a sender domain that passes " +
		"SPF may send. There are no limits by default. Users are limited in sessions of trusted clients too, as a stolen password " +
		"shows itself so; private clients and forwarders are not limited.",
	Stages:     []checks.Stage{checks.RcptTo},
	Reasons:    []*checks.Reason{userRate, clientRate, domainRate},
	TrustedToo: true,
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

// Check implements checks.Check. It counts the current recipient for each subject, unless that is over its limit.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	subjects, err := c.subjects(ctx, r)
	var verdicts []checks.Verdict
	for _, s := range subjects {
		v, errStore := c.count(ctx, r, s)
		err = errors.Join(err, errStore)
		if v != nil {
			verdicts = append(verdicts, *v)
		}
	}
	return verdicts, err
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

// counted are keys of counters that count a recipient.
type counted struct{ keys []string }

type countedKey struct{}

// countedOf returns the counters of a scope: RcptTo for those of the current recipient, MailFrom for those of all accepted ones.
func countedOf(r *checks.Request, scope checks.Stage) *counted {
	c, _ := checks.Remember(r, scope, countedKey{}, func() (*counted, error) { return new(counted), nil })
	return c
}

// count counts the current recipient for a subject. If that is over a limit, it takes the counts back and returns the verdict.
func (c *check) count(ctx context.Context, r *checks.Request, s subject) (*checks.Verdict, error) {
	var keys []string
	for _, l := range s.limits {
		number, end := l.window(r.Time)
		key := fmt.Sprintf("rate:%s:%d:%d:%s", s.reason.ID, int64(l.per.Seconds()), number, storeName(s.name))
		total, err := c.env.Store.Add(ctx, key, 1, 2*l.per) // longer than the window, so that a count can be taken back at its end
		if err != nil {
			return nil, errors.Join(err, c.release(ctx, keys))
		}
		keys = append(keys, key)
		if total > l.n {
			c.over.add(s, l, end, r.Time)
			return &checks.Verdict{Reason: s.reason, Detail: map[string]string{
				detailOf[s.reason]: s.name, "limit": l.String(), "until": end.UTC().Format(checks.UntilLayout),
			}}, c.release(ctx, keys)
		}
	}
	for _, scope := range []checks.Stage{checks.RcptTo, checks.MailFrom} {
		held := countedOf(r, scope)
		held.keys = append(held.keys, keys...)
	}
	return nil, nil
}

// detailOf are the names of the subjects in the replies and the log.
var detailOf = map[*checks.Reason]string{userRate: "user", clientRate: "network", domainRate: "sender_domain"}

// release takes counts back.
func (c *check) release(ctx context.Context, keys []string) error {
	var errs []error
	for _, key := range keys {
		if _, err := c.env.Store.Add(ctx, key, -1, units["d"]); err != nil {
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
	keys := last.keys
	if len(r.Envelope.Header) > 0 {
		keys = all.keys
	}
	all.keys, last.keys = without(all.keys, keys), nil
	if err := c.release(ctx, keys); err != nil {
		c.env.Log.WithError(err).WithField("check", Info.Name).Warn("could not take back a count")
	}
}

// without returns list without one element for each of keys.
func without(list, keys []string) []string {
	list = slices.Clone(list)
	for _, key := range keys {
		if i := slices.Index(list, key); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
	}
	return list
}
