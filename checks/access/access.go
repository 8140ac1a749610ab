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
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

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

// lists returns the lists of the files, and those of the store after them.
func (c *check) lists(inStore *storedLists) (deny, allow lists) {
	return append(current(c.deny), inStore.deny), append(current(c.allow), inStore.allow)
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	deny, allow := c.lists(c.stored.last())
	switch r.Stage {
	case checks.Connect:
		switch {
		case allow.haveNames():
			return facts.PrefetchIprev(r)
		case deny.haveNames():
			return facts.PrefetchPTR(r)
		}
	case checks.MailFrom:
		if _, ok := allow.sender(r.Envelope.MailFrom, r.Time); ok {
			return append(facts.PrefetchIprev(r), facts.PrefetchMailFromSPF(r)...)
		}
	}
	return nil
}

// Check implements checks.Check. A client that is denied and might be allowed is deferred, by the Unsure vouch.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	inStore, errStore := c.stored.refresh(ctx, c.env.Store)
	deny, allow := c.lists(inStore)
	e, ok, err := c.allowed(ctx, r, allow)
	if ok {
		return []checks.Verdict{{
			Vouch: checks.SkipAll, Unsure: c.mayHaveEnded(e, r.Time), Why: fmt.Sprintf("allowed by %s: %s", e.place(), e),
		}}, nil
	}
	verdicts, errDenied := c.denied(ctx, r, deny)
	if err = cmp.Or(err, errStore); err != nil {
		verdicts = append(verdicts, checks.Verdict{Vouch: checks.SkipAll, Unsure: true})
	}
	return verdicts, cmp.Or(err, errDenied)
}

// clockInDoubt reports whether the time of the session may be wrong.
func (c *check) clockInDoubt(now time.Time) bool { return c.env.Clock.Doubt(now) != "" }

// mayHaveEnded reports whether e has an end and the clock is in doubt.
func (c *check) mayHaveEnded(e entry, now time.Time) bool {
	return !e.until.IsZero() && c.clockInDoubt(now)
}

// allowed returns the entry that exempts the client. HELO names do not count, as a client can send any. Names that a network
// gives to all addresses of a pool do not count either.
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

// allowedName returns the entry for a confirmed name of the client.
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
	detail := map[string]string{"entry": e.String(), "why": "", "file": cmp.Or(e.file, e.place())}
	if e.why != "" {
		detail["why"] = ": " + e.why
	}
	if e.line > 0 {
		detail["line"] = strconv.Itoa(e.line)
	}
	return checks.Verdict{Reason: reason, Unsure: c.mayHaveEnded(e, now), Detail: detail}
}
