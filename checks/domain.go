package checks

import (
	"cmp"
	"errors"
	"strings"

	"golang.org/x/net/publicsuffix"

	"milterd/headers"
)

// SameName reports whether two domain names are equal, ignoring case (RFC 4343) and a trailing dot.
func SameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// Under reports whether name is domain or a subdomain of it, ignoring case and a trailing dot.
func Under(name, domain string) bool {
	name, domain = strings.TrimSuffix(name, "."), strings.TrimSuffix(domain, ".")
	if len(name) == len(domain) {
		return strings.EqualFold(name, domain)
	}
	cut := len(name) - len(domain)
	return cut > 0 && domain != "" && name[cut-1] == '.' && strings.EqualFold(name[cut:], domain)
}

// IsHostName reports whether a host may have a name: it is a domain name of RFC 5321 section 4.1.2, where an underscore and a dot
// at the end are permitted too.
func IsHostName(name string) bool {
	err := headers.CheckDomain(name)
	fault, ok := errors.AsType[*headers.SyntaxError](err)
	return err == nil || ok && fault.Lax
}

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
