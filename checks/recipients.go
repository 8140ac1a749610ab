package checks

import (
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// RecipientSet is a set of recipients given by patterns. The zero value is empty. It ignores case, in the local part too:
// RFC 5321 section 2.4 leaves that to the receiving site.
type RecipientSet struct {
	locals, mailboxes, domains map[string]bool
}

// ParseRecipients returns the set of the given patterns. A pattern is a local part at any domain ("postmaster"), a mailbox
// ("user@example.org") or a domain ("@example.org"). A local part includes its subaddresses ("user+list", RFC 5233).
func ParseRecipients(patterns []string) (RecipientSet, error) {
	s := RecipientSet{locals: map[string]bool{}, mailboxes: map[string]bool{}, domains: map[string]bool{}}
	for _, p := range patterns {
		if err := s.add(p); err != nil {
			return RecipientSet{}, err
		}
	}
	return s, nil
}

func (rs RecipientSet) add(pattern string) error {
	local, domain, at := cutLast(pattern, "@")
	switch {
	case strings.Contains(pattern, "*"):
		return fmt.Errorf("%q is not a recipient: wildcards are not supported; @domain matches a whole domain", pattern)
	case strings.HasPrefix(pattern, ".") || at && strings.HasPrefix(domain, "."):
		return fmt.Errorf("%q is not a recipient: list each subdomain, as @domain", pattern)
	case !at && isDomain(local):
		return fmt.Errorf("%q would be taken for a local part; did you mean %q?", pattern, "@"+pattern)
	case strings.ContainsAny(pattern, " \t<>,") || strings.Contains(local, "@") && !strings.HasPrefix(local, `"`):
		return fmt.Errorf("%q is not a recipient: want user, user@domain or @domain", pattern)
	case !at && local != "":
		rs.locals[strings.ToLower(local)] = true
	case domain == "" || ToALabels(domain) == "":
		return fmt.Errorf("%q is not a recipient: want user, user@domain or @domain", pattern)
	case local == "":
		rs.domains[ToALabels(domain)] = true
	default:
		rs.mailboxes[strings.ToLower(local)+"@"+ToALabels(domain)] = true
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
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
	if a.Local == "" || len(rs.locals)+len(rs.mailboxes)+len(rs.domains) == 0 {
		return false
	}
	local := strings.ToLower(a.Local)
	if rs.domains[a.Domain] || rs.has(local, a.Domain) {
		return true
	}
	plus := strings.IndexByte(local, '+')
	return plus > 0 && rs.has(local[:plus], a.Domain)
}

func (rs RecipientSet) has(local, domain string) bool {
	return rs.locals[local] || len(rs.mailboxes) > 0 && rs.mailboxes[local+"@"+domain]
}
