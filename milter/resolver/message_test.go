package resolver

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/milter/resolver/dnstest"
)

// TestQueryPacket compares a query with that of the library.
func TestQueryPacket(t *testing.T) {
	t.Parallel()
	for _, edns := range []bool{false, true} {
		got, err := newQuery(checks.Question{Name: "mail.example.org.", Type: dns.TypeMX}, edns)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg).SetQuestion("mail.example.org.", dns.TypeMX)
		question, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if edns {
			m.SetEdns0(udpSize, false)
		}
		want, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.packet[2:], want[2:]) || !bytes.Equal(got.question, question[headerSize:]) { // without the IDs
			t.Errorf("EDNS %v:\n%x\nwant\n%x", edns, got.packet, want)
		}
	}
}

// TestNameTooLong tests that a name does not exist that is too long after a DNAME record. A sender can make one below such a record of any
// domain.
func TestNameTooLong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string // RFC 6672 section 3.2: the server adds the DNAME record
		want   error
	}{
		"without a record":                 {"", nil},
		"with the DNAME record":            {"org. 300 IN DNAME long.example.", nil},
		"with the DNAME record of another": {"net. 300 IN DNAME long.example.", errMalformed},
		"after a CNAME record":             {"example.org. 300 IN CNAME a.example.net.\nexample.net. 300 IN DNAME long.example.", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.Start(t, dnsText)
			s.Behave(func(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
				resp.Rcode, resp.Answer, resp.Ns = dns.RcodeYXDomain, nil, nil
				for line := range strings.Lines(c.answer) {
					rr, err := dns.NewRR(line)
					if err != nil {
						t.Error(err)
					}
					resp.Answer = append(resp.Answer, rr)
				}
				return resp
			})
			r := start(t, Config{Servers: []string{s.Addr}})
			a, err := r.Lookup(t.Context(), mx)
			if !errors.Is(err, c.want) || a.NXDomain != (c.want == nil) {
				t.Errorf("got %+v, %v", a, err)
			}
		})
	}
}
