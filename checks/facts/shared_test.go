package facts_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
)

// lasting is a resolver whose answers hold for an hour.
type lasting struct {
	checks.Resolver
	now time.Time
}

func (r lasting) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	a, err := r.Resolver.Lookup(ctx, q)
	a.Until = r.now.Add(time.Hour)
	return a, err
}

// judging is a check that notes the SPF result.
type judging struct {
	env  checks.Env
	said *[]string
}

func (j judging) Check(ctx context.Context, s *checks.Session) ([]checks.Verdict, error) {
	r, err := facts.MailFromSPF(ctx, j.env, s)
	*j.said = append(*j.said, strings.TrimSpace(string(r.Result)+" "+r.Explanation))
	return nil, err
}

// TestSPFOfOthers: what one sender of a domain gets is not what the next one gets, if the policy tells them apart.
func TestSPFOfOthers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	z, err := checktest.ParseZone(`
all.example.net.        TXT "v=spf1 ip4:192.0.2.0/24 -all"
local.example.net.      TXT "v=spf1 exists:%{l}.users.example.net -all"
ann.users.example.net.  A 127.0.0.2
sender.example.net.     TXT "v=spf1 -all exp=why.example.net"
why.example.net.        TXT "%{s} is not one of ours"
helo.example.net.       TXT "v=spf1 exists:%{h}.hosts.example.net -all"
good.test.hosts.example.net. A 127.0.0.2
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		mail []string // HELO name and sender
		want []string
	}{
		{"by network", []string{"good.test ann@all.example.net", "good.test bob@all.example.net"}, []string{"pass", "pass"}},
		{"by local part", []string{"good.test ann@local.example.net", "good.test bob@local.example.net", "good.test ann@local.example.net"}, []string{"pass", "fail", "pass"}},
		{
			"the explanation names the sender", []string{"good.test ann@sender.example.net", "good.test bob@sender.example.net"},
			[]string{"fail ann@sender.example.net is not one of ours", "fail bob@sender.example.net is not one of ours"},
		},
		{"by HELO name", []string{"good.test ann@helo.example.net", "bad.test ann@helo.example.net"}, []string{"pass", "fail"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var said []string
			info := checks.Info{Name: "judging", Stages: []checks.Stage{checks.MailFrom}, Reasons: []*checks.Reason{{ID: "a"}}}
			p, err := checks.New([]checks.Instance{{
				Info: info, Check: judging{checks.Env{DNS: checks.Traced(lasting{z, now}), Site: checks.Site{Hostname: "mx.test"}}, &said},
			}}, checks.Options{Actions: map[string]checks.Action{"a": checks.Watch}, ReplyAt: checks.RcptTo, Budget: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.mail {
				helo, from, _ := strings.Cut(m, " ")
				s := &checks.Session{Client: netip.MustParseAddr("192.0.2.9"), Helo: helo, Time: now}
				s.Envelope.MailFrom = checks.ParseAddress(from)
				s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@mx.test")}}
				p.Run(t.Context(), s, checks.RcptTo)
			}
			for i, want := range c.want {
				if i >= len(said) || said[i] != want {
					t.Errorf("mail %d: got %q, want %q", i, said[min(i, len(said)-1)], want)
				}
			}
		})
	}
}
