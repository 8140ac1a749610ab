package spf

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/headers"
)

// Lengths in bytes.
const (
	maxName  = 253 // of a domain name as text, section 7.3
	maxLabel = 63  // RFC 1035 section 2.3.4
)

// dnsName converts a domain name to the master-file form of RFC 1035 section 5.1. A name that macros filled may have any
// bytes. ok is false if the name does not fit in a question, or has bytes over 127: by RFC 8616 section 4, a local part with
// such bytes matches nothing.
func dnsName(raw string) (name string, ok bool) {
	raw = strings.TrimSuffix(raw, ".")
	if len(raw) > maxName || !headers.IsASCII(raw) {
		return "", false
	}
	wire := make([]byte, 0, maxName+2) // RFC 1035 section 3.1
	for label := range strings.SplitSeq(raw, ".") {
		if label == "" || len(label) > maxLabel {
			return "", false
		}
		wire = append(append(wire, byte(len(label))), label...)
	}
	name, _, err := dns.UnpackDomainName(append(wire, 0), 0)
	return name, err == nil
}

// hostQuestions returns the questions for the addresses of MX hosts, in the family of the client. A null MX (RFC 7505) has
// no host.
func hostQuestions(mxs []*dns.MX, client netip.Addr) []checks.Question {
	var hosts []string
	for _, mx := range mxs {
		if mx.Mx != "." {
			hosts = append(hosts, mx.Mx)
		}
	}
	return checks.AddressQuestions(client, hosts)
}

func hasType(a checks.Answer, t uint16) bool {
	return slices.ContainsFunc(a.Records, func(rr dns.RR) bool { return rr.Header().Rrtype == t })
}

// hasAddress reports whether an answer has an address in the client's network of a prefix length.
func hasAddress(a checks.Answer, client netip.Addr, bits int) bool {
	network, err := client.Prefix(bits)
	return err == nil && slices.ContainsFunc(checks.Addresses(a), network.Contains)
}
