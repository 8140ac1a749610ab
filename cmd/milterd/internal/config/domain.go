package config

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

func (c *compiler) hostname() string {
	name := c.name("hostname", c.file.Hostname)
	if name != "" && !strings.Contains(name, ".") {
		c.warnAt("hostname", "%s is not a fully qualified name; write the name with which the MTA greets", quote(c.file.Hostname))
	}
	return name
}

// name parses a domain name, which may be empty.
func (c *compiler) name(key, value string) string {
	if value == "" {
		return ""
	}
	name, err := domainName(value)
	if err != nil {
		c.failAt(key, "%s", err)
	}
	return name
}

func (c *compiler) localDomains() []string {
	var out []string
	seen := map[string]bool{}
	for at, d := range items(c, "local_domains", c.file.LocalDomains) {
		name, err := domainName(d)
		if err != nil {
			c.failAt(at, "%s", err)
			continue
		}
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

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
