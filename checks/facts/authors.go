package facts

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"milterd/checks"
	"milterd/headers"
)

// Authors are the authors of a message, as its From fields name them. The zero value is a message without From field, or one
// whose From fields have no address, such as "MAILER-DAEMON <>".
type Authors struct {
	Domains  []string // author domains (RFC 9989 section 3.2.2), each once: lower-case A-labels, no trailing dot
	Invalid  []string // domains as written that cannot be in the DNS; address literals are not among them
	standIns int      // number of Domains that are another reading of an element of Invalid or of Domains
}

// Several reports whether the authors are of several domains.
func (a Authors) Several() bool { return len(a.Domains)+len(a.Invalid)-a.standIns > 1 }

// Evaluated returns the domains that DMARC evaluates. If some invalid domains were not kept, a reader may see a valid domain in one of
// them. It then returns the invalid ones too: they are more than DMARC evaluates, which makes a permerror.
func (a Authors) Evaluated() []string {
	if len(a.Invalid) < maxAuthorDomains {
		return a.Domains
	}
	return slices.Concat(a.Domains, a.Invalid)
}

// maxAuthorDomains is the number of author domains that are kept. DMARC evaluates five, so six show that there are too many.
const maxAuthorDomains = 6

type authorsKey struct{}

// MessageAuthors returns the authors of the message and remembers them for the transaction. It is for the stage EndOfHeader
// and later ones.
//
// All that a mail program may show counts, or a forger could hide an author domain: all From fields, the text after each "@" in a
// field that cannot be parsed, encoded-words in an address, the valid part of a domain such as "mail!.example.com", a domain
// without its invisible characters, and the address that Sendmail makes of another one when it delivers the message.
func MessageAuthors(r *checks.Request) Authors {
	a, _ := checks.Remember(r, checks.EndOfHeader, authorsKey{}, func() (Authors, error) { return authorsOf(r.Envelope.Header), nil })
	return a
}

func authorsOf(header []headers.Field) Authors {
	var a Authors
	for _, field := range header {
		if !field.Is("From") {
			continue
		}
		a.addField(field.Value)
		if shown := withoutControls(field.Value); shown != field.Value {
			a.addField(shown)
		}
	}
	return a
}

// addField adds the domains of the value of a From field.
func (a *Authors) addField(value string) {
	mailboxes, err := headers.ParseMailboxList(value)
	if len(mailboxes) == 0 && err != nil {
		a.addLoose(value)
	}
	for _, m := range mailboxes {
		a.add(m.Domain)
		a.addEncoded(m)
		// Some parsers take the domain in "<ceo@bank.example>"@evil.example. Gateways write "jane@example.org"@gateway.example.
		for _, after, found := strings.Cut(m.Local, "@"); found; _, after, found = strings.Cut(after, "@") {
			if name := leadingName(after); name != after {
				a.addPart(name)
			}
		}
	}
	if err != nil || len(mailboxes) != 1 || !isPlain(value, mailboxes[0].Domain) {
		a.addElements(value)
	}
	for _, domain := range headers.RoutedDomains(value) { // last, as a forger could fill the list with them
		if strings.Contains(domain, ".") {
			a.add(domain)
		}
	}
}

// isPlain reports whether a valid field of one mailbox has no second domain: its only "@" stands before the domain of the mailbox as a
// whole, and it has no list element with an encoded-word or a wide character.
func isPlain(value, domain string) bool {
	_, after, _ := strings.Cut(value, "@")
	return strings.HasPrefix(after, domain) && !strings.Contains(after, "@") &&
		(!strings.ContainsAny(value, ",;") || !strings.Contains(value, "=?") && headers.IsASCII(value))
}

// withoutControls returns a text without the ASCII control characters and the escape sequences, which a reader does not see. It keeps
// bytes that are not UTF-8.
func withoutControls(text string) string {
	hidden := func(c rune) bool { return c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f }
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	text = escapes.ReplaceAllString(text, "")
	return string(slices.DeleteFunc([]byte(text), func(c byte) bool { return hidden(rune(c)) }))
}

// escapes are the escape sequences of ISO/IEC 2022, with the text after one for characters of two bytes: an "@" there is none.
var escapes = regexp.MustCompile(`\x1b(\$[!-~]*|[ -/]+[0-~])`)

// shownText returns a text as a reader sees it: with the encoded-words decoded, and without what cannot be shown in them.
func shownText(text string) string {
	decoded := headers.DecodeWords(text)
	if decoded == text {
		return text
	}
	return withoutControls(lineEnds.Replace(strings.ToValidUTF8(decoded, "")))
}

var lineEnds = strings.NewReplacer("\r", "", "\n", "")

// add adds the domain of an address. If the domain cannot be in the DNS, it adds the part that can: a reader may overlook the rest.
func (a *Authors) add(text string) {
	text, isLiteral := strings.CutPrefix(text, "[")
	text = strings.TrimFunc(text, func(c rune) bool { return c == utf8.RuneError || c == brailleBlank || unicode.IsSpace(c) }) // characters that cannot be seen
	text = strings.TrimRightFunc(text, func(c rune) bool { return c >= 0x80 && (unicode.IsPunct(c) || unicode.IsSymbol(c)) })
	if domain := ASCIIDomain(text); domain != "" && !isLiteral {
		appendNew(&a.Domains, domain)
		if seen := seenDomain(text); seen != "" && appendNew(&a.Domains, seen) {
			a.standIns++
		}
		return
	}
	if !isLiteral && !appendNew(&a.Invalid, text) {
		return
	}
	if isLiteral {
		text = text[strings.LastIndexByte(text, ':')+1:] // after a tag, RFC 5321 section 4.1.3
	}
	parts := []string{validPart(text), firstPart(text)}
	if !utf8.ValidString(text) {
		parts = append(parts, ASCIIDomain(fromLatin1(text)))
	}
	before := len(a.Domains)
	for _, domain := range parts {
		if domain != "" {
			appendNew(&a.Domains, domain)
		}
	}
	if !isLiteral {
		a.standIns += len(a.Domains) - before
	}
}

// firstPart returns the domain at the beginning of an invalid one. It returns "" if that has fewer than two labels.
func firstPart(text string) string {
	name := leadingName(text)
	if _, err := netip.ParseAddr(name); err == nil || !strings.Contains(name, ".") {
		return ""
	}
	return ASCIIDomain(name)
}

// fromLatin1 converts a text from ISO 8859-1, which mail programs assume for a field that is not valid UTF-8.
func fromLatin1(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteRune(rune(text[i]))
	}
	return b.String()
}

// brailleBlank is a character without dots, which is no white space.
const brailleBlank = '\u2800'

// seenDomain returns the domain that a reader sees in a valid one with invisible characters where IDNA2008 does not permit them, or "".
func seenDomain(text string) string {
	if headers.IsASCII(text) {
		return ""
	}
	seen := visible(text)
	if seen == text {
		return ""
	}
	if !isTooLong(text) {
		if _, err := idna.Lookup.ToASCII(text); err == nil {
			return ""
		}
	}
	return ASCIIDomain(seen)
}

func visible(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
			return -1
		}
		return c
	}, text)
}

// validPart returns the valid domain at the end of an invalid one. It leaves out the punctuation around the text and what stands before
// the last labels that are valid. It returns "" if fewer than two labels are left. It converts each label once: a field has thousands of
// address literals.
func validPart(text string) string {
	text = strings.TrimFunc(text, func(c rune) bool { return c < 0x80 && (c == '.' || !isNameByte(byte(c))) })
	const maxText = utf8.UTFMax * maxDomain // bytes
	if len(text) > maxText {
		text = visible(text)
		text = text[max(0, len(text)-maxText):]
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return ""
	}
	part := ""
	for _, label := range slices.Backward(strings.Split(text, ".")) {
		label = ASCIIDomain(label)
		if label == "" || len(label)+len(".")+len(part) > maxDomain {
			break
		}
		part = strings.TrimSuffix(label+"."+part, ".")
	}
	if !strings.Contains(part, ".") {
		return ""
	}
	return part
}

// addEncoded adds the domains in the encoded-words of an address.
func (a *Authors) addEncoded(m headers.Mailbox) {
	before := len(a.Domains)
	if address := m.Local + "@" + m.Domain; strings.Contains(address, "=?") {
		a.addLoose(shownText(address))
	}
	if len(a.Domains) > before && ASCIIDomain(m.Domain) == "" {
		a.standIns++
	}
}

// addPart adds a domain of two labels or more that some mail programs take from an address instead of its own.
func (a *Authors) addPart(text string) {
	if domain := ASCIIDomain(strings.Trim(text, ".")); strings.Contains(domain, ".") && appendNew(&a.Domains, domain) {
		a.standIns++
	}
}

// addElements adds the domains that mail programs take from the elements of a list in another way than headers.ParseMailboxList: what
// stands before white space in a domain, as in "ceo@bank.example .evil.example", elements beside those with brackets, an address behind a
// bracket, and elements that are an address when they are decoded and the punctuation around them is left out. The decoded text of a name
// may have an "@" by chance, such as ISO-2022-JP in a program that does not know it, so a domain without a dot does not count.
func (a *Authors) addElements(value string) {
	for element := range headers.ListElements(value) {
		if len(a.Domains) >= maxAuthorDomains {
			return
		}
		if !strings.ContainsAny(element, "@\uff20\ufe6b=") { // not even an encoded "@"
			continue
		}
		plain := headers.WithoutComments(element)
		seen := plainAt.Replace(shownText(plain))
		if !strings.Contains(seen, "@") {
			continue
		}
		if end := strings.LastIndexByte(plain, '>'); end >= 0 {
			a.addLoose(plain[end+1:])
		}
		found, err := headers.ParseMailboxList(plain)
		bracket := strings.LastIndexByte(plain, '<')
		if start := strings.LastIndexByte(element, '<'); bracket >= 0 || err == nil {
			for _, beginning := range headers.SplitDomains(element[max(start, 0):]) {
				a.addPart(beginning)
			}
		}
		if err != nil && (len(found) == 0 || bracket < 0) {
			found, err = headers.ParseMailboxList(strings.Trim(seen, " \t\r\n\"'<>()[].:\\"))
		}
		if err != nil {
			continue
		}
		for _, m := range found {
			if strings.Contains(m.Domain, ".") {
				a.add(m.Domain)
			}
		}
	}
}

// appendNew appends a domain, if it is new and there is room. It reports whether it did. It leaves out the pseudo-domain UUCP, as
// Sendmail does.
func appendNew(list *[]string, domain string) bool {
	domain = strings.TrimSuffix(domain, ".uucp")
	if len(*list) >= maxAuthorDomains || slices.Contains(*list, domain) {
		return false
	}
	*list = append(*list, domain)
	return true
}

// addLoose adds the possible domain after each "@" of a text, with and without its encoded-words decoded. There may be a quote, a
// bracket or white space between them.
func (a *Authors) addLoose(text string) {
	for _, t := range []string{text, shownText(text)} {
		for _, after, found := strings.Cut(plainAt.Replace(t), "@"); found; _, after, found = strings.Cut(after, "@") {
			if domain := strings.Trim(leadingName(strings.TrimLeft(after, " \t\r\n\"<[")), "."); domain != "" {
				a.add(domain)
			}
		}
	}
}

// plainAt replaces the characters that look like "@", and removes the backslashes of quoted-pairs.
var plainAt = strings.NewReplacer("\uff20", "@", "\ufe6b", "@", `\`, "")

// leadingName returns the beginning of a text up to the first ASCII character that no domain has.
func leadingName(text string) string {
	if end := strings.IndexFunc(text, func(c rune) bool { return c < 0x80 && !isNameByte(byte(c)) }); end >= 0 {
		return text[:end]
	}
	return text
}

// isNameByte reports whether an ASCII character may be in a domain name.
func isNameByte(c byte) bool {
	lower := c | 0x20
	return c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9' || lower >= 'a' && lower <= 'z'
}
