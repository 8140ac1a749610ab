package checks

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"milterd/headers"
)

// Address is the mailbox of a reverse-path or forward-path, RFC 5321 section 4.1.2. The zero value is the null
// reverse-path.
type Address struct {
	Text    string     // as received, without angle brackets
	Local   string     // unquoted local part; all of Text if there is no domain; empty if Text is invalid
	Domain  string     // lower-case A-labels without trailing dot; empty if there is none or it is invalid
	Literal netip.Addr // address literal; Domain is empty if it is valid
}

// ParseAddress parses a path with or without angle brackets. If it is invalid, the result has only its Text.
func ParseAddress(text string) Address {
	if outer := strings.TrimSpace(text); strings.HasPrefix(outer, "<") || strings.HasSuffix(outer, ">") {
		text = outer // white space around the brackets is no part of the path
	}
	a := Address{Text: strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")}
	if !strings.Contains(a.Text, "@") {
		a.Local = a.Text // "postmaster", RFC 5321 section 4.1.1.3, or a local user
		return a
	}
	p, _ := headers.ParsePath(a.Text) // also fills p for common syntax errors, so that the domain can be checked
	a.Local, a.Literal = p.Local, p.Literal
	if !p.Literal.IsValid() {
		a.Domain = ToALabels(p.Domain)
	}
	return a
}

// IsNull reports whether a is the null reverse-path, RFC 5321 section 4.5.5.
func (a Address) IsNull() bool { return a.Text == "" }

// String returns a.Text.
func (a Address) String() string { return a.Text }

// ToALabels returns the domain as lower-case A-labels (RFC 5891) without trailing dot, or "" if it is not US-ASCII and invalid.
func ToALabels(domain string) string {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	if headers.IsASCII(domain) {
		return domain
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return ""
	}
	return ascii
}
