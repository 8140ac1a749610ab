// Package rdns asks whether the client's address has a reverse DNS name that leads back to it (iprev, RFC 8601 section 3).
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
	Doc: "Asks the DNS for the name of the client's address, and whether that name has this address in turn. " +
		"What the MTA says about the client's name is not used.",
	Stages:  []checks.Stage{checks.Connect},
	Reasons: []*checks.Reason{missing, mismatch},
}, checks.NoSettings{}, func(_ checks.NoSettings, env checks.Env) (checks.Check, error) {
	return &check{env}, nil
})

type check struct{ env checks.Env }

// Check implements checks.Check.
func (c *check) Check(ctx context.Context, s *checks.Session) ([]checks.Verdict, error) {
	names, err := facts.Iprev(ctx, c.env, s)
	switch names.Result {
	case facts.IprevPermError:
		return []checks.Verdict{{Reason: missing}}, nil
	case facts.IprevFail:
		return []checks.Verdict{{Reason: mismatch, Detail: map[string]string{"ptr": list(names.PTR)}}}, nil
	default:
		return nil, err
	}
}

// Prefetch implements checks.Prefetcher.
func (c *check) Prefetch(s *checks.Session) []checks.Ahead {
	if s.Stage != checks.Connect {
		return nil
	}
	return facts.IprevAhead(s)
}

// list shows the first few of the client's names.
func list(names []string) string {
	const shown = 3
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}
