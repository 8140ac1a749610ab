package facts_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/headers"
)

// TestSilentSigner tests that silent name servers of a domain that signed a message, which may be a forger's, leave time for DMARC.
func TestSilentSigner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		env := checktest.Env(t, "")
		env.Signatures, env.DNS = 5, checktest.Silent{Resolver: env.DNS, About: checktest.Below("evil.example")}
		fields := checktest.Sign(t, []headers.Field{{Name: "From", Value: " ceo@bank.example"}}, "Hello\r\n", "a.evil.example")
		r := checktest.Session{Client: "192.0.2.66", MailFrom: "x@b.evil.example", Header: fields}.Request(t)
		r.Stage = checks.EndOfHeader
		_, _ = facts.Body(env, r).Write([]byte("Hello\r\n"))
		r.Stage = checks.EndOfMessage
		signed, err := facts.SignedBy(ctx, env, r, "b.evil.example")
		if signed || err == nil {
			t.Errorf("signed: %t, %v", signed, err)
		}
		if ctx.Err() != nil {
			t.Error("no time is left")
		}
	})
}
