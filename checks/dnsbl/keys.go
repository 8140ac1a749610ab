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

// keysOf returns an expression that matches the labels of a domain that look like an API key. It is nil if there are none. The last two
// labels are never a key: they are the part of a domain that is registered.
func keysOf(domain string) *regexp.Regexp {
	labels := strings.Split(domain, ".")
	var keys []string
	for _, label := range labels[:max(0, len(labels)-2)] {
		if isKey(label) {
			keys = append(keys, regexp.QuoteMeta(label))
		}
	}
	if keys == nil {
		return nil
	}
	return regexp.MustCompile("(?i)" + strings.Join(keys, "|"))
}

// hidden stands for an API key.
const hidden = "[key]"

// HideKeys returns the domain of a zone with "[key]" in place of the labels that look like an API key.
func HideKeys(domain string) string { return hide(keysOf(domain), domain) }

// hide replaces keys in a text. keys may be nil.
func hide(keys *regexp.Regexp, text string) string {
	if keys == nil {
		return text
	}
	return keys.ReplaceAllString(text, hidden)
}

// words matches what may be a label in a malformed domain.
var words = regexp.MustCompile(`[0-9A-Za-z]+`)

// hideInMalformed is HideKeys for a text that is not a domain: any part of it may be a key.
func hideInMalformed(text string) string {
	return words.ReplaceAllStringFunc(text, func(word string) string {
		if isKey(word) {
			return hidden
		}
		return word
	})
}

// redacted is an error whose text names no key. It wraps the error, by which callers know a session that has ended.
type redacted struct {
	error
	text string
}

func (e redacted) Error() string { return e.text }
func (e redacted) Unwrap() error { return e.error }

func isKey(label string) bool {
	letters, digits := 0, 0
	for _, c := range []byte(label) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			letters++
		default:
			return false
		}
	}
	return digits > 0 && letters > 0 && len(label) >= minMixedKey || len(label) >= minLetterKey
}
