package rdns

import (
	"context"

	"milterd/checks"
	"milterd/checks/facts"
)

// Authenticate implements checks.Authenticator, RFC 8601 section 2.7.3.
func (c *check) Authenticate(ctx context.Context, s *checks.Request) []checks.Authentication {
	names, _ := facts.Iprev(ctx, c.env, s)
	if names.Result == "" {
		return nil
	}
	return []checks.Authentication{{
		Method: "iprev", Result: string(names.Result), Properties: map[string]string{"policy.iprev": s.Client.String()},
	}}
}
