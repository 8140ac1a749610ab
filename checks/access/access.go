// Package access looks up clients, HELO names and senders in the operator's own lists. An entry of an allow list exempts a
// session from all other checks; an entry of a deny list refuses it.
//
// access.go has the check, list.go the lookup in one list, entry.go the syntax of a line, file.go the files on disk, which are
// read again when they change, and stored.go the entries in the store, which operator.go changes. The confirmed names of a client
// and the right to send for a domain come from package facts. Start with Check.
package access

import (
	"cmp"
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
	Deny  []string `yaml:"deny" doc:"Files of clients and senders to refuse, one entry a line: a network or address, a host name or .domain, user@domain, user@, @domain or @.domain; until=2027-01-31 and why=\"...\" may follow." example:"[/etc/milterd/deny.txt]"`
	Allow []string `yaml:"allow" doc:"Files of clients and senders to exempt from all checks, with the same entries: the address of the client, a confirmed name of it, or a sender for which it may send. They win over deny." example:"[/etc/milterd/allow.txt]"`
}

// Validate returns an error for empty and repeated file names. It does not read the files, see Faults.
func (c Settings) Validate() error {
	var faults []error
	for _, names := range [][]string{c.Deny, c.Allow} {
		for i, name := range names {
			switch {
			case name == "":
				faults = append(faults, errors.New("the name of a file is empty"))
			case slices.Contains(names[:i], name):
				faults = append(faults, fmt.Errorf("%s is in the list twice", quote(name)))
			}
		}
	}
	for _, name := range c.Deny {
		if name != "" && slices.Contains(c.Allow, name) {
			faults = append(faults, fmt.Errorf("%s is in both deny and allow", quote(name)))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check. It runs at MAIL, when all that its lists can name is known: an allowed sender wins over a denied
// client.
var Info = checks.Define(checks.Info{
	Name: "access",
	Doc: "Looks up the client's address and names, the HELO name and the sender in the operator's own lists. A client or sender on " +
		"an allow list skips every other check; one on a deny list, and on no allow list, is refused.",
	Stages:  []checks.Stage{checks.MailFrom},
	Reasons: []*checks.Reason{clientDenied, heloDenied, senderDenied},
	Vouches: true,
}, Settings{}, build)

type check struct {
	env         checks.Env
	deny, allow []*file
	stored      stored
}

// lists returns the lists in force: those of the files and those of the store. With an error, entries of the store may be missing.
func (c *check) lists(ctx context.Context) (deny, allow lists, err error) {
	in, err := c.stored.lists(ctx, c.env.Store)
	return append(current(c.deny), in.deny), append(current(c.allow), in.allow), err
}

var (
	_ checks.Prefetcher = (*check)(nil)
	_ checks.Maintainer = (*check)(nil)
)

func build(c Settings, env checks.Env) (checks.Check, error) {
	deny, err := openAll(c.Deny, false, env.Log)
	if err != nil {
		return nil, fmt.Errorf("deny: %w", err)
	}
	allow, err := openAll(c.Allow, true, env.Log)
	if err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	return &check{env: env, deny: deny, allow: allow}, nil
}

// lastStored returns the list of the store as it was read last.
func (c *check) lastStored(allow bool) *list {
	in := c.stored.current.Load()
	switch {
	case in == nil:
		return newList()
	case allow:
		return in.allow
	default:
		return in.deny
	}
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	allow := append(current(c.allow), c.lastStored(true))
	switch r.Stage {
	case checks.Connect:
		switch {
		case allow.haveNames():
			return facts.PrefetchIprev(r)
		case append(current(c.deny), c.lastStored(false)).haveNames():
			return facts.PrefetchPTR(r)
		}
	case checks.MailFrom:
		if _, ok := allow.sender(r.Envelope.MailFrom, r.Time); ok {
			return append(facts.PrefetchIprev(r), facts.PrefetchMailFromSPF(r)...)
		}
	}
	return nil
}

// Check implements checks.Check. If the DNS or the store fails and an allow list might apply, the verdict is an unsure vouch: the
// client is not denied, and other checks refuse it with 4yz at most.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	deny, allow, errStore := c.lists(ctx)
	e, ok, err := c.allowed(ctx, r, allow)
	if ok {
		return []checks.Verdict{{
			Vouch: checks.SkipAll, Unsure: c.mayHaveEnded(e, r.Time), Why: fmt.Sprintf("allowed by %s: %s", e.place(), e),
		}}, nil
	}
	if err = cmp.Or(err, errStore); err != nil {
		return []checks.Verdict{{Vouch: checks.SkipAll, Unsure: true}}, err
	}
	return c.denied(ctx, r, deny)
}

// clockInDoubt reports whether the time of the session may be wrong.
func (c *check) clockInDoubt(now time.Time) bool { return c.env.Clock.Doubt(now) != "" }

// mayHaveEnded reports whether e has an end and the clock is in doubt.
func (c *check) mayHaveEnded(e entry, now time.Time) bool {
	return !e.until.IsZero() && c.clockInDoubt(now)
}

// allowed returns the entry that exempts the client. HELO names do not count, as a client can send any. Neither do names
// that a network gives to all addresses of a pool.
func (c *check) allowed(ctx context.Context, r *checks.Request, allow lists) (entry, bool, error) {
	now := r.Time
	if c.clockInDoubt(now) {
		now = time.Time{} // so that no entry has ended
	}
	if e, ok := allow.addr(r.Session.Client, now); ok {
		return e, true, nil
	}
	e, ok, errName := c.allowedName(ctx, r, allow, now)
	if ok {
		return e, true, nil
	}
	if e, ok = allow.sender(r.Envelope.MailFrom, now); !ok {
		return entry{}, false, errName
	}
	ok, errSender := facts.SenderVerified(ctx, c.env, r)
	return e, ok, cmp.Or(errName, errSender)
}

// allowedName returns the entry for a confirmed name of the client. A failing DNS is an error only if an entry might apply.
func (c *check) allowedName(ctx context.Context, r *checks.Request, allow lists, now time.Time) (e entry, ok bool, err error) {
	if !allow.haveNames() {
		return entry{}, false, nil
	}
	ok, err = facts.ClientNamed(ctx, c.env, r, func(name string) (listed bool) {
		e, listed = allow.host(name, now)
		return listed && !facts.ClientPoolName(r, name)
	})
	return e, ok, err
}

// denied returns a verdict for each of the client, the HELO name and the sender that has an entry.
func (c *check) denied(ctx context.Context, r *checks.Request, deny lists) ([]checks.Verdict, error) {
	var verdicts []checks.Verdict
	add := func(reason *checks.Reason, e entry, ok bool) {
		if ok {
			verdicts = append(verdicts, c.refusal(reason, e, r.Time))
		}
	}
	e, ok, err := c.deniedClient(ctx, r, deny)
	add(clientDenied, e, ok)
	e, ok = deny.host(strings.ToLower(strings.TrimSuffix(r.Helo, ".")), r.Time)
	add(heloDenied, e, ok)
	e, ok = deny.sender(r.Envelope.MailFrom, r.Time)
	add(senderDenied, e, ok)
	return verdicts, err
}

// deniedClient returns the entry for the client's address or one of its names. Unconfirmed names count too: a network that
// sets a listed name for its client harms only itself.
func (c *check) deniedClient(ctx context.Context, r *checks.Request, deny lists) (entry, bool, error) {
	if e, ok := deny.addr(r.Session.Client, r.Time); ok {
		return e, true, nil
	}
	if !deny.haveNames() {
		return entry{}, false, nil
	}
	names, err := facts.ClientPTR(ctx, c.env, r)
	for _, name := range names {
		if e, ok := deny.host(name, r.Time); ok {
			return e, true, err
		}
	}
	return entry{}, false, err
}

// refusal returns the verdict of an entry of a deny list.
func (c *check) refusal(reason *checks.Reason, e entry, now time.Time) checks.Verdict {
	why := ""
	if e.why != "" {
		why = ": " + e.why
	}
	detail := map[string]string{"entry": e.String(), "why": why, "file": e.file, "line": fmt.Sprint(e.line)}
	if e.file == "" {
		detail["file"] = e.place()
		delete(detail, "line")
	}
	return checks.Verdict{Reason: reason, Unsure: c.mayHaveEnded(e, now), Detail: detail}
}
