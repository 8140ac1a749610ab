package main_test

import (
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/miekg/dns"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// budget is what the tests of a bad DNS allow for one callback, and leeway what a loaded machine adds.
const (
	budget = time.Second
	leeway = 2 * time.Second
)

// badDNS are name servers that do not do their job: nothing that they say is an answer.
var badDNS = map[string]func(*dnstest.Server){
	"dead":     behave(dnstest.Dead),
	"slow":     func(s *dnstest.Server) { s.Latency(3 * budget) },
	"SERVFAIL": behave(dnstest.Rcode(dns.RcodeServerFailure)),
	"REFUSED":  behave(dnstest.Rcode(dns.RcodeRefused)),
	"NOTIMP":   behave(dnstest.Rcode(dns.RcodeNotImplemented)),
	"FORMERR":  behave(dnstest.Rcode(dns.RcodeFormatError)),
	"referral": behave(dnstest.Refer),
	"lie":      behave(dnstest.Lie),
	"another question": behave(denying(func(m *dns.Msg) {
		m.Question[0].Name = "elsewhere.test."
	})),
	"another type":     behave(denying(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeHINFO })),
	"another class":    behave(denying(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })),
	"another id":       behave(denying(func(m *dns.Msg) { m.Id++ })),
	"no question":      behave(denying(func(m *dns.Msg) { m.Question = nil })),
	"no response":      behave(denying(func(m *dns.Msg) { m.Response = false })),
	"truncated always": behave(denying(func(m *dns.Msg) { m.Rcode, m.Truncated = dns.RcodeSuccess, true })),
	"CNAME loop": behave(denying(func(m *dns.Msg) {
		name := m.Question[0].Name
		m.Rcode = dns.RcodeSuccess
		m.Answer = []dns.RR{&dns.CNAME{
			Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60},
			Target: name,
		}}
	})),
	"garbage": behave(func(w dns.ResponseWriter, q, _ *dns.Msg) *dns.Msg {
		_, _ = w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x84, 0x03, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xc0, 0x0c})
		return nil
	}),
}

func behave(b dnstest.Behaviour) func(*dnstest.Server) {
	return func(s *dnstest.Server) { s.Behave(b) }
}

// denying says that the name does not exist, in a message with a fault.
func denying(fault func(*dns.Msg)) dnstest.Behaviour {
	return func(_ dns.ResponseWriter, q, _ *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		fault(m)
		return m
	}
}

// TestBadDNS shows that a DNS which cannot be asked never refuses mail for good, and never keeps a mail server waiting
// beyond the budget, with the profile that refuses most.
func TestBadDNS(t *testing.T) {
	for name, spoil := range badDNS {
		for _, onError := range []string{"accept", "tempfail"} {
			t.Run(name+"/"+onError, func(t *testing.T) {
				t.Parallel()
				server := dnstest.Start(t, daemontest.World)
				spoil(server)
				d := daemontest.Start(t, daemontest.Config{
					DNS: server.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"},
					Extra: "budget: " + budget.String() + "\non_error: " + onError + "\n",
				})
				step := d.Play(t, daemontest.GoodSession())
				if step.Slowest > budget+leeway {
					t.Errorf("a callback took %v", step.Slowest)
				}
				if step.Event == 0 && onError == "tempfail" {
					t.Error("passed")
				}
				if step.Event != 0 && (step.Response.Action == gomilter.ActReject || !strings.HasPrefix(step.Response.Raw, "4")) {
					t.Errorf("%c answered %q", step.Event, step.Response.Raw)
				}
			})
		}
	}
}

// TestOddDNS has servers and forgers that a resolver must cope with: the right answer is to be had.
func TestOddDNS(t *testing.T) {
	odd := map[string]dnstest.Behaviour{
		"forged answers first": dnstest.Forged,
		"TCP alone":            dnstest.TruncateUDP,
		"no EDNS":              dnstest.NoEDNS,
	}
	for name, b := range odd {
		t.Run(name, func(t *testing.T) {
			server := dnstest.Start(t, daemontest.World)
			server.Behave(b)
			d := daemontest.Start(t, daemontest.Config{DNS: server.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}, Extra: "on_error: tempfail\n"})
			if step := d.Play(t, daemontest.GoodSession()); step.Event != 0 {
				t.Errorf("%c answered %q", step.Event, step.Response.Raw)
			}
		})
	}
}

// TestNothingExists has a DNS that denies every name: that is an answer, and the first that it refuses is the client.
func TestNothingExists(t *testing.T) {
	d := daemontest.Start(t, daemontest.Config{DNS: dnstest.Start(t, "").Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}})
	step := d.Play(t, daemontest.GoodSession())
	if codes, text := daemontest.ReadReply(t, step.Response); codes != "550 5.7.25" || !strings.Contains(text, daemontest.GoodClient) {
		t.Errorf("%c answered %s %q", step.Event, codes, text)
	}
	// An exempt recipient is not refused whatever the DNS says.
	step = d.Play(t, daemontest.GoodSession(func(d *miltertest.Session) { d.Rcpts = []string{"postmaster@mx.test"} }))
	if step.Event != 0 {
		t.Errorf("postmaster: %s", step.Response.Raw)
	}
}

// TestDNSHeals shows that what could not be found out is asked again.
func TestDNSHeals(t *testing.T) {
	server := dnstest.Start(t, daemontest.World)
	server.Behave(dnstest.Rcode(dns.RcodeServerFailure))
	d := daemontest.Start(t, daemontest.Config{DNS: server.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}, Extra: "on_error: tempfail\n"})
	if step := d.Play(t, daemontest.GoodSession()); step.Event == 0 {
		t.Fatal("passed without a DNS")
	}
	server.Behave()
	miltertest.Eventually(t, "good mail passes again", func() bool { return d.Play(t, daemontest.GoodSession()).Event == 0 })
}
