package config

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// domainName returns the name of a host or a mail domain in the form that the DNS compares: A-labels (RFC 5891), lower case,
// no trailing dot. The error quotes s and says what to write.
func domainName(s string) (string, error) {
	const maxName = 253 // characters: RFC 1035 section 2.3.4, without the length octets at both ends
	malformed := fmt.Errorf("%s is not a domain name; write it as example.org", quote(s))
	d := strings.ToLower(strings.TrimSuffix(s, "."))
	if _, err := netip.ParseAddr(d); err == nil {
		return "", fmt.Errorf("%s is an address; write a domain name, such as example.org", quote(s))
	}
	if strings.ContainsFunc(d, func(r rune) bool { return r >= 0x80 }) {
		var err error
		if d, err = idna.Lookup.ToASCII(d); err != nil {
			return "", malformed
		}
	}
	if len(d) > maxName {
		return "", fmt.Errorf("%s has %d characters; a domain name has at most %d", quote(s), len(d), maxName)
	}
	for label := range strings.SplitSeq(d, ".") {
		if !isLabel(label) {
			return "", malformed
		}
	}
	return d, nil
}

// isLabel reports whether s can be a label of a host name: RFC 1123 section 2.1, and the underscore, which some names have.
func isLabel(s string) bool {
	const maxLabel = 63 // octets, RFC 1035 section 2.3.4
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
