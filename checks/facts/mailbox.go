package facts

import (
	"cmp"
	"regexp"
	"strings"

	"milterd/checks"
)

// maxMailbox is the greatest length of a result of Mailbox and StableSender, in bytes: RFC 5321 section 4.5.3.1 allows 64
// for a local part and 255 for a domain.
const maxMailbox = 320

// Mailbox returns the mailbox of an address in a form to compare: without BATV tag, without +extension, in lower case. It is
// empty for the null reverse-path and has at most 320 bytes.
func Mailbox(a checks.Address) string {
	local := withoutExtension(untag(truncate(a.Local)))
	local = strings.ToLower(local) // makes invalid UTF-8 longer
	return withDomain(a, strings.ToValidUTF8(truncate(local), ""))
}

// StableSender returns the part of a reverse-path that stays the same between deliveries, for senders that use a new
// reverse-path for each message or recipient. It is empty for the null reverse-path and has at most 320 bytes. The domain is
// in lower case. The local part keeps its case, RFC 5321 section 2.4.
//
//   - The tag of BATV is removed (draft-levine-smtp-batv: prvs=TAG=user; also prvs=user=TAG, btv1==TAG==user and
//     msprvs1=TAG=user).
//   - In SRS0=HASH=TIME=domain=user and SRS1=HASH=host==HASH=TIME=domain=user, "#" replaces hashes and times.
//   - A +extension is removed. Mailing lists use it for VERP.
//   - "#" replaces numbers, and tokens that look random; one "#" replaces several in a row. A local part that is a number is
//     kept, as some providers give numbers to people.
//
// The result of StableSender for its own result is the same.
func StableSender(a checks.Address) string { return withDomain(a, stableLocal(truncate(a.Local))) }

// IsSRS reports whether an address was made by the Sender Rewriting Scheme. It is a forwarder's then, not a person's.
func IsSRS(a checks.Address) bool { return srs(truncate(a.Local)) != "" }

func truncate(s string) string { return s[:min(len(s), maxMailbox)] }

// withDomain returns a local part with the domain of an address. It returns an address without local part as it is.
func withDomain(a checks.Address, local string) string {
	switch {
	case a.Local == "":
		return truncate(a.Text)
	case a.Literal.IsValid():
		return truncate(local + "@[" + a.Literal.String() + "]")
	case a.Domain != "":
		return truncate(local + "@" + a.Domain)
	default:
		return local
	}
}

func stableLocal(local string) string {
	local = untag(local)
	if s := srs(local); s != "" {
		return s
	}
	local = replaceTokens(withoutExtension(local))
	return cmp.Or(srs(local), local) // without the extension it may be an SRS address
}

// withoutExtension removes the first + and what follows it. A + at the beginning is no extension.
func withoutExtension(local string) string {
	if i := strings.IndexByte(local, '+'); i > 0 {
		return local[:i]
	}
	return local
}

// tagging is a way of putting a tag before the local part.
type tagging struct{ prefix, separator string }

var taggings = [...]tagging{
	{prefix: "prvs=", separator: "="}, {prefix: "btv1==", separator: "=="}, {prefix: "msprvs1=", separator: "="},
}

// untag removes all tags of BATV and schemes like it.
func untag(local string) string {
	for {
		inner := untagOnce(local)
		if inner == "" {
			return local
		}
		local = inner
	}
}

// untagOnce removes one tag. It returns "" if there is none.
func untagOnce(local string) string {
	for _, t := range taggings {
		rest, ok := cutPrefixFold(local, t.prefix)
		if !ok {
			continue
		}
		first, second, ok := strings.Cut(rest, t.separator)
		switch {
		case !ok || second == "":
		case !batvTag.MatchString(first) && batvTag.MatchString(second): // the order of an early draft
			return first
		case otherTag.MatchString(first):
			return second
		}
	}
	return ""
}

var (
	// batvTag is a tag of draft-levine-smtp-batv: one digit for the key, three for the day, and six hexadecimal digits of a hash.
	batvTag  = regexp.MustCompile(`^[0-9]{4}[0-9A-Fa-f]{6}$`)
	otherTag = regexp.MustCompile(`^[0-9A-Za-z]{1,32}$`)
)

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// Local parts of the Sender Rewriting Scheme. The submatches are the domain and the user, and before them the host of SRS1.
var (
	srs0 = regexp.MustCompile(`^[Ss][Rr][Ss]0[=+-][^=]+=[^=]+=([^=]+)=((?s).+)$`)
	srs1 = regexp.MustCompile(`^[Ss][Rr][Ss]1[=+-][^=]+=([^=]+)=[=+-][^=]+=[^=]+=([^=]+)=((?s).+)$`)
)

// srs returns the stable form of a local part of the Sender Rewriting Scheme, or "" for another local part.
func srs(local string) string {
	if m := srs0.FindStringSubmatch(local); m != nil {
		return "SRS0=#=#=" + strings.ToLower(m[1]) + "=" + stableLocal(m[2])
	}
	if m := srs1.FindStringSubmatch(local); m != nil {
		return "SRS1=#=" + strings.ToLower(m[1]) + "==#=#=" + strings.ToLower(m[2]) + "=" + stableLocal(m[3])
	}
	return ""
}

// replaceTokens replaces numbers and random tokens by #.
func replaceTokens(local string) string {
	whole := tokenLength(local) == len(local)
	var b strings.Builder
	last := ""
	for local != "" {
		start := 0
		for start < len(local) && !inToken(local[start]) {
			start++
		}
		between := local[:start]
		end := start + tokenLength(local[start:])
		token := local[start:end]
		local = local[end:]
		if token != "" && isVariable(token, whole) {
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

// inToken reports whether a byte belongs to a token. UTF-8 counts as letters.
func inToken(c byte) bool {
	return c == '#' || c >= 0x80 || isDecimal(c) || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// tokenLength returns the length of the token at the beginning.
func tokenLength(s string) int {
	i := 0
	for i < len(s) && inToken(s[i]) {
		i++
	}
	return i
}

// isVariable reports whether a token looks as if it differs in the next message. The limits are higher for a token that is
// the whole local part, as people have numbers in their names.
func isVariable(token string, whole bool) bool {
	if strings.Contains(token, "#") {
		return true
	}
	digits, others, switches, before := 0, 0, 0, byte(0) // switches: changes between digits, upper and lower case
	for i := range len(token) {
		class := byte('a')
		c := token[i]
		switch {
		case isDecimal(c):
			class = '0'
			digits++
		case c >= 'A' && c <= 'Z':
			class = 'A'
		}
		if class != '0' && (c|0x20 < 'a' || c|0x20 > 'f') {
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
