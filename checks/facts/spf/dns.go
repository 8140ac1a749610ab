package spf

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// Lengths in octets.
const (
	spfMaxName        = 253  // of a domain name in text, RFC 7208 section 7.3
	spfMaxLabel       = 63   // RFC 1035 section 2.3.4
	spfMaxExpansion   = 8192 // of a domain-spec, before it is cut to a name: no honest one comes near
	spfMaxExplanation = 400
)

// spfDNSName brings a domain name, which macros may have filled with any octets, into the master-file form of RFC 1035
// section 5.1. ok is false if it cannot stand in a question, and if it has octets over 127: RFC 8616 section 4 lets a
// local part that has some match nothing.
func spfDNSName(raw string) (name string, ok bool) {
	raw = strings.TrimSuffix(raw, ".")
	if raw == "" || len(raw) > spfMaxName {
		return "", false
	}
	label, special := 0, 0
	for i := range len(raw) {
		c := raw[i]
		if c == '.' {
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		}
		if label++; label > spfMaxLabel || c >= 0x80 {
			return "", false
		}
		if isSPFSpecial(c) {
			special++
		}
	}
	if label == 0 {
		return "", false
	}
	if special == 0 {
		return raw, true
	}
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case c < ' ' || c > '~':
			b.Write([]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10})
		case isSPFSpecial(c):
			b.Write([]byte{'\\', c})
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// isSPFSpecial tells whether miekg/dns escapes an octet of a label, other than the dot.
func isSPFSpecial(c byte) bool {
	return c < ' ' || c > '~' || strings.IndexByte(` '@;()"\`, c) >= 0
}

// spfText joins the strings of a TXT record with nothing between them, RFC 7208 section 3.3, and undoes the escapes of
// the master-file form.
func spfText(t *dns.TXT) string {
	if len(t.Txt) == 1 {
		return spfUnescape(t.Txt[0])
	}
	return spfUnescape(strings.Join(t.Txt, ""))
}

// spfUnescape undoes the escapes of RFC 1035 section 5.1.
func spfUnescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
			if isSPFDigit(c) && i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i:i+3], 10, 8); err == nil {
					c = byte(n)
					i += 2
				}
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// spfHosts asks for the addresses of mail hosts, of the client's family. A null MX (RFC 7505) is no host.
func spfHosts(mxs []*dns.MX, client netip.Addr) []checks.Question {
	var hosts []checks.Question
	for _, mx := range mxs {
		if mx.Mx != "." {
			hosts = append(hosts, checks.Ask(mx.Mx, checks.AddressType(client)))
		}
	}
	return hosts
}

// spfHasType tells whether an answer has a record of the type that was asked for.
func spfHasType(a checks.Answer, t uint16) bool {
	for _, rr := range a.Records {
		if rr.Header().Rrtype == t {
			return true
		}
	}
	return false
}

// spfHasAddress tells whether an answer has an address whose first bits are those of the client.
func spfHasAddress(a checks.Answer, client netip.Addr, bits int) bool {
	network, err := client.Prefix(bits)
	if err != nil {
		return false
	}
	for _, rr := range a.Records {
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
			addr = addr.Unmap()
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// value is what a macro letter stands for beside p, RFC 7208 section 7.2.
func (w Subject) value(letter byte, domain string) string {
	switch letter {
	case 's':
		return w.localPart() + "@" + w.Domain
	case 'l':
		return w.localPart()
	case 'o':
		return w.Domain
	case 'd':
		return domain
	case 'i':
		return spfDotted(w.Client)
	case 'c':
		return w.Client.String()
	case 'v':
		if w.Client.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return w.Helo
	case 'r':
		if w.Receiver == "" {
			return "unknown"
		}
		return w.Receiver
	case 't':
		return strconv.FormatInt(w.Time.Unix(), 10)
	default:
		return "unknown"
	}
}

// spfDotted is the value of %{i}: an IPv6 address as 32 hexadecimal digits with dots between them.
func spfDotted(client netip.Addr) string {
	if client.Is4() {
		return client.String()
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, 64)
	for _, b := range client.As16() {
		out = append(out, hex[b>>4], '.', hex[b&15], '.')
	}
	return string(out[:len(out)-1])
}
