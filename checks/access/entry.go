package access

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// entry is an entry of a list: one line of a file, or a record of the store.
type entry struct {
	prefix netip.Prefix // network or address; the zero value if the entry is a name or an address pattern
	key    string       // name or address pattern in lower case, with A-labels; empty if the entry is a prefix
	allow  bool         // of an allow list, not of a deny list
	file   string       // empty: the entry is in the store
	line   int          // of the file, from 1
	since  int64        // of an entry of the store: when it was added, in Unix seconds
	until  time.Time    // end of the entry; zero: none
	why    string
}

// String returns the entry as replies and logs show it. setSubject parses it.
func (e entry) String() string {
	switch at := strings.LastIndexByte(e.key, '@'); {
	case at > 0 && addressKey(e.key) != e.key: // the local part needs quotes
		return headers.Path{Local: e.key[:at]}.String() + e.key[at:]
	case !e.prefix.IsValid():
		return e.key
	default:
		return checks.FormatNetwork(e.prefix)
	}
}

// place returns where the entry is, as replies to operators show it.
func (e entry) place() string {
	if e.file == "" {
		return "milterd access"
	}
	return fmt.Sprintf("%s:%d", e.file, e.line)
}

// inForce reports whether the entry has not ended.
func (e entry) inForce(now time.Time) bool { return e.until.IsZero() || now.Before(e.until) }

// maxLine is the length of a line in bytes. An address has at most 320; a quarter of it would cut explanations in why=.
const maxLine = 2000

// parseLine parses one line. ok is false for an empty line or a comment.
func parseLine(text string, allow bool) (e entry, ok bool, err error) {
	if len(text) > maxLine {
		return entry{}, false, fmt.Errorf("the line has %d bytes; at most %d are allowed", len(text), maxLine)
	}
	words, err := splitLine(text)
	if len(words) == 0 || err != nil {
		return entry{}, false, err
	}
	if e, err = parseSubject(words[0], allow); err != nil {
		return entry{}, false, err
	}
	for _, w := range words[1:] {
		if err := e.setOption(w); err != nil {
			return entry{}, false, err
		}
	}
	return e, true, nil
}

// parseSubject returns an entry without options.
func parseSubject(text string, allow bool) (entry, error) {
	e := entry{allow: allow}
	if err := e.setSubject(text); err != nil {
		return entry{}, err
	}
	if allow {
		return e, checkAllowed(e.key)
	}
	return e, nil
}

// splitLine splits a line at white space outside of quotes. A # begins a comment only at the beginning of a word, as it may
// be part of an address.
func splitLine(text string) ([]string, error) {
	const space = " \t\r\ufeff" // files from Windows have a CR at the end of lines and a byte order mark at the beginning
	var words []string
	for {
		text = strings.TrimLeft(text, space)
		if text == "" || text[0] == '#' {
			return words, nil
		}
		end, quoted := 0, false
		for ; end < len(text) && (quoted || text[end] != ' ' && text[end] != '\t' && text[end] != '\r'); end++ {
			switch {
			case text[end] == '"':
				quoted = !quoted
			case text[end] == '\\' && quoted && end+1 < len(text):
				end++
			}
		}
		if quoted {
			return nil, errors.New(`a " has no closing "`)
		}
		words = append(words, text[:end])
		text = text[end:]
	}
}

// setSubject parses what the entry is about.
func (e *entry) setSubject(text string) error {
	network := text
	if p, err := netip.ParsePrefix(text); err == nil {
		network = p.Masked().String() // lists from elsewhere have bits set after the network part
	}
	if p, err := checks.ParseNetwork(network); err == nil {
		e.prefix = p
		return nil
	}
	switch {
	case strings.Contains(text, "/") && !strings.Contains(text, "@"):
		return fmt.Errorf("%s is not a network such as 192.0.2.0/24 or 2001:db8::/32", quote(text))
	case strings.Contains(text, "*"):
		return fmt.Errorf("%s: wildcards are not supported; .example.net matches the domain and all names below it", quote(text))
	case strings.ContainsAny(text, "<>"):
	case strings.Contains(text, "@"):
		e.key = addressKey(text)
	default:
		e.key = nameKey(text)
	}
	if e.key == "" {
		return fmt.Errorf("%s is not a network, address, host name, .domain, user@, user@domain, @domain or @.domain", quote(text))
	}
	return nil
}

// setOption parses a word after the subject: until=2027-01-31 or why="a sentence".
func (e *entry) setOption(word string) error {
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "until":
		day, err := time.Parse(time.DateOnly, value)
		if err != nil || !e.until.IsZero() {
			return fmt.Errorf("%s: want one date, such as until=2027-01-31", quote(word))
		}
		e.until = day.AddDate(0, 0, 1) // the day itself is included
		return nil
	case "why":
		if quoted, ok := strings.CutPrefix(value, `"`); ok {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(quoted, `"`))
		}
		if value == "" || e.why != "" {
			return fmt.Errorf(`%s: want one text, such as why="sends to spam traps"`, quote(word))
		}
		e.why = value
		return nil
	default:
		return fmt.Errorf(`%s: only until=2027-01-31 and why="..." may follow an entry`, quote(word))
	}
}

// checkAllowed returns an error for a key that would exempt everybody: a local part at any domain, or all domains below a
// public suffix.
func checkAllowed(key string) error {
	if strings.HasSuffix(key, "@") {
		return fmt.Errorf("%s in an allow list exempts everybody who uses that local part; want user@domain", key)
	}
	name := strings.TrimPrefix(key, "@")
	if domain, ok := strings.CutPrefix(name, "."); ok && !strings.Contains(name, "@") && checks.OrgDomain(domain) == "" {
		return fmt.Errorf("%s is a public suffix; in an allow list it exempts everybody with a domain below it", key)
	}
	return nil
}

// addressKey returns user@, user@domain, @domain or @.domain as lists keep it, or "" if text is none of them.
func addressKey(text string) string {
	at := strings.LastIndexByte(text, '@')
	local, domain := text[:at], text[at+1:]
	if local == "" {
		if name := nameKey(domain); name != "" {
			return "@" + name
		}
		return ""
	}
	a := checks.ParseAddress(local + "@" + cmp.Or(domain, "example.org"))
	switch {
	case a.Local == "" || a.Domain == "":
		return ""
	case domain == "":
		return strings.ToLower(a.Local) + "@"
	default:
		return strings.ToLower(a.Local) + "@" + a.Domain
	}
}

// nameKey returns a host name or .domain as lists keep it, or "" if text is neither. A single label is accepted, as many
// unwanted clients send one in HELO. A name whose last label is a number is a mistyped address (RFC 3696 section 2).
func nameKey(text string) string {
	name, dot := strings.CutPrefix(text, ".")
	name = checks.ParseAddress("x@" + name).Domain
	if name == "" || strings.Trim(name[strings.LastIndexByte(name, '.')+1:], "0123456789") == "" {
		return ""
	}
	if dot {
		return "." + name
	}
	return name
}

// quote returns a text from a file in quotes, as printable US-ASCII.
func quote(text string) string { return fmt.Sprintf("%q", checks.Clean(text, 60)) }
