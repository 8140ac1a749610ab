package facts

import (
	"cmp"
	"strings"

	"milterd/checks"
)

// maxMailbox bounds what Mailbox and StableSender return, in octets: RFC 5321 section 4.5.3.1 has 64 for a local part, the
// @, and 255 for a domain.
const maxMailbox = 320

// Mailbox is the mailbox behind an address, in a form to compare: without the tag of BATV and without +extension, the case
// folded, in the local part too. It is empty for the null reverse-path and has at most 320 octets.
func Mailbox(a checks.Address) string {
	local, _, _ := cutExtension(untag(cut(a.Local)))
	local = strings.ToLower(local) // which makes octets that are no UTF-8 longer
	return join(a, strings.ToValidUTF8(cut(local), ""))
}

// StableSender is the part of a reverse-path that stays the same from one delivery to the next, for senders that make a new
// one for each message or recipient. It is empty for the null reverse-path and has at most 320 octets. The domain is in
// lower case; the case of the local part is kept, as RFC 5321 section 2.4 wants.
//
//   - The tag of BATV is taken away (draft-levine-smtp-batv: prvs=TAG=user; also prvs=user=TAG, btv1==TAG==user and
//     msprvs1=TAG=user).
//   - In SRS0=HASH=TIME=domain=user and SRS1=HASH=host==HASH=TIME=domain=user, "#" stands for hashes and times.
//   - The +extension is taken away, which mailing lists have for VERP.
//   - "#" stands for numbers and for tokens that look random, several in a row being one. A local part that is a number
//     alone is a person's, as some providers have them, and is kept.
//
// The form itself is stable: it gives itself.
func StableSender(a checks.Address) string { return join(a, stableLocal(cut(a.Local))) }

// IsSRS tells whether an address was made by the Sender Rewriting Scheme: a forwarder's, not a person's.
func IsSRS(a checks.Address) bool { return srs(a.Local) != "" }

func cut(s string) string { return s[:min(len(s), maxMailbox)] }

// join puts a local part before the address's domain. What could not be parsed is left as it is.
func join(a checks.Address, local string) string {
	switch {
	case a.Local == "":
		return cut(a.Text)
	case a.Literal.IsValid():
		return cut(local + "@[" + a.Literal.String() + "]")
	case a.Domain != "":
		return cut(local + "@" + a.Domain)
	default:
		return local
	}
}

// cutExtension splits a local part at the first + that something stands before.
func cutExtension(local string) (user, extension string, found bool) {
	if i := strings.IndexByte(local, '+'); i > 0 {
		return local[:i], local[i+1:], true
	}
	return local, "", false
}

// tagging is one way of putting a tag before the local part.
type tagging struct{ prefix, sep string }

var taggings = [...]tagging{{"prvs=", "="}, {"btv1==", "=="}, {"msprvs1=", "="}}

// untag takes away the tags of BATV and its relatives, one after the other.
func untag(local string) string {
	for {
		inner := untagOnce(local)
		if inner == "" {
			return local
		}
		local = inner
	}
}

// untagOnce is empty if there is no tag.
func untagOnce(local string) string {
	for _, t := range taggings {
		rest, ok := cutPrefixFold(local, t.prefix)
		if !ok {
			continue
		}
		first, second, ok := strings.Cut(rest, t.sep)
		switch {
		case !ok || first == "" || second == "":
		case !isBATVTag(first) && isBATVTag(second): // as an early draft had it
			return first
		case len(first) <= 32 && isAlphanumeric(first):
			return second
		}
	}
	return ""
}

// isBATVTag tells whether a text is the tag of draft-levine-smtp-batv: a digit for the key, three for the day, six
// hexadecimal ones for the hash.
func isBATVTag(s string) bool {
	if len(s) != 10 {
		return false
	}
	for i := range len(s) {
		if !isDecimal(s[i]) && (i < 4 || !isHexLetter(s[i])) {
			return false
		}
	}
	return true
}

func isHexLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'f' }

func isAlphanumeric(s string) bool {
	for i := range len(s) {
		if !isDecimal(s[i]) && (s[i]|0x20 < 'a' || s[i]|0x20 > 'z') {
			return false
		}
	}
	return true
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func stableLocal(local string) string {
	local = untag(local)
	if s := srs(local); s != "" {
		return s
	}
	local, _, _ = cutExtension(local)
	local = stableTokens(local)
	return cmp.Or(srs(local), local) // what is left out may have been all that it was none for
}

// srs is the stable form of a local part of the Sender Rewriting Scheme; empty if it is none.
func srs(local string) string {
	if len(local) < 5 || !strings.ContainsRune("=+-", rune(local[4])) {
		return ""
	}
	rest := local[5:]
	switch strings.ToUpper(local[:4]) {
	case "SRS0":
		if inner := srs0(rest); inner != "" {
			return "SRS0=" + inner
		}
	case "SRS1":
		f := strings.SplitN(rest, "=", 3) // hash, host, and SRS0 without its name
		if len(f) < 3 || f[0] == "" || f[1] == "" || f[2] == "" || !strings.ContainsRune("=+-", rune(f[2][0])) {
			return ""
		}
		if inner := srs0(f[2][1:]); inner != "" {
			return "SRS1=#=" + strings.ToLower(f[1]) + "==" + inner
		}
	}
	return ""
}

// srs0 takes HASH=TIME=domain=user.
func srs0(s string) string {
	f := strings.SplitN(s, "=", 4)
	if len(f) < 4 || f[0] == "" || f[1] == "" || f[2] == "" || f[3] == "" {
		return ""
	}
	return "#=#=" + strings.ToLower(f[2]) + "=" + stableLocal(f[3])
}

// stableTokens puts # for numbers and random tokens.
func stableTokens(local string) string {
	whole := tokenEnd(local) == len(local)
	var b strings.Builder
	last := ""
	for local != "" {
		start := 0
		for start < len(local) && !inToken(local[start]) {
			start++
		}
		between := local[:start]
		end := start + tokenEnd(local[start:])
		token := local[start:end]
		local = local[end:]
		if token != "" && changes(token, whole) {
			token = "#"
			if last == "#" {
				continue
			}
		}
		b.WriteString(between)
		b.WriteString(token)
		if token != "" {
			last = token
		}
	}
	return b.String()
}

// inToken tells whether an octet belongs to a token. UTF-8 counts as letters.
func inToken(c byte) bool {
	return c == '#' || c >= 0x80 || isDecimal(c) || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// tokenEnd is the length of the token at the beginning.
func tokenEnd(s string) int {
	i := 0
	for i < len(s) && inToken(s[i]) {
		i++
	}
	return i
}

// changes tells whether a token looks as if the next message had another one. A token that is the whole local part needs
// more to look so: people have numbers in their names.
func changes(token string, whole bool) bool {
	if strings.Contains(token, "#") {
		return true
	}
	digits, others, switches, before := 0, 0, 0, byte(0)
	for i := range len(token) {
		class := byte('a')
		switch c := token[i]; {
		case isDecimal(c):
			class = '0'
			digits++
		case c >= 'A' && c <= 'Z':
			class = 'A'
		}
		if class != '0' && !isHexLetter(token[i]) {
			others++
		}
		if i > 0 && class != before {
			switches++
		}
		before = class
	}
	isHex := others == 0 && digits > 0
	switch {
	case digits == len(token):
		return !whole
	case whole:
		return len(token) >= 12 && (isHex || switches >= 4)
	case digits == 0:
		return len(token) >= 12 && switches >= 5
	default:
		return isHex && len(token) >= 4 || len(token) >= 8 && switches >= 3
	}
}
