// Package callout asks the mail hosts of a sender's domain whether they would take mail for the sender's address (sender
// address verification, or callout): EHLO, MAIL, RCPT, QUIT, never DATA.
//
// A callout costs somebody else something, and is open to abuse: whoever forges a sender makes us knock at a stranger's
// door. So all that was learned is remembered with the words of the host that said it, an address is asked about once
// however many mails name it, each mail host is asked a few times a minute for all its domains together, and a host that
// refuses us is left alone. What a host says about us is never held against the sender.
//
// Two sites that both call out do not wait for each other. A callout has the null reverse-path, which is never called out
// itself, so the other side's answer to our RCPT waits for nothing of ours. Only a host that refuses the null reverse-path
// gets an address of ours, if there is one, and that the other side may call out: from then on nobody waits for the answer,
// the mail in question is told that it is pending, and so both sides come to an end.
package callout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	Port         int           `yaml:"port" doc:"TCP port at which mail hosts are asked; 25 for all hosts of the Internet."`
	From         string        `yaml:"from" doc:"Sender address for hosts that refuse the null reverse-path, which is always tried first; empty: such hosts are not asked further." example:"callout@example.org"`
	Random       bool          `yaml:"random" doc:"Whether a made-up address is asked about first: a host that takes it takes every address, so its answers prove nothing."`
	Domains      []string      `yaml:"domains" doc:"Sender domains that are asked: a domain, or .domain with all below it; empty: every domain." example:"[example.net, .example.com]"`
	Skip         []string      `yaml:"skip" doc:"Sender domains and mail hosts that are never asked: a name, or .domain with all below it." example:"[.example.edu]"`
	AllowPrivate bool          `yaml:"allow_private" doc:"Whether mail hosts with loopback, private or otherwise not globally reachable addresses are asked too."`
	PerMX        Rate          `yaml:"per_mx" doc:"How often one mail host, and one of its addresses, is connected to for all domains together, as a number per s, m, h or d."`
	Daily        int           `yaml:"daily" doc:"How many connections all callouts of this site may make in 24h."`
	Good         time.Duration `yaml:"good" doc:"How long an accepted address is remembered; one still in use is asked about again, in the background, before that."`
	Bad          time.Duration `yaml:"bad" doc:"How long a rejected address is remembered."`
	CatchAll     time.Duration `yaml:"catchall" doc:"How long a mail host that accepts every address is remembered and not asked."`
	Unusable     time.Duration `yaml:"unusable" doc:"How long a domain whose mail hosts cannot be asked, and a mail host that refuses us, are left alone."`
}

// Validate finds settings that make no sense.
func (c Settings) Validate() error {
	var faults []error
	if c.Port < 1 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("port: %d is no TCP port", c.Port))
	}
	if from := checks.ParseAddress(c.From); c.From != "" && (from.Domain == "" || mailbox(from) == "") {
		faults = append(faults, fmt.Errorf("from: %q is no address of the form user@domain", c.From))
	}
	if _, isRate := c.PerMX.limit(); !isRate {
		faults = append(faults, fmt.Errorf("per_mx: %q is no rate such as 10/m", c.PerMX))
	}
	if c.Daily < 1 {
		faults = append(faults, errors.New("daily: want 1 or more; to switch callouts off, set the actions of callout-* to off"))
	}
	for _, ttl := range []struct {
		key string
		time.Duration
	}{{"good", c.Good}, {"bad", c.Bad}, {"catchall", c.CatchAll}, {"unusable", c.Unusable}} {
		if ttl.Duration < time.Minute {
			faults = append(faults, fmt.Errorf("%s: want 1m or more, or the same host is asked again and again", ttl.key))
		}
	}
	for _, names := range []struct {
		key  string
		list []string
	}{{"domains", c.Domains}, {"skip", c.Skip}} {
		if _, err := parseNames(names.list); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", names.key, err))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check. It asks at RCPT, not at MAIL: no stranger is troubled for a mail that is refused anyway.
var Info = checks.Define(checks.Info{
	Name: "callout",
	Doc: "Asks the mail hosts of the sender's domain whether they take mail for the sender address, and at the end of the header " +
		"for the author's. Null reverse-paths, own domains and senders that somebody vouches for are not asked about. Use it " +
		"with care: hosts may list a site that asks often.",
	Stages:  []checks.Stage{checks.RcptTo, checks.EndOfHeader},
	Reasons: []*checks.Reason{rejected, unreachable, pending, fromRejected},
}, Settings{
	Port: 25, Random: true, PerMX: "10/m", Daily: 10000,
	Good: 24 * time.Hour, Bad: 2 * time.Hour, CatchAll: 7 * 24 * time.Hour, Unusable: 3 * time.Hour,
}, func(c Settings, env checks.Env) (checks.Check, error) { return build(c, env) })

func build(c Settings, env checks.Env) (*check, error) {
	domains, err := parseNames(c.Domains)
	if err != nil {
		return nil, fmt.Errorf("domains: %w", err)
	}
	skip, err := parseNames(c.Skip)
	if err != nil {
		return nil, fmt.Errorf("skip: %w", err)
	}
	perMX, ok := c.PerMX.limit()
	if !ok {
		return nil, fmt.Errorf("per_mx: %q is no rate", c.PerMX)
	}
	return &check{
		Settings: c, env: env, domains: domains, skip: skip, random: randomLocal, most: maxFlights,
		perMX: perMX, flights: map[string]*flight{},
	}, nil
}

type check struct {
	Settings
	env           checks.Env
	domains, skip names
	random        func() string // a local part that nobody has
	most          int           // flights at a time
	perMX         limit         // PerMX
	tally         tally

	mu      sync.Mutex
	flights map[string]*flight // by cache key of the address
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if s.Envelope.MailFrom.IsNull() {
		return nil, nil // nor the author of a bounce: other sites' callouts must not set off ours
	}
	if s.Stage == checks.EndOfHeader {
		return c.author(ctx, s)
	}
	return c.reversePath(ctx, s)
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	if s.Stage != checks.MailFrom || !c.wants(s.Envelope.MailFrom) {
		return nil
	}
	return facts.PrefetchMX(s)
}

// reversePath judges the sender for the recipient in question.
func (c *check) reversePath(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	from := s.Envelope.MailFrom
	if off(s, rejected, unreachable, pending) || c.spared(s, len(s.Envelope.Rcpts)-1) || !c.wants(from) {
		return nil, nil
	}
	a, err := c.remembered(ctx, s, from)
	if err != nil {
		return nil, err
	}
	switch a.Kind {
	case isRejected:
		return []checks.Verdict{a.verdict(rejected, from)}, nil
	case isTemporary, isFailed, isRefused:
		return []checks.Verdict{a.verdict(unreachable, from)}, nil
	case isPending:
		return []checks.Verdict{a.verdict(pending, from)}, nil
	}
	return nil, nil
}

// author judges the first author of the From field (RFC 5322 section 3.6.2), if that is not the sender: a sender was judged
// at RCPT. Only a definite answer counts; one that is pending will be there for the next message.
func (c *check) author(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if off(s, fromRejected) {
		return nil, nil
	}
	from := firstAuthor(s.Envelope.Header)
	if !c.anyWaits(s) || !c.wants(from) || sameMailbox(from, s.Envelope.MailFrom) {
		return nil, nil
	}
	a, err := c.remembered(ctx, s, from)
	if err != nil || a.Kind != isRejected {
		return nil, err
	}
	return []checks.Verdict{a.verdict(fromRejected, from)}, nil
}

func firstAuthor(header []headers.Field) checks.Address {
	for _, f := range header {
		if !f.Is("From") {
			continue
		}
		if list, err := headers.ParseMailboxList(f.Value); err == nil && len(list) > 0 {
			return checks.ParseAddress(headers.Path{Local: list[0].Local, Domain: list[0].Domain}.String())
		}
		break
	}
	return checks.Address{}
}

type key struct{ mailbox string }

// remembered gives all recipients of a transaction the same answer, and makes them wait for it once.
func (c *check) remembered(ctx context.Context, s *checks.Request, who checks.Address) (answer, error) {
	return checks.Remember(s, checks.MailFrom, key{mailbox(who)}, func() (answer, error) {
		a, err := c.verify(ctx, question{mailbox: mailbox(who), domain: who.Domain, now: s.Time})
		if err == nil {
			checks.Note(ctx, a.story(mailbox(who)))
		}
		if a.Kind == isPending {
			c.tally.count(countPending)
		}
		return a, err
	})
}

// spared reports whether no callout is made for recipient i: the sender has a vouch, or another site asks about the address
// in from.
func (c *check) spared(r *checks.Request, i int) bool {
	if i < 0 {
		return false
	}
	return r.Vouch(i) >= checks.SkipDelays || c.From != "" && sameMailbox(r.Envelope.Rcpts[i].Address, checks.ParseAddress(c.From))
}

// anyWaits reports whether a callout is made for any accepted recipient.
func (c *check) anyWaits(r *checks.Request) bool {
	for i, rcpt := range r.Envelope.Rcpts {
		if rcpt.Refused == "" && !c.spared(r, i) {
			return true
		}
	}
	return false
}

// off reports whether all of the reasons are off for the current recipient.
func off(r *checks.Request, reasons ...*checks.Reason) bool {
	return !slices.ContainsFunc(reasons, func(reason *checks.Reason) bool { return r.Action(reason) != checks.Off })
}

// wants tells whether an address is to be asked about.
func (c *check) wants(a checks.Address) bool {
	ours := func(d string) bool { return checks.SameName(d, a.Domain) }
	return a.Domain != "" && mailbox(a) != "" && !slices.ContainsFunc(c.env.Site.LocalDomains, ours) &&
		(c.domains.empty() || c.domains.has(a.Domain)) && !c.skip.has(a.Domain)
}

// mailbox is the address as RCPT names it, without angle brackets. It is empty if SMTP without extensions cannot carry it:
// 8-bit octets would need SMTPUTF8 (RFC 6531), and control characters are an attempt to say more than RCPT.
func mailbox(a checks.Address) string {
	m := headers.Path{Local: a.Local, Domain: a.Domain}.String()
	unfit := func(c rune) bool { return c < ' ' || c > '~' }
	if a.Local == "" || len(m) > maxMailbox || strings.ContainsFunc(m, unfit) {
		return ""
	}
	return m
}

// maxMailbox is the longest address asked about, in octets: RFC 5321 section 4.5.3.1.3 has 256 with the angle brackets.
const maxMailbox = 254

// sameMailbox compares without regard to case, in the local part too: no site tells its users apart by case.
func sameMailbox(a, b checks.Address) bool {
	return a.Domain == b.Domain && strings.EqualFold(a.Local, b.Local)
}
