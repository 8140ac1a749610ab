package dmarc

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/headers"
)

// Destination is an address that wants aggregate reports.
type Destination struct {
	Address  string // local part and domain, as in a command of SMTP; printable US-ASCII
	MaxBytes int64  // the largest message that it takes, RFC 7489 section 6.2; 0: any
}

func (d Destination) host() string { return d.Address[strings.LastIndexByte(d.Address, '@')+1:] }

// Reporting says who wants the aggregate reports about a policy domain.
type Reporting struct {
	Record       Record
	Found        bool // there is a record
	Destinations []Destination
	Refused      []string // addresses in rua= that did not agree to receive reports about the domain, with the reason
	Unanswered   []error  // for addresses whose consent is not known, as the DNS did not answer
}

// maxDestinations is the number of addresses that are used, RFC 9990 section 3.5. Few records have more than two.
const maxDestinations = 5

// Reporting asks for the record of a policy domain and for the consent of those addresses in rua= that are of another organisation,
// RFC 9990 section 4. The error means that the DNS did not answer for the record.
func (t *Tree) Reporting(ctx context.Context, domain string) (Reporting, error) {
	var r Reporting
	q, ok := question(domain)
	if !ok || !isName(domain) {
		return r, nil
	}
	answer, err := t.dns.Lookup(ctx, q)
	if err != nil {
		return r, fmt.Errorf("DMARC record of %s: %w", domain, err)
	}
	text := textOf(answer)
	if r.Record, r.Found = parseRecord(text); !r.Found {
		return r, nil
	}
	tags, _ := parseTags(text)
	for _, asked := range destinations(tags["rua"]) {
		agreed, why, err := t.consent(ctx, domain, asked)
		if err != nil {
			r.Unanswered = append(r.Unanswered, err)
			continue
		}
		if why != "" {
			r.Refused = append(r.Refused, asked.Address+": "+why)
		}
		for _, d := range agreed {
			if !slices.ContainsFunc(r.Destinations, func(o Destination) bool { return o.Address == d.Address }) {
				r.Destinations = append(r.Destinations, d)
			}
		}
	}
	r.Destinations = r.Destinations[:min(len(r.Destinations), maxDestinations)]
	return r, nil
}

// consent returns the destinations of reports for d: d itself, or those that the record of its host names instead. why is not empty
// if the host does not take reports about the domain.
func (t *Tree) consent(ctx context.Context, domain string, d Destination) (agreed []Destination, why string, err error) {
	same, err := t.Aligned(ctx, domain, d.host())
	if err != nil {
		return nil, "", fmt.Errorf("organisation of %s: %w", d.host(), err)
	}
	if same {
		return []Destination{d}, "", nil
	}
	name := domain + "._report._dmarc." + d.host()
	if len(name) > maxName {
		return nil, "the name " + name + " is too long for the DNS", nil
	}
	answer, err := t.dns.Lookup(ctx, checks.Ask(name, dns.TypeTXT))
	if err != nil {
		return nil, "", fmt.Errorf("consent of %s to reports about %s: %w", d.host(), domain, err)
	}
	texts := recordTexts(answer)
	if len(texts) == 0 {
		return nil, "there is no record v=DMARC1 at " + name, nil
	}
	for _, text := range texts {
		tags, _ := parseTags(text)
		rua, has := tags["rua"]
		if !has {
			continue
		}
		for _, other := range destinations(rua) {
			if other.host() != d.host() {
				return nil, "the record at " + name + " sends reports to another host", nil
			}
			agreed = append(agreed, other)
		}
		if len(agreed) == 0 {
			why = "the record at " + name + " names no mail address in rua="
		}
		return agreed, why, nil
	}
	return []Destination{d}, "", nil
}

// destinations parses rua=: the first mail addresses in it. Other URIs and malformed ones are left out.
func destinations(rua string) (list []Destination) {
	for text := range strings.SplitSeq(rua, ",") {
		d, ok := parseDestination(strings.Trim(text, whiteSpace))
		if ok && len(list) < maxDestinations {
			list = append(list, d)
		}
	}
	return list
}

// parseDestination parses a URI such as mailto:a@example.com!10m. Commas and exclamation marks of an address are encoded in it.
func parseDestination(text string) (d Destination, ok bool) {
	text, size, limited := strings.Cut(text, "!")
	u, err := url.Parse(text)
	if err != nil || !strings.EqualFold(u.Scheme, "mailto") {
		return d, false
	}
	address, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return d, false
	}
	local, host, _ := strings.Cut(address, "@")
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !isDotAtom(local) || !isName(host) || !strings.Contains(host, ".") {
		return d, false
	}
	d.Address = local + "@" + host
	if limited {
		d.MaxBytes, ok = parseSize(size)
		return d, ok
	}
	return d, true
}

// isDotAtom reports whether a text is a local part that needs no quotes and has no UTF-8, RFC 5321 section 4.1.2.
func isDotAtom(local string) bool {
	const maxLocal = 64 // bytes, RFC 5321 section 4.5.3.1.1
	return local != "" && len(local) <= maxLocal && headers.Path{Local: local}.String() == local && headers.IsASCII(local)
}

func parseSize(text string) (int64, bool) {
	unit := map[byte]int64{'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30, 't': 1 << 40}
	factor := int64(1)
	if n := len(text); n > 0 && unit[text[n-1]|0x20] > 0 {
		factor, text = unit[text[n-1]|0x20], text[:n-1]
	}
	const maxUnits = 1 << 20
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > maxUnits && factor > 1 {
		return 0, false
	}
	return n * factor, true
}
