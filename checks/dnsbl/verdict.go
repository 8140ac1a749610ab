package dnsbl

import (
	"context"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// hit is a lookup that found a listing.
type hit struct {
	lookup
	code string // several with commas between
}

// verdicts makes the listings into one verdict for each reason, which names the first zone, and a vouch.
func (c *Check) verdicts(ctx context.Context, hits []hit) []checks.Verdict {
	var refuse []checks.Verdict
	vouch := checks.Verdict{}
	for _, h := range hits {
		if h.Allow {
			if vouch.Vouch == checks.NoVouch {
				vouch = checks.Verdict{Vouch: checks.SkipDelays, Detail: h.detail()}
			}
			continue
		}
		r := nameListed
		if h.query == Client {
			r = listed
		}
		at := slices.IndexFunc(refuse, func(v checks.Verdict) bool { return v.Reason == r })
		if at < 0 {
			d := h.detail()
			d["what"], d["text"] = h.what, c.text(ctx, h)
			refuse = append(refuse, checks.Verdict{Reason: r, Detail: d})
			continue
		}
		d := refuse[at].Detail
		d["also"] = strings.TrimPrefix(d["also"]+", "+h.name, ", ")
	}
	if vouch.Vouch != checks.NoVouch {
		refuse = append(refuse, vouch)
	}
	return refuse
}

func (h hit) detail() map[string]string {
	return map[string]string{"zone": h.name, "code": h.code, "lookup": h.shown}
}

// maxText is how much of what a list says is kept, in octets. A reply shows no more.
const maxText = 160

// text is what the list says about the entry, RFC 5782 section 2.1, made safe. A list that says nothing is no fault.
func (c *Check) text(ctx context.Context, h hit) string {
	const none = "the list says no more"
	a, err := c.env.DNS.Lookup(ctx, h.question(dns.TypeTXT))
	if err != nil {
		return none
	}
	var texts []string
	for _, t := range checks.RecordsOf[*dns.TXT](a) {
		texts = append(texts, unescape(strings.Join(t.Txt, "")))
	}
	slices.Sort(texts) // the DNS gives them in any order
	text := checks.Clean(h.hide(strings.Join(slices.Compact(texts), " ")), maxText)
	if text == "" {
		return none
	}
	return text
}

// unescape undoes the escapes of RFC 1035 section 5.1, which package dns leaves in the strings of TXT records.
func unescape(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
			if n, ok := decimal(s[i:]); ok {
				c = n
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// decimal reads three digits that are an octet.
func decimal(s string) (octet byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return byte(n), n <= 255
}
