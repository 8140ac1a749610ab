package checks

import (
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// RecipientSet is a set of recipients given by patterns. The zero value is empty. It ignores case, in the local part too:
// RFC 5321 section 2.4 leaves that to the receiving site.
type RecipientSet map[string]bool // keys are "local@", "local@domain" and "@domain"

// ParseRecipients returns the set of the given patterns. A pattern is a local part at any domain ("postmaster"), a mailbox
// ("user@example.org") or a domain ("@example.org"). A local part includes its subaddresses ("user+list", RFC 5233).
func ParseRecipients(patterns []string) (RecipientSet, error) {
	set := RecipientSet{}
	for _, p := range patterns {
		key, err := recipientKey(p)
		if err != nil {
			return nil, err
		}
		set[key] = true
	}
	return set, nil
}

// recipientKey returns the key of a pattern in a RecipientSet.
func recipientKey(pattern string) (string, error) {
	local, domain := pattern, ""
	at := strings.LastIndexByte(pattern, '@')
	if at >= 0 {
		local, domain = pattern[:at], pattern[at+1:]
	}
	if at > 0 && strings.ContainsAny(local, `"@`) { // Contains compares the unquoted local part
		local = ParseAddress(pattern).Local
	}
	switch {
	case strings.Contains(pattern, "*"):
		return "", fmt.Errorf("%q is not a recipient: wildcards are not supported; @domain matches a whole domain", pattern)
	case strings.HasPrefix(pattern, ".") || strings.HasPrefix(domain, "."):
		return "", fmt.Errorf("%q is not a recipient: list each subdomain, as @domain", pattern)
	case at < 0 && isDomain(local):
		return "", fmt.Errorf("%q would be taken for a local part; did you mean %q?", pattern, "@"+pattern)
	case pattern == "", strings.ContainsAny(pattern, " \t<>,"), at >= 0 && ToALabels(domain) == "",
		at > 0 && (local == "" || pattern[0] == '@'): // a source route, RFC 5321 appendix C, is mistyped
		return "", fmt.Errorf("%q is not a recipient: want user, user@domain or @domain", pattern)
	}
	return strings.ToLower(local) + "@" + ToALabels(domain), nil
}

// isDomain reports whether text ends in an existing top-level domain.
func isDomain(text string) bool {
	if !strings.Contains(text, ".") {
		return false
	}
	suffix, icann := publicsuffix.PublicSuffix(ToALabels(text))
	return icann || strings.Contains(suffix, ".")
}

// Contains reports whether the address, or the mailbox whose subaddress it is, matches one of the patterns.
func (rs RecipientSet) Contains(a Address) bool {
	if a.Local == "" || len(rs) == 0 {
		return false
	}
	has := func(local string) bool { return local != "" && (rs[local+"@"] || rs[local+"@"+a.Domain]) }
	local := strings.ToLower(a.Local)
	mailbox, _, _ := strings.Cut(local, "+")
	return rs["@"+a.Domain] || has(local) || has(mailbox)
}
