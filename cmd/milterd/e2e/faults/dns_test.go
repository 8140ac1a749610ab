// Package faults tests daemons while the DNS, the MTAs, the disk, the clock or the Redis fail.
package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/miekg/dns"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

func TestMain(m *testing.M) { daemontest.Main(m) }

// budget is the budget of the daemons of these tests. Without it, one question to a name server that does not answer would take
// dnsTimeout.
const (
	budget     = time.Second
	dnsTimeout = 2 * miltertest.Leeway
)

// badDNS are name servers from which no answer can be obtained.
var badDNS = map[string]func(*dnstest.Server){
	"dead":     behave(dnstest.Dead),
	"slow":     func(s *dnstest.Server) { s.Latency(dnsTimeout) },
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

// denying answers that the name does not exist, in a message with a fault.
func denying(fault func(*dns.Msg)) dnstest.Behaviour {
	return func(_ dns.ResponseWriter, q, _ *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		fault(m)
		return m
	}
}

// TestBadDNS tests that without DNS answers no mail is rejected, and that no response takes longer than the budget.
func TestBadDNS(t *testing.T) {
	for name, spoil := range badDNS {
		for _, onError := range []string{"accept", "tempfail"} {
			t.Run(name+"/"+onError, func(t *testing.T) {
				t.Parallel()
				server := dnstest.Start(t, daemontest.World)
				spoil(server)
				d := daemontest.Start(t, daemontest.Config{
					DNS: server.Addr, Timeout: dnsTimeout, Profile: "strict", Actions: map[string]string{"first-contact": "off"},
					Extra: "budget: " + budget.String() + "\non_error: " + onError + "\n",
				})
				outcome := d.Play(t, daemontest.GoodSession())
				if outcome.Slowest > budget+miltertest.Leeway {
					t.Errorf("a response took %v", outcome.Slowest)
				}
				if outcome.Event == 0 && onError == "tempfail" {
					t.Error("passed")
				}
				if outcome.Event != 0 && (outcome.Response.Action == gomilter.ActReject || !strings.HasPrefix(outcome.Response.Raw, "4")) {
					t.Errorf("event %c: got %q", outcome.Event, outcome.Response.Raw)
				}
			})
		}
	}
}

// TestOddDNS tests name servers, and forgers of answers, in spite of which the right answer can be obtained.
func TestOddDNS(t *testing.T) {
	odd := map[string]dnstest.Behaviour{
		"forged answers first": dnstest.Forged,
		"TCP alone":            dnstest.TruncateUDP,
		"no EDNS":              dnstest.NoEDNS,
	}
	for name, b := range odd {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := dnstest.Start(t, daemontest.World)
			server.Behave(b)
			d := daemontest.Start(t, daemontest.Config{DNS: server.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}, Extra: "on_error: tempfail\n"})
			if outcome := d.Play(t, daemontest.GoodSession()); outcome.Event != 0 {
				t.Errorf("event %c: got %q", outcome.Event, outcome.Response.Raw)
			}
		})
	}
}

// TestNothingExists tests that a DNS in which no name exists has the client refused, and not mail to the postmaster.
func TestNothingExists(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t, daemontest.Config{DNS: dnstest.Start(t, "").Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}})
	outcome := d.Play(t, daemontest.GoodSession())
	if codes, text := daemontest.ReadReply(t, outcome.Response); codes != "550 5.7.25" || !strings.Contains(text, daemontest.GoodClient) {
		t.Errorf("event %c: got %s %q", outcome.Event, codes, text)
	}
	outcome = d.Play(t, daemontest.GoodSession(func(s *miltertest.Session) { s.Rcpts = []string{"postmaster@mx.test"} }))
	if outcome.Event != 0 {
		t.Errorf("postmaster: %s", outcome.Response.Raw)
	}
}

// TestAllNamesDenied tests that mail is soon no longer refused for good after the name server began to deny all names.
func TestAllNamesDenied(t *testing.T) {
	t.Parallel()
	server := dnstest.Start(t, daemontest.World)
	d := daemontest.Start(t, daemontest.Config{DNS: server.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}})
	sent := 0
	refused := func() string {
		sent++
		from := fmt.Sprintf("a@d%d.nowhere.test", sent) // questions that are not in the cache
		return d.Play(t, daemontest.GoodSession(func(s *miltertest.Session) { s.MailFrom = from })).Response.Raw
	}
	miltertest.Eventually(t, "the daemon knows that the server resolves names of the Internet", func() bool {
		refused()
		return server.Asked("com.", dns.TypeSOA) > 0
	})
	if err := server.Set(""); err != nil {
		t.Fatal(err)
	}
	// A test of the server follows a second after that of the start at the earliest.
	miltertest.Eventually(t, "mail is deferred", func() bool { return strings.HasPrefix(refused(), "4") })
	for range 10 {
		if reply := refused(); !strings.HasPrefix(reply, "4") {
			t.Errorf("refused with %q", reply)
		}
	}
}

// TestDNSRecovers tests that good mail passes again soon after the DNS answers again.
func TestDNSRecovers(t *testing.T) {
	t.Parallel()
	server := dnstest.Start(t, daemontest.World)
	server.Behave(dnstest.Rcode(dns.RcodeServerFailure))
	d := daemontest.Start(t, daemontest.Config{DNS: server.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}, Extra: "on_error: tempfail\n"})
	if outcome := d.Play(t, daemontest.GoodSession()); outcome.Event == 0 {
		t.Fatal("passed without DNS answers")
	}
	server.Behave()
	miltertest.Eventually(t, "good mail passes again", func() bool { return d.Play(t, daemontest.GoodSession()).Event == 0 })
}
