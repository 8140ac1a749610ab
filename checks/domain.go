package checks

import (
	"cmp"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// OrgDomain returns the organisational domain of a lower-case name without trailing dot: the public suffix and the label
// below it, RFC 7489 section 3.2. It is empty for a public suffix and for a single label.
func OrgDomain(name string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return ""
	}
	return org
}

// Organization returns the organisational domain of a name, or the name itself if it has none.
func Organization(name string) string { return cmp.Or(OrgDomain(name), name) }

// IsPublicSuffix reports whether a domain is a public suffix that a registry runs, or has one label. The owner of a private
// suffix, such as a hosting company, has mail of its own.
func IsPublicSuffix(domain string) bool {
	suffix, byRegistry := publicsuffix.PublicSuffix(domain)
	return domain == suffix && (byRegistry || !strings.Contains(domain, "."))
}
