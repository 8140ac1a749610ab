// Package access looks clients, HELO names and senders up in the operator's own lists: who is on an allow list is never checked,
// who is on a deny list is refused.
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
	Deny  []string `yaml:"deny" doc:"Files of who is refused, one entry a line: a network or address, a host name or .domain, user@domain, user@, @domain or @.domain; until=2027-01-31 and why=\"...\" may follow." example:"[/etc/milterd/deny.txt]"`
	Allow []string `yaml:"allow" doc:"Files of who is never checked, with the same entries: the address, a confirmed name, or a sender for whom the client may send. What is here wins over deny." example:"[/etc/milterd/allow.txt]"`
}

// Validate finds files that make no sense. Whether they can be read is found out when the check is made.
func (c Settings) Validate() error {
	var faults []error
	for _, names := range [][]string{c.Deny, c.Allow} {
		for i, name := range names {
			switch {
			case name == "":
				faults = append(faults, errors.New("a list wants the name of a file"))
			case slices.Contains(names[:i], name):
				faults = append(faults, fmt.Errorf("%s is there twice", short(name)))
			}
		}
	}
	for _, name := range c.Deny {
		if name != "" && slices.Contains(c.Allow, name) {
			faults = append(faults, fmt.Errorf("%s cannot both deny and allow", short(name)))
		}
	}
	return errors.Join(faults...)
}

// Info describes the check. It is asked once a transaction, when all that its lists speak of is known: an allowed sender wins over
// a denied client.
var Info = checks.Define(checks.Info{
	Name: "access",
	Doc: "Looks the client's address and names, the HELO name and the sender up in the operator's own lists. Whoever is on an allow " +
		"list skips every check; whoever is on a deny list, and on no allow list, is refused.",
	Stages:  []checks.Stage{checks.MailFrom},
	Reasons: []*checks.Reason{clientDenied, heloDenied, senderDenied},
	Vouches: true,
}, Settings{}, build)

type check struct {
	env         checks.Env
	deny, allow []*file
}

var (
	_ checks.Prefetcher = (*check)(nil)
	_ checks.Maintainer = (*check)(nil)
	_ checks.Maintainer = (*check)(nil)
)

func build(c Settings, env checks.Env) (checks.Check, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	out := &check{env: env}
	for _, name := range c.Deny {
		f, err := open(name, false, env.Log)
		if err != nil {
			return nil, fmt.Errorf("deny: %w", err)
		}
		out.deny = append(out.deny, f)
	}
	for _, name := range c.Allow {
		f, err := open(name, true, env.Log)
		if err != nil {
			return nil, fmt.Errorf("allow: %w", err)
		}
		out.allow = append(out.allow, f)
	}
	return out, nil
}

func (c *check) files() []*file { return slices.Concat(c.deny, c.allow) }

// lists is the content in force of some files.
func lists(files []*file) []*list {
	out := make([]*list, len(files))
	for i, f := range files {
		out[i] = f.state.Load().list
	}
	return out
}

// find asks one list after the other.
func find(lists []*list, ask func(*list) (match, bool)) (match, bool) {
	for _, l := range lists {
		if m, ok := ask(l); ok {
			return m, true
		}
	}
	return match{}, false
}

func haveNames(lists []*list) bool {
	return slices.ContainsFunc(lists, func(l *list) bool { return l.names })
}

// Check implements checks.Check. If the DNS does not say whether a client is allowed, it is not denied either, and no other check
// refuses it for good; nor if an entry would allow it whose end may have come or not, as the clock may be wrong.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	now := s.Time
	if c.doubts(s) {
		now = time.Time{} // before all ends
	}
	m, ok, err := c.allowed(ctx, s, lists(c.allow), now)
	if ok {
		checks.Note(ctx, checks.Clean(fmt.Sprintf("allowed by %s:%d: %s", m.file, m.line, m.entry), 200))
		return []checks.Verdict{{Vouch: checks.SkipAll, Unsure: c.doubts(s) && !m.until.IsZero()}}, nil
	}
	if err != nil {
		return []checks.Verdict{{Vouch: checks.SkipAll, Unsure: true}}, err
	}
	return c.denied(ctx, s, lists(c.deny))
}

// doubts tells whether the clock may be wrong.
func (c *check) doubts(s *checks.Request) bool { return c.env.Clock.Doubt(s.Time) != "" }

// allowed finds an entry that lets the client pass at a time. A client can say what it likes in HELO, so that never allows anything; nor does
// a name that networks give to whole pools.
func (c *check) allowed(ctx context.Context, s *checks.Request, allow []*list, now time.Time) (match, bool, error) {
	if m, ok := find(allow, func(l *list) (match, bool) { return l.addr(s.Client, now) }); ok {
		return m, true, nil
	}
	m, ok, errName := c.allowedName(ctx, s, allow, now)
	if ok {
		return m, true, nil
	}
	if m, ok = find(allow, func(l *list) (match, bool) { return l.sender(s.Envelope.MailFrom, now) }); !ok {
		return match{}, false, errName
	}
	is, errSender := facts.SenderIsClients(ctx, c.env, s)
	return m, is, cmp.Or(errName, errSender)
}

// allowedName finds an entry for a confirmed name of the client. A failing DNS is an error if such an entry might apply.
func (c *check) allowedName(ctx context.Context, s *checks.Request, allow []*list, now time.Time) (m match, ok bool, err error) {
	if !haveNames(allow) {
		return match{}, false, nil
	}
	ok, err = facts.ClientNamed(ctx, c.env, s, func(n string) (listed bool) {
		m, listed = find(allow, func(l *list) (match, bool) { return l.name("", n, now) })
		return listed && !facts.PoolName(s.Client, n)
	})
	return m, ok, err
}

// denied finds the entries that refuse the client, the HELO name and the sender. Any name of the client counts, whether it leads
// back or not: the network that gives it can only harm itself.
func (c *check) denied(ctx context.Context, s *checks.Request, deny []*list) ([]checks.Verdict, error) {
	var vs []checks.Verdict
	say := func(r *checks.Reason, ask func(*list) (match, bool)) bool {
		m, ok := find(deny, ask)
		if ok {
			v := m.verdict(r)
			v.Unsure = !m.until.IsZero() && c.doubts(s)
			vs = append(vs, v)
		}
		return ok
	}
	var err error
	byAddr := say(clientDenied, func(l *list) (match, bool) { return l.addr(s.Client, s.Time) })
	if !byAddr && haveNames(deny) {
		var ptr []string
		ptr, err = facts.ClientPTR(ctx, c.env, s)
		for _, n := range ptr {
			if say(clientDenied, func(l *list) (match, bool) { return l.name("", n, s.Time) }) {
				break
			}
		}
	}
	helo := strings.ToLower(strings.TrimSuffix(s.Helo, "."))
	say(heloDenied, func(l *list) (match, bool) { return l.name("", helo, s.Time) })
	say(senderDenied, func(l *list) (match, bool) { return l.sender(s.Envelope.MailFrom, s.Time) })
	return vs, err
}

func (m match) verdict(r *checks.Reason) checks.Verdict {
	why := ""
	if m.why != "" {
		why = ": " + m.why
	}
	return checks.Verdict{Reason: r, Detail: map[string]string{
		"entry": m.entry.String(), "why": why, "file": m.file, "line": fmt.Sprint(m.line),
	}}
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	allow := lists(c.allow)
	switch s.Stage {
	case checks.Connect:
		switch {
		case haveNames(allow):
			return facts.IprevAhead(s)
		case haveNames(lists(c.deny)):
			return facts.PTRAhead(s)
		}
	case checks.MailFrom:
		_, ok := find(allow, func(l *list) (match, bool) { return l.sender(s.Envelope.MailFrom, s.Time) })
		if ok {
			return append(facts.IprevAhead(s), facts.SPFAhead(s, facts.SPFMailFrom)...)
		}
	}
	return nil
}
