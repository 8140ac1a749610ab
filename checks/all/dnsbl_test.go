package all_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
	"milterd/milter/resolver"
	"milterd/milter/resolver/dnstest"
)

// wildcard returns a Behaviour that answers every A question with an address, whatever the zone has.
func wildcard(addr string) dnstest.Behaviour {
	return func(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
		resp.Rcode, resp.Ns, resp.Answer = dns.RcodeSuccess, nil, nil
		if req.Question[0].Qtype == dns.TypeA {
			rr, err := dns.NewRR(req.Question[0].Name + " 60 A " + addr)
			if err != nil {
				panic(err)
			}
			resp.Answer = []dns.RR{rr}
		}
		return resp
	}
}

const lists = `
2.0.0.127.bl.example.       60 A   127.0.0.2
9.2.0.192.bl.example.       60 A   127.0.0.4
9.2.0.192.bl.example.       60 TXT "see https://bl.example/9.2.0.192"
9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example. 60 A 127.0.0.3
test.dbl.example.           60 A   127.0.1.2
spam.example.net.dbl.example. 60 A 127.0.1.2
bl.example.  SOA ns.bl.example. h.bl.example. 1 60 60 60 60
dbl.example. SOA ns.dbl.example. h.dbl.example. 1 60 60 60 60
`

// TestDNSBLWithNameServer runs the check dnsbl with a name server on loopback and the real resolver.
func TestDNSBLWithNameServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name              string
		before, behave    dnstest.Behaviour // at the first test of the zones, and after it
		latency           time.Duration
		client, from      string
		want, state, then string // reply, states of the zones, and states after the next test
	}{
		{name: "listed", client: "192.0.2.9", want: "550 5.7.1 192.0.2.9 is listed in bl.example: see https://bl.example/9.2.0.192", state: "on on", then: "on on"},
		{name: "listed IPv6", client: "2001:db8::9", want: "550 5.7.1 2001:db8::9 is listed in bl.example: the list says no more", state: "on on", then: "on on"},
		{name: "listed domain", client: "192.0.2.1", from: "a@spam.example.net", want: "550 5.7.1 sender domain spam.example.net is listed in dbl.example: the list says no more", state: "on on", then: "on on"},
		{name: "not listed", client: "192.0.2.1", from: "a@example.net", state: "on on", then: "on on"},
		{name: "slow", latency: 50 * time.Millisecond, client: "192.0.2.9", want: "550 5.7.1 192.0.2.9 is listed in bl.example: see https://bl.example/9.2.0.192", state: "on on", then: "on on"},
		{name: "error code", behave: wildcard("127.255.255.254"), client: "192.0.2.9", from: "a@example.net", state: "off off", then: "off off"},
		{name: "lists the world from the beginning", before: wildcard("127.0.0.2"), behave: wildcard("127.0.0.2"), client: "192.0.2.1", from: "a@example.net", state: "off off", then: "off off"},
		{name: "sold", behave: wildcard("192.0.2.80"), client: "192.0.2.9", from: "a@example.net", state: "off off", then: "off off"},
		{name: "SERVFAIL", behave: dnstest.Rcode(dns.RcodeServerFailure), client: "192.0.2.9", from: "a@spam.example.net", state: "on on", then: "off off"},
		{name: "dead", behave: dnstest.Dead, client: "192.0.2.9", from: "a@spam.example.net", state: "on on", then: "off off"},
		{name: "dead from the beginning", before: dnstest.Dead, behave: nil, client: "192.0.2.9", state: "off off", then: "on on"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := dnstest.Start(t, lists)
			var clock checktest.Clock
			r := newWaiting(t, server.Addr, clock.Now)
			set := func(b dnstest.Behaviour, dead bool) {
				server.Behave()
				if b != nil {
					server.Behave(b)
				}
				r.dead.Store(dead)
			}
			c := newDNSBL(t, r)
			maintainer := c.(checks.Maintainer)
			set(test.before, test.name == "dead from the beginning")
			maintainer.Maintain(t.Context(), clock.Now())
			set(test.behave, test.name == "dead")
			server.Latency(test.latency)
			s := checktest.Session{Client: test.client, Helo: "mail.example.com", MailFrom: test.from, Time: clock.Now()}.Session(t)
			if got := replyOf(t, c, r, s); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := states(maintainer); got != test.state {
				t.Errorf("states %s, want %s: %+v", got, test.state, maintainer.Report())
			}
			server.Latency(0)
			clock.Advance(31 * time.Minute)
			maintainer.Maintain(t.Context(), clock.Now())
			if got := states(maintainer); got != test.then {
				t.Errorf("after the next test: states %s, want %s: %+v", got, test.then, maintainer.Report())
			}
		})
	}
}

// waiting asks a name server, and waits long for it unless it is dead: a loaded machine answers late.
type waiting struct {
	long, short *resolver.Resolver
	dead        atomic.Bool
}

func newWaiting(t *testing.T, server string, now func() time.Time) *waiting {
	t.Helper()
	start := func(timeout time.Duration) *resolver.Resolver {
		r, err := resolver.New(resolver.Config{Servers: []string{server}, Timeout: timeout, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	return &waiting{long: start(time.Minute), short: start(50 * time.Millisecond)}
}

func (w *waiting) resolver() *resolver.Resolver {
	if w.dead.Load() {
		return w.short
	}
	return w.long
}

func (w *waiting) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	return w.resolver().Lookup(ctx, q)
}

func (w *waiting) Announce(list []checks.Query) { w.resolver().Announce(list) }

// newDNSBL returns the check dnsbl with the two zones of lists.
func newDNSBL(t *testing.T, r checks.Resolver) checks.Check {
	t.Helper()
	env := checktest.Env(t, "")
	env.DNS = r
	codes := func(text string) (c dnsbl.Codes) {
		if err := c.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	return checktest.Build(t, dnsbl.Info, env, func(c *dnsbl.Settings) {
		c.Zones = []dnsbl.Zone{
			{Zone: "bl.example", Codes: []dnsbl.Codes{codes("127.0.0.2-127.0.0.11")}, Query: dnsbl.Client},
			{Zone: "dbl.example", Codes: []dnsbl.Codes{codes("127.0.1.0/24")}, Query: dnsbl.Sender},
		}
	})
}

// replyOf judges a session up to RCPT by a check, with prefetch. It returns the reply, or "".
func replyOf(t *testing.T, c checks.Check, r checks.Announcer, s *checks.Session) string {
	t.Helper()
	p, err := checks.New([]checks.Instance{{Info: dnsbl.Info, Check: c}}, checks.Options{
		Actions: map[string]checks.Action{"dnsbl-listed": checks.Reject, "rhsbl-listed": checks.Reject},
		ReplyAt: checks.RcptTo, Budget: 8 * time.Second, Announce: r,
	})
	if err != nil {
		t.Fatal(err)
	}
	run := p.NewRun(s)
	rcpts := s.Envelope.Rcpts
	s.Envelope.Rcpts = nil
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom} {
		run.Judge(context.Background(), st)
	}
	s.Envelope.Rcpts = rcpts
	d := run.Judge(context.Background(), checks.RcptTo)
	if d.Reply == nil {
		return ""
	}
	return d.Reply.String()
}

// states returns the states of the zones, separated by spaces.
func states(m checks.Maintainer) string {
	var out []string
	for _, zone := range m.Report() {
		out = append(out, zone.State)
	}
	return strings.Join(out, " ")
}
