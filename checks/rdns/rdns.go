// Package rdns asks whether the client's address has a reverse DNS name that leads back to it (iprev, RFC 8601 section 3), and
// whether that name is one of a host or of a pool of access lines.
package rdns

import (
	"context"
	"fmt"
	"strings"

	"milterd/checks"
	"milterd/checks/facts"
)

// Info describes the check.
var Info = checks.Define(checks.Info{
	Name: "rdns",
	Doc: "Asks the DNS for the name of the client's address, whether that name has this address in turn, and whether it looks like " +
		"one of a pool of dynamically assigned addresses. What the MTA says about the client's name is not used.",
	Stages:  []checks.Stage{checks.Connect},
	Public:  true,
	Reasons: []*checks.Reason{missing, mismatch, dynamic},
}, Settings{}, func(c Settings, env checks.Env) (checks.Check, error) {
	p, err := c.patterns()
	if err != nil {
		return nil, err
	}
	return &check{env, p}, nil
})

type check struct {
	env      checks.Env
	patterns patterns
}

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Request) ([]checks.Verdict, error) {
	names, err := facts.Iprev(ctx, c.env, s)
	switch names.Result {
	case facts.IprevPermError:
		return []checks.Verdict{{Reason: missing}}, nil
	case facts.IprevFail:
		return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{"ptr": list(names.PTR)}}}, nil
	case facts.IprevPass:
		return c.dynamic(s, names.PTR), nil
	default:
		return nil, err
	}
}

// dynamic judges a client that has a confirmed name. One name that is a host's is enough, confirmed or not: it is the network
// that writes both, and a name whose address could not be asked for must not decide.
func (c *check) dynamic(s *checks.Request, ptr []string) []checks.Verdict {
	var words []string
	for _, name := range ptr {
		w := c.patterns.word(s.Client, name)
		if w == "" {
			return nil
		}
		words = append(words, w)
	}
	return []checks.Verdict{{Reason: dynamic, Detail: map[string]string{"ptr": ptr[0], "word": words[0]}}}
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Request) []checks.Query {
	if s.Stage != checks.Connect {
		return nil
	}
	return facts.PrefetchIprev(s)
}

// list shows the first few of the client's names.
func list(names []string) string {
	const shown = 3
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}
