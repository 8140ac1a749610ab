package helo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/helo"
)

// lossy is a resolver that fails while down is set.
type lossy struct {
	checks.Resolver
	down bool
}

func (r *lossy) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if r.down {
		return checks.Answer{}, errors.New("time-out")
	}
	return r.Resolver.Lookup(ctx, q)
}

// TestFailedLookupIsRepeated tests that a failed lookup is repeated for the next mail of a connection.
func TestFailedLookupIsRepeated(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	dns := &lossy{env.DNS, true}
	env.DNS = checks.Traced(dns)
	p := checktest.Pipeline(t, checks.Options{Actions: checktest.Actions(helo.Info, checks.Reject), OnError: checks.Tempfail},
		checks.Instance{Info: helo.Info, Check: checktest.Build[struct{}](t, helo.Info, env, nil)})
	s := checktest.Session{Client: "192.0.2.10"}.Session(t)
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.Connect)
	s.SetHelo("forward.example.net", false)
	run.Judge(t.Context(), checks.Helo)
	for _, want := range []string{"451 4.4.3", ""} {
		s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("a@example.net")}
		run.Judge(t.Context(), checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
		got := ""
		if r := run.Judge(t.Context(), checks.RcptTo).Reply; r != nil {
			got = fmt.Sprint(r.Code, " ", r.Enhanced)
		}
		if got != want {
			t.Errorf("DNS down: %t: got %q, want %q", dns.down, got, want)
		}
		dns.down = false
	}
}

// TestSilentNameServers tests that the name servers of a HELO name, which the client chooses, leave time for other checks.
func TestSilentNameServers(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	env.DNS = checktest.Silent{Resolver: env.DNS, About: func(q checks.Question) bool { return q.Type != dns.TypePTR }, GivesUp: true}
	c := build(t, env)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		r := checktest.Session{Client: "192.0.2.10", Helo: "spammer.example.net"}.Request(t)
		if vs, err := c.Check(ctx, r); len(vs) > 0 || err == nil {
			t.Errorf("got %q, %v", checktest.IDs(vs), err)
		}
		if ctx.Err() != nil {
			t.Error("no time is left")
		}
	})
}
