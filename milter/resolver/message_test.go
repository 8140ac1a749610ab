package resolver

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
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
