package dmarc_test

import (
	"context"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
	"milterd/checks/facts"
	"milterd/headers"
)

// TestForwarderWithPoolName tests that mail is only deferred if the DNS does not answer for a pool name of the client, and the client
// would be a forwarder of the recipient by that name.
func TestForwarderWithPoolName(t *testing.T) {
	t.Parallel()
	for forwarder, want := range map[string]int{"isp.example": 450, "forward.example": 550} {
		t.Run(forwarder, func(t *testing.T) {
			t.Parallel()
			env := environment(t, nil)
			actions := checktest.Actions(dmarc.Info, checks.Reject)
			p := checktest.Pipeline(t, checks.Options{
				Actions: actions,
				Policies: []checks.Policy{{
					Recipients: checktest.Recipients(t, "user"), Actions: actions, Forwarders: checks.Forwarders{Names: []string{forwarder}},
				}},
				ClientNamed: func(ctx context.Context, r *checks.Request, match func(string) bool) (bool, error) {
					return facts.ClientNamed(ctx, env, r, match)
				},
			}, checks.Instance{Info: dmarc.Info, Check: checktest.Build[dmarc.Settings](t, dmarc.Info, env, nil)})
			run := p.NewRun(checktest.Session{
				Client: "192.0.2.55", Helo: "mail.example.com", MailFrom: "x@evil.example",
				Header: []headers.Field{{Name: "From", Value: " a@bank.example"}},
			}.Session(t))
			var d checks.Decision
			for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom, checks.RcptTo, checks.EndOfMessage} {
				d = run.Judge(t.Context(), st)
			}
			if d.Reply == nil || d.Reply.Code != want || d.Reason.ID != "dmarc-reject" {
				t.Errorf("got %+v", d)
			}
		})
	}
}
