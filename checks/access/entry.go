package access

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"milterd/checks"
	"milterd/checks/facts"
)

// entry is one line of a list.
type entry struct {
	prefix netip.Prefix // a network or an address; the zero value if the entry is a name or an address pattern
	key    string       // a name or an address pattern in lower case, with A-labels; empty if the entry is a prefix
	line   int          // in its file, from 1
	until  time.Time    // the end; zero: none
	why    string
}

// String is the entry as replies and logs show it.
func (e entry) String() string {
	switch {
	case !e.prefix.IsValid():
		return e.key
	case e.prefix.IsSingleIP():
		return e.prefix.Addr().String()
	default:
		return e.prefix.String()
	}
}

// inForce tells whether an entry has not ended.
func (e entry) inForce(now time.Time) bool { return e.until.IsZero() || now.Before(e.until) }

// longestLine bounds a line, in octets: an address has at most 320, and a reason is a sentence.
const longestLine = 2000

// parseLine reads one line: ok is false if it says nothing.
func parseLine(text string, allow bool) (e entry, ok bool, err error) {
	if len(text) > longestLine {
		return entry{}, false, fmt.Errorf("line of %d octets, %d is the most", len(text), longestLine)
	}
	words, err := splitLine(text)
	if len(words) == 0 || err != nil {
		return entry{}, false, err
	}
	if err := e.subject(words[0], allow); err != nil {
		return entry{}, false, err
	}
	for _, w := range words[1:] {
		if err := e.set(w); err != nil {
			return entry{}, false, err
		}
	}
	return e, true, nil
}

// splitLine cuts a line at white space outside quotes. A # at the beginning of a word begins a comment: within one it may be
// part of an address.
func splitLine(text string) ([]string, error) {
	const space = " \t\r\ufeff" // Windows ends lines with CR, and begins files with U+FEFF
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
			return nil, errors.New(`a " without its pair`)
		}
		words = append(words, text[:end])
		text = text[end:]
	}
}

// set takes what may follow an entry: until=2027-01-31 or why="a sentence".
func (e *entry) set(word string) error {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "until":
		day, err := time.Parse(time.DateOnly, value)
		if err != nil || !e.until.IsZero() {
			return fmt.Errorf("%s: want one day, such as until=2027-01-31", short(word))
		}
		e.until = day.AddDate(0, 0, 1) // the day itself counts
		return nil
	case "why":
		if quoted, ok := strings.CutPrefix(value, `"`); ok {
			value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(quoted, `"`))
		}
		if value == "" || e.why != "" {
			return fmt.Errorf(`%s: want one reason, such as why="sends to spam traps"`, short(word))
		}
		e.why = value
		return nil
	default:
		return fmt.Errorf(`%s: only until=2027-01-31 and why="..." may follow an entry`, short(word))
	}
}

// subject takes the entry itself.
func (e *entry) subject(text string, allow bool) error {
	if strings.Contains(text, "/") && !strings.Contains(text, "@") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%s is no network: want 192.0.2.0/24 or 2001:db8::/32", short(text))
		}
		e.prefix = unmap(p.Masked())
		return nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		e.prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	switch {
	case strings.Contains(text, "*"):
		return fmt.Errorf("%s: there are no wildcards; .example.net is a domain with all below it", short(text))
	case strings.ContainsAny(text, "<>"):
	case strings.Contains(text, "@"):
		e.key = addressKey(text)
	default:
		e.key = nameKey(text)
	}
	switch {
	case e.key == "":
		return fmt.Errorf("%s is no network, address, host name, .domain, user@, user@domain, @domain or @.domain", short(text))
	case allow:
		return tooMuch(e.key)
	}
	return nil
}

// unmap turns a network of IPv4-mapped addresses into the IPv4 one.
func unmap(p netip.Prefix) netip.Prefix {
	const mapped = 96 // bits before the IPv4 address, RFC 4291 section 2.5.5.2
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p
}

// tooMuch refuses what in an allow list would let anybody in: a local part at any domain, as anybody has a domain, and all names
// below a public suffix.
func tooMuch(key string) error {
	if strings.HasSuffix(key, "@") {
		return fmt.Errorf("%s at any domain could be anybody: want user@domain", key)
	}
	name := strings.TrimPrefix(key, "@")
	if domain, ok := strings.CutPrefix(name, "."); ok && !strings.Contains(name, "@") && facts.OrgDomain(domain) == "" {
		return fmt.Errorf("%s is all of a public suffix, and could be anybody", key)
	}
	return nil
}

// addressKey is user@, user@domain, @domain or @.domain as lists keep it; empty if it is none of them.
func addressKey(text string) string {
	at := strings.LastIndexByte(text, '@')
	local, domain := text[:at], text[at+1:]
	if local == "" {
		if name := nameKey(domain); name != "" {
			return "@" + name
		}
		return ""
	}
	if domain == "" {
		if a := checks.ParseAddress(local + "@example.org"); a.Local != "" {
			return strings.ToLower(a.Local) + "@"
		}
		return ""
	}
	if a := checks.ParseAddress(text); a.Local != "" && a.Domain != "" {
		return strings.ToLower(a.Local) + "@" + a.Domain
	}
	return ""
}

// nameKey is a host name or .domain as lists keep it; empty if it is none. One label is a name too: many who are denied say such
// a one in HELO. One that ends in digits alone is an address with a fault (RFC 3696 section 2).
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

// short quotes what may be anything.
func short(text string) string { return fmt.Sprintf("%q", checks.Clean(text, 60)) }
