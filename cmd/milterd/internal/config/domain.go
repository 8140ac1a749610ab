package config

import (
	"fmt"
	"net/netip"
	"strings"

	"milterd/checks"
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
		switch {
		case err != nil && strings.ContainsAny(d, ", \t"):
			c.failAt(at, "%s is not a domain name; write several as [example.org, example.net]", quote(d))
			continue
		case err != nil && strings.HasPrefix(d, "*."):
			c.failAt(at, "%s is not a domain name; write each subdomain, as mail.example.org", quote(d))
			continue
		case err != nil:
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
	d := checks.ToALabels(s)
	_, err := netip.ParseAddr(d)
	switch {
	case err == nil:
		return "", fmt.Errorf("%s is an address; write a domain name, such as example.org", quote(s))
	case len(d) > maxName:
		return "", fmt.Errorf("%s has %d characters; a domain name has at most %d", quote(s), len(d), maxName)
	case strings.HasSuffix(d, ".") || !checks.IsHostName(d):
		return "", fmt.Errorf("%s is not a domain name; write it as example.org", quote(s))
	}
	return d, nil
}
