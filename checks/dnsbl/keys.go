package dnsbl

import (
	"regexp"
	"strings"
)

// Lengths of API keys in characters. Those of Spamhaus have 26, those of Abusix 32. With half of them, parts of ordinary zone
// names would be hidden; with double, keys would be shown.
const (
	minMixedKey  = 16 // a label with letters and digits
	minLetterKey = 24 // a label without digits
)

// splitKeys returns a domain without the labels that look like an API key, and an expression that matches those labels. keys is nil if
// there are none. The last two labels are never a key: they are the part of a domain that is registered.
func splitKeys(domain string) (shown string, keys *regexp.Regexp) {
	labels := strings.Split(domain, ".")
	var kept, secret []string
	for i, label := range labels {
		if i < len(labels)-2 && isKey(label) {
			secret = append(secret, regexp.QuoteMeta(label))
		} else {
			kept = append(kept, label)
		}
	}
	if secret == nil {
		return domain, nil
	}
	return strings.Join(kept, "."), regexp.MustCompile("(?i)" + strings.Join(secret, "|"))
}

// HideKeys returns the domain of a zone with "[key]" in place of the labels that look like an API key.
func HideKeys(domain string) string {
	_, keys := splitKeys(domain)
	return (&zone{keys: keys}).hide(domain)
}

func isKey(label string) bool {
	letters, digits := 0, 0
	for _, c := range []byte(label) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z':
			letters++
		default:
			return false
		}
	}
	return digits > 0 && letters > 0 && len(label) >= minMixedKey || len(label) >= minLetterKey
}

// hide replaces the keys in a text that names the zone.
func (z *zone) hide(text string) string {
	if z.keys == nil {
		return text
	}
	return z.keys.ReplaceAllString(text, "[key]")
}

// redact returns an error with the keys in its text replaced.
func (z *zone) redact(err error) error { return redacted{error: err, text: z.hide(err.Error())} }

type redacted struct {
	error
	text string
}

func (e redacted) Error() string { return e.text }
func (e redacted) Unwrap() error { return e.error }
