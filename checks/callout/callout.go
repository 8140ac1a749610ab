// Package callout asks the mail hosts of a sender's domain whether they accept mail to the sender's address (sender address
// verification, or callout): EHLO, MAIL, RCPT, QUIT, never DATA.
//
// A callout costs others work, and a forged sender address directs it at hosts that have nothing to do with the mail. So
// results are kept in the store, there is one callout for an address at a time, and a mail host is asked a few times a minute
// for all its domains together, and not at all once it refuses. What a host says about us is not held against the sender.
//
// callout.go has the check, flight.go a callout in progress, probe.go the choice of mail hosts and the limits, smtp.go the
// SMTP session, reply.go the replies and policy.go their meaning; answer.go has the result and the records in the store, and
// report.go what the operator sees. The mail hosts of a domain come from package facts. Start with Check.
package callout

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
	"milterd/headers"
)

// Info describes the check. It runs at RCPT and not at MAIL, so that mail that is refused anyway causes no callout.
var Info = checks.Define(checks.Info{
	Name: "callout",
	Doc: "Asks the mail hosts of the sender's domain whether they accept mail to the sender address, and at the end of the header " +
		"to the author's. Null reverse-paths, own domains and senders for which an allow zone, an MX+ match or earlier mail of a user vouches are not asked about. Use it with care: hosts may " +
		"list a site that asks often.",
	Stages:  []checks.Stage{checks.RcptTo, checks.EndOfHeader},
	Reasons: []*checks.Reason{rejected, unreachable, pending, fromRejected},
}, Settings{
	Port: 25, Random: true, PerMX: checks.RateLimit{N: 10, Per: time.Minute}, Daily: 10000,
	Good: 24 * time.Hour, Bad: 2 * time.Hour, CatchAll: 7 * 24 * time.Hour, Unusable: 3 * time.Hour,
}, func(c Settings, env checks.Env) (checks.Check, error) { return build(c, env), nil })

// build returns the check of valid settings.
func build(c Settings, env checks.Env) *check {
	domains, _ := nameSet("domains", c.Domains)
	skip, _ := nameSet("skip", c.Skip)
	return &check{
		Settings: c, env: env, domains: domains, skip: skip, random: randomLocal, flights: map[string]*flight{},
		stats: stats{counts: map[string]uint64{}, refusing: map[string]refusal{}},
	}
}

type check struct {
	Settings
	env           checks.Env
	domains, skip checks.NameSet
	random        func() string // returns a local part that begins with randomPrefix
	stats         stats

	mu      sync.Mutex
	flights map[string]*flight // by question.key
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	if r.Stage != checks.MailFrom || !c.isWanted(r.Envelope.MailFrom) {
		return nil
	}
	return facts.PrefetchMX(r)
}

// Check implements checks.Check. A bounce causes no callout, not even for its author: it may be the callout of another site.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	switch {
	case r.Envelope.MailFrom.IsNull():
		return nil, nil
	case r.Stage == checks.EndOfHeader:
		return c.checkAuthor(ctx, r)
	default:
		return c.checkSender(ctx, r)
	}
}

// checkSender checks the reverse-path, for the current recipient.
func (c *check) checkSender(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	from, current := r.Envelope.MailFrom, len(r.Envelope.Rcpts)-1
	if allOff(r, rejected, unreachable, pending) || c.isExempt(r, current) || !c.isWanted(from) {
		return nil, nil
	}
	a, err := c.answerFor(ctx, r, from)
	if err != nil {
		return nil, err
	}
	switch a.Result {
	case resultRejected:
		v := a.verdict(rejected, from)
		v.Unsure = mayBeExempt(r, current)
		return []checks.Verdict{v}, nil
	case resultTemporary, resultFailed, resultRefused:
		return []checks.Verdict{a.verdict(unreachable, from)}, nil
	case resultPending:
		return []checks.Verdict{a.verdict(pending, from)}, nil
	}
	return nil, nil
}

// checkAuthor checks the first author in the From field (RFC 5322 section 3.6.2), unless that is the sender, who was checked at
// RCPT. Only a rejected address counts. A pending answer helps the next message.
func (c *check) checkAuthor(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if allOff(r, fromRejected) {
		return nil, nil
	}
	author := firstAuthor(r.Envelope.Header)
	if allAccepted(r, func(i int) bool { return c.isExempt(r, i) }) || !c.isWanted(author) || isSameMailbox(author, r.Envelope.MailFrom) {
		return nil, nil
	}
	a, err := c.answerFor(ctx, r, author)
	if err != nil || a.Result != resultRejected {
		return nil, err
	}
	v := a.verdict(fromRejected, author)
	v.Unsure = allAccepted(r, func(i int) bool { return c.isExempt(r, i) || mayBeExempt(r, i) })
	return []checks.Verdict{v}, nil
}

func firstAuthor(header []headers.Field) checks.Address {
	from, _ := headers.First(header, "From")
	list, _ := headers.ParseMailboxList(from.Value) // it has addresses with a lax fault too
	if len(list) == 0 {
		return checks.Address{}
	}
	return checks.ParseAddress(headers.Path{Local: list[0].Local, Domain: list[0].Domain}.String())
}

// answerKey is the key of what answerFor remembers.
type answerKey struct{ mailbox string }

// answerFor returns the answer about an address. All recipients of a transaction get the same one, and wait for it once.
func (c *check) answerFor(ctx context.Context, r *checks.Request, addr checks.Address) (answer, error) {
	m := mailbox(addr)
	return checks.Remember(r, checks.MailFrom, answerKey{m}, func() (answer, error) {
		a, err := c.verify(ctx, question{mailbox: m, domain: addr.Domain, now: r.Time})
		if err == nil {
			checks.Note(ctx, a.note(m))
		}
		if a.Result == resultPending {
			c.stats.count(countPending)
		}
		return a, err
	})
}

// errNoDial is the error where no connections may be made, as in simulate.
var errNoDial = errors.New("the address is not known, and no callouts are made in a trial")

// verify returns the answer in the store about an address. If there is none, it makes a callout and waits for it, see flight.wait.
func (c *check) verify(ctx context.Context, q question) (answer, error) {
	a, ok, err := c.lookUp(ctx, q)
	if err != nil {
		return answer{}, err
	}
	if ok {
		c.stats.count(countKnown)
		c.stats.addRefusal(a, c.Unusable)
		c.refresh(ctx, q, a)
		return a, nil
	}
	if c.env.Dial == nil {
		return answer{}, errNoDial
	}
	f, err := c.join(q, false)
	if err != nil {
		return answer{}, err
	}
	return f.wait(ctx)
}

// isExempt reports whether no callout is made for recipient i: the sender has a vouch, or the mail may be a callout of another
// site. A callout has a sender only if this site refuses the null reverse-path. Two such sites would otherwise wait for each other.
func (c *check) isExempt(r *checks.Request, i int) bool {
	rcpt := r.Envelope.Rcpts[i].Address
	return r.Vouch(i) >= checks.SkipDelays || strings.HasPrefix(rcpt.Local, randomPrefix) ||
		c.From != "" && isSameMailbox(rcpt, checks.ParseAddress(c.From))
}

// mayBeExempt reports whether the sender might have a vouch for recipient i, if an answer were not missing.
func mayBeExempt(r *checks.Request, i int) bool { return r.MayVouch(i) >= checks.SkipDelays }

// allAccepted reports whether is returns true for all accepted recipients.
func allAccepted(r *checks.Request, is func(i int) bool) bool {
	for i, rcpt := range r.Envelope.Rcpts {
		if rcpt.Refused == "" && !is(i) {
			return false
		}
	}
	return true
}

// allOff reports whether all of the reasons are off for the current recipient.
func allOff(r *checks.Request, reasons ...*checks.Reason) bool {
	return !slices.ContainsFunc(reasons, func(reason *checks.Reason) bool { return r.Action(reason) != checks.Off })
}

// isWanted reports whether callouts about an address are possible and the settings want them.
func (c *check) isWanted(a checks.Address) bool {
	return a.Domain != "" && mailbox(a) != "" && !c.env.Site.IsLocal(a.Domain) &&
		(len(c.domains) == 0 || c.domains.Has(a.Domain)) && !c.skip.Has(a.Domain)
}

// maxMailbox is the length of an address in bytes: RFC 5321 section 4.5.3.1.3 permits 256 with the angle brackets.
const maxMailbox = 254

// mailbox returns an address as RCPT has it, without angle brackets. It is empty if SMTP without extensions cannot transfer the
// address: SMTPUTF8 (RFC 6531) is not supported, and control characters could inject commands.
func mailbox(a checks.Address) string {
	m := headers.Path{Local: a.Local, Domain: a.Domain}.String()
	if a.Local == "" || len(m) > maxMailbox || strings.ContainsFunc(m, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ""
	}
	return m
}

// isSameMailbox reports whether two addresses are equal. Case is ignored in the local part too, as sites do.
func isSameMailbox(a, b checks.Address) bool {
	return a.Domain == b.Domain && strings.EqualFold(a.Local, b.Local)
}
