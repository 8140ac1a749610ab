// Package rate limits to how many recipients an authenticated user, a client network and a sender domain may send. Users are limited
// in sessions of trusted clients too, as a stolen password is used there.
//
// A recipient is counted at RCPT, and its count is taken back if the recipient or the message is refused. The recipients of a domain
// that only a DKIM signature proves are counted at the end of the message. The store adds atomically, so hosts that share one
// enforce the limit together. A count is for a window of fixed times, such as an hour of the clock.
//
// rate.go has the check, counter.go the counters in the store, limits.go the limits, over.go the users who were over a limit, and
// operator.go the counts that commands show. Start with Check.
package rate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

// Settings configure the check.
type Settings struct {
	User   Limits            `yaml:"user" doc:"How many recipients an authenticated user may send to, as 200/h or 200/h 1000/d; empty: any number. It holds for trusted clients too." example:"200/h 1000/d"`
	Client Limits            `yaml:"client" doc:"How many recipients a client network (IPv4 /24, IPv6 /64) may send to; empty: any number."`
	Domain Limits            `yaml:"domain" doc:"How many recipients an organisational sender domain may send mail to that passes SPF or DKIM for it; empty: any number."`
	Users  map[string]Limits `yaml:"users" doc:"Other limits for users: by name, or for all users of a @domain; an empty limit is none." example:"{newsletter: \"\", \"@dept.example\": 5000/d}"`
}

// Validate returns an error for users without a name, and for two that are the same without regard to case.
func (c Settings) Validate() error {
	var faults []error
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		lower := strings.ToLower(name)
		switch {
		case strings.TrimPrefix(name, "@") == "":
			faults = append(faults, fmt.Errorf("users: %.60q is no user; write a name, or @example.org for all users of a domain", name))
		case seen[lower]:
			faults = append(faults, fmt.Errorf("users: %.60q is there twice, as case does not matter; delete one of them", name))
		}
		seen[lower] = true
	}
	return errors.Join(faults...)
}

// Info describes the check. It runs at each RCPT, for trusted clients too, and at the end of the message for signing domains.
var Info = checks.Define(checks.Info{
	Name: "rate",
	Doc: "Limits how many recipients an authenticated user, a client network (IPv4 /24, IPv6 /64) and a sender domain that passes " +
		"SPF or DKIM may send to. There are no limits by default. Users are limited in sessions of trusted clients too, as a stolen password " +
		"is used there. Private clients are not limited, nor are forwarders for what they pass on.",
	Stages:     []checks.Stage{checks.RcptTo, checks.EndOfMessage},
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
	limits := func(l Limits) []limit {
		list, _ := l.parse() // UnmarshalText has parsed it
		return list
	}
	k := &check{
		env: env, user: limits(c.User), client: limits(c.Client), domain: limits(c.Domain), users: map[string][]limit{},
		over: overList{users: map[string]overUser{}},
	}
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
		v, errStore := c.admit(ctx, r, s, 1)
		err = errors.Join(err, errStore)
		verdicts = append(verdicts, v...)
	}
	return verdicts, err
}

// checkMessage counts all recipients for a domain that a signature proves, unless SPF has proved one at RCPT. If no check asks for the
// body, no signature counts.
func (c *check) checkMessage(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if len(c.domain) == 0 || r.Trusted() || facts.LacksBody(c.env, r) {
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
	return c.admit(ctx, r, subject{reason: domainRate, name: domain, limits: c.domain}, accepted)
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
			return checks.OrgDomain(domain), err
		}
	}
	return "", nil
}

// subjects returns who is limited for the current recipient. Mail that a forwarder passes on counts for a user only.
func (c *check) subjects(ctx context.Context, r *checks.Request) (list []subject, err error) {
	if user := strings.ToLower(r.AuthUser); user != "" {
		list = append(list, subject{reason: userRate, name: user, limits: c.limitsOf(user)})
	}
	if r.Trusted() || r.Forwarded(len(r.Envelope.Rcpts)-1) {
		return list, nil
	}
	if len(c.client) > 0 && r.Client.IsValid() {
		list = append(list, subject{reason: clientRate, name: checks.Network(r.Client).String(), limits: c.client})
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
	return checks.OrgDomain(from.Domain), nil
}

// detailOf are the names of the subjects in the replies and the log.
var detailOf = map[*checks.Reason]string{userRate: "user", clientRate: "network", domainRate: "sender_domain"}

// admit counts n recipients for a subject. If that is over a limit, it takes them back and returns the verdict.
func (c *check) admit(ctx context.Context, r *checks.Request, s subject, n int64) ([]checks.Verdict, error) {
	var added []addition
	for _, l := range s.limits {
		key, end := s.counter(l, r.Time)
		a := addition{key: key, per: l.Per, n: n, rcpt: len(r.Envelope.Rcpts) - 1}
		total, err := c.add(ctx, a, n)
		if err != nil {
			return nil, errors.Join(err, c.takeBack(ctx, added))
		}
		added = append(added, a)
		if total > l.N && (n == 1 || total > n) { // a message with too many recipients passes alone: it cannot be split any more
			c.over.add(s, l, r.Time)
			detail := map[string]string{detailOf[s.reason]: s.name, "limit": l.String(), "until": end.UTC().Format(checks.TimeLayout)}
			return []checks.Verdict{{Reason: s.reason, Detail: detail}}, c.takeBack(ctx, added)
		}
	}
	list := additionsOf(r)
	*list = append(*list, added...)
	return nil, nil
}
