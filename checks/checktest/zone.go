package checktest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// The errors of Lookup.
var (
	ErrServFail = errors.New("dns: SERVFAIL")
	ErrTimeout  = errors.New("dns: time-out")
)

// Zone is a DNS from zone text, for tests and session files. The zero value has no name. A Zone does not change and is safe for
// concurrent use.
//
// The text is a master file (RFC 1035 section 5) with the origin "." and a default TTL of an hour. A line
//
//	!SERVFAIL name [type]
//	!TIMEOUT name [type]
//
// makes the questions for a name fail, or only those for a type.
//
// Wildcards are those of RFC 1034 section 4.3.3 and RFC 4592: *.example.net has the records of every name below example.net, at
// any depth, that does not exist and is not below another name that exists. A name exists if it, or a name below it, has a
// record. A failing name need not exist.
type Zone struct {
	records map[string][]dns.RR       // by canonical name
	parents map[string]bool           // names that exist because of a name below them, RFC 8020
	failing map[checks.Question]error // with Type 0 for every type
}

// ParseZone parses zone text. The error has the number of the line.
func ParseZone(text string) (*Zone, error) {
	z := &Zone{records: map[string][]dns.RR{}, parents: map[string]bool{}, failing: map[checks.Question]error{}}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "!")
		if !ok {
			continue
		}
		if err := z.fail(strings.Fields(rest)); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		lines[i] = ""
	}
	p := dns.NewZoneParser(strings.NewReader(strings.Join(lines, "\n")), ".", "")
	p.SetDefaultTTL(3600)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		name := dns.CanonicalName(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
		z.parents["."] = true
		for up, end := dns.NextLabel(name, 0); !end; up, end = dns.NextLabel(name, up) {
			z.parents[name[up:]] = true
		}
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return z, nil
}

// fail adds a directive.
func (z *Zone) fail(words []string) error {
	if len(words) < 2 || len(words) > 3 {
		return errors.New("want !SERVFAIL or !TIMEOUT, a name, and optionally a type")
	}
	err, known := map[string]error{"SERVFAIL": ErrServFail, "TIMEOUT": ErrTimeout}[words[0]]
	if !known {
		return fmt.Errorf("unknown directive !%s", words[0])
	}
	var t uint16
	if words[1] == "*" || strings.HasPrefix(words[1], "*.") {
		return fmt.Errorf("!%s takes one name, not the wildcard %s", words[0], words[1])
	}
	if len(words) == 3 {
		if t, known = dns.StringToType[strings.ToUpper(words[2])]; !known {
			return fmt.Errorf("unknown record type %q", words[2])
		}
	}
	z.failing[checks.Ask(words[1], t)] = err
	return nil
}

// maxChain is the number of CNAME records that are followed.
const maxChain = 8

// exists reports whether a name exists, perhaps without records of its own.
func (z *Zone) exists(name string) bool { return z.records[name] != nil || z.parents[name] }

// at returns the records of a name: its own, or those of the wildcard below the lowest name above it that exists.
func (z *Zone) at(name string) (records []dns.RR, exists bool) {
	if z.exists(name) {
		return z.records[name], true
	}
	for up, end := dns.NextLabel(name, 0); !end; up, end = dns.NextLabel(name, up) {
		if z.exists(name[up:]) {
			return z.expand("*."+name[up:], name)
		}
	}
	return z.expand("*.", name)
}

// expand returns the records of a wildcard for a name.
func (z *Zone) expand(wildcard, name string) (records []dns.RR, exists bool) {
	for _, rr := range z.records[wildcard] {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		records = append(records, rr)
	}
	return records, z.exists(wildcard)
}

// Lookup implements checks.Resolver.
func (z *Zone) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if err := ctx.Err(); err != nil {
		return checks.Answer{}, err
	}
	var a checks.Answer
	name := q.Name
	for range maxChain + 1 {
		for _, t := range []uint16{0, q.Type} {
			if err := z.failing[checks.Question{Name: name, Type: t}]; err != nil {
				return checks.Answer{}, fmt.Errorf("%s: %w", q, err)
			}
		}
		var alias *dns.CNAME
		found := false
		records, exists := z.at(name)
		for _, rr := range records {
			if rr.Header().Rrtype == q.Type {
				a.Records, found = append(a.Records, rr), true
			} else if c, ok := rr.(*dns.CNAME); ok {
				alias = c
			}
		}
		if found || alias == nil {
			a.NXDomain = !exists
			return a, nil
		}
		a.Records = append(a.Records, alias)
		name = dns.CanonicalName(alias.Target)
	}
	return checks.Answer{}, fmt.Errorf("%s: CNAME chain too long: %w", q, ErrServFail)
}
