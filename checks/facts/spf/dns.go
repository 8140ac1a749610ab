package spf

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
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
	if raw == "" || len(raw) > maxName {
		return "", false
	}
	label, special := 0, false
	for i := range len(raw) {
		c := raw[i]
		if c == '.' {
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		}
		if label++; label > maxLabel || c >= 0x80 {
			return "", false
		}
		special = special || isSpecial(c)
	}
	switch {
	case label == 0:
		return "", false
	case special:
		return escape(raw), true
	default:
		return raw, true
	}
}

// isSpecial reports whether miekg/dns escapes a byte of a label.
func isSpecial(c byte) bool {
	return c < ' ' || c > '~' || strings.IndexByte(` '@;()"\`, c) >= 0
}

func escape(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case c < ' ' || c > '~':
			b.Write([]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10})
		case isSpecial(c):
			b.Write([]byte{'\\', c})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// hostQuestions returns the questions for the addresses of MX hosts, in the family of the client. A null MX (RFC 7505) has
// no host.
func hostQuestions(mxs []*dns.MX, client netip.Addr) []checks.Question {
	var questions []checks.Question
	for _, mx := range mxs {
		if mx.Mx != "." {
			questions = append(questions, checks.Ask(mx.Mx, checks.AddressType(client)))
		}
	}
	return questions
}

// hasType reports whether an answer has a record of a type.
func hasType(a checks.Answer, t uint16) bool {
	return slices.ContainsFunc(a.Records, func(rr dns.RR) bool { return rr.Header().Rrtype == t })
}

// hasAddress reports whether an answer has an address in the client's network of a prefix length.
func hasAddress(a checks.Answer, client netip.Addr, bits int) bool {
	network, err := client.Prefix(bits)
	return err == nil && slices.ContainsFunc(checks.Addresses(a), network.Contains)
}
