// Package rdns is the check of the client's reverse DNS: whether the client has a name that resolves to it (iprev, RFC 8601
// section 3), and whether the name looks dynamically assigned.
//
// facts looks up the names and knows the words of dynamic names. Start reading at check.Check.
package rdns

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "rdns",
	Doc: "Looks up the reverse DNS name of the client's address, whether the name resolves to the address, and whether it looks " +
		"dynamically assigned. The name that the MTA reports is not used.",
	Stages:  []checks.Stage{checks.Connect},
	Public:  true,
	Reasons: []*checks.Reason{missing, mismatch, dynamic},
}, Settings{}, func(c Settings, env checks.Env) (checks.Check, error) {
	words, allowed, err := c.parse()
	return &check{env: env, words: words, allowed: allowed}, err
})

type check struct {
	env     checks.Env
	words   map[string]bool // additional pool words
	allowed checks.NameSet  // names that never look dynamically assigned
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(r *checks.Request) []checks.Query {
	if r.Stage != checks.Connect {
		return nil
	}
	return facts.PrefetchIprev(r)
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, r *checks.Request) ([]checks.Verdict, error) {
	names, err := facts.Iprev(ctx, c.env, r)
	switch names.Result {
	case facts.IprevPermError:
		return []checks.Verdict{{Reason: missing}}, nil
	case facts.IprevFail:
		return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{"ptr": list(names.PTR, names.More)}}}, nil
	case facts.IprevPass:
		if names.More > 0 {
			return nil, nil // a name that is not known may look fixed
		}
		return c.checkDynamic(r, names.PTR), nil
	default:
		return nil, err
	}
}

// checkDynamic checks the names of a client of which one is confirmed. A client is dynamic if all its names look so. Names
// that are not confirmed count too: a name whose address could not be looked up must not decide.
func (c *check) checkDynamic(r *checks.Request, ptr []string) []checks.Verdict {
	first := ""
	for _, name := range ptr {
		word := facts.DynamicWord(r.Client, name, c.words)
		if word == "" || c.allowed.Has(name) {
			return nil
		}
		first = cmp.Or(first, word)
	}
	return []checks.Verdict{{Reason: dynamic, Detail: map[string]string{"ptr": ptr[0], "word": first}}}
}

// list returns the first names as text. There are more of them.
func list(names []string, more int) string {
	const shown = 3
	if more += len(names) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), more)
	}
	return strings.Join(names, ", ")
}

// Authenticate implements checks.Authenticator, RFC 8601 section 2.7.3.
func (c *check) Authenticate(ctx context.Context, r *checks.Request) []checks.Authentication {
	names, _ := facts.Iprev(ctx, c.env, r)
	if names.Result == "" {
		return nil
	}
	return []checks.Authentication{{
		Method: "iprev", Result: string(names.Result), Properties: []checks.Property{{Name: "policy.iprev", Value: r.Client.String()}},
	}}
}
