package facts

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"milterd/checks"
	"milterd/headers"
)

// maxDomain and maxLabel are the lengths of the longest domain in the DNS as text, and of a label, RFC 1035 section 2.3.4.
const (
	maxDomain = 253
	maxLabel  = 63
)

// ASCIIDomain converts a domain to lower-case A-labels (RFC 5890 section 2.3) without trailing dots. It returns "" if the domain
// cannot be in the DNS. U-labels that IDNA2008 forbids, such as emoji, are converted too, as some registries have them.
func ASCIIDomain(text string) string {
	if isTooLong(text) {
		text = visible(text)
		if isTooLong(text) {
			return ""
		}
	}
	domain := text
	if !headers.IsASCII(domain) {
		if !utf8.ValidString(domain) {
			return ""
		}
		ascii, err := lenient.ToASCII(domain)
		if err != nil {
			ascii, err = idna.Punycode.ToASCII(strings.ToLower(domain))
		}
		if err != nil {
			return ""
		}
		domain = ascii
	}
	domain = strings.ToLower(strings.TrimRight(domain, ".")) // several dots hide no author domain either
	if len(domain) > maxDomain || !checks.IsHostName(domain) {
		return ""
	}
	return domain
}

// lenient maps characters as IDNA2008 does for a look-up (RFC 5895), also beside labels that it forbids, as browsers do.
var lenient = idna.New(idna.MapForLookup(), idna.ValidateLabels(false), idna.StrictDomainName(false))

// isTooLong reports whether a text without invisible characters is too long for a domain, or has a label that is too long. An A-label
// has at least one byte for each character. Such a text is not converted, as the time for it grows with the square of the length of
// a label: one field could keep a processor busy for a minute.
func isTooLong(text string) bool {
	isDot := func(c rune) bool { return strings.ContainsRune(".\u3002\uff0e\uff61", c) } // RFC 3490 section 3.1
	return utf8.RuneCountInString(text) > maxDomain ||
		slices.ContainsFunc(strings.FieldsFunc(text, isDot), func(label string) bool { return utf8.RuneCountInString(label) > maxLabel })
}
