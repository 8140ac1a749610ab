package config

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// domainName brings the name of a host or a mail domain into the form that the DNS compares: A-labels (RFC 5891), lower
// case, no trailing dot.
func domainName(s string) (string, error) {
	const longest = 253 // characters, RFC 1035 section 2.3.4 less the length octets at both ends
	d := strings.ToLower(strings.TrimSuffix(s, "."))
	if _, err := netip.ParseAddr(d); err == nil {
		return "", errors.New("want a domain name, not an address")
	}
	for i := range len(d) {
		if d[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(d)
			if err != nil {
				return "", errors.New("want a domain name")
			}
			d = a
			break
		}
	}
	if len(d) > longest {
		return "", errors.New("a domain name has at most 253 characters")
	}
	for label := range strings.SplitSeq(d, ".") {
		if !isLabel(label) {
			return "", errors.New("want a domain name such as example.org")
		}
	}
	return d, nil
}

// isLabel tells whether s can be a part of a host name: RFC 1123 section 2.1, and the underscore that is seen in use.
func isLabel(s string) bool {
	const longest = 63 // octets, RFC 1035 section 2.3.4
	if s == "" || len(s) > longest || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
