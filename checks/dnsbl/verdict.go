package dnsbl

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// hit is a lookup that found a listing.
type hit struct {
	lookup
	codes string // separated by commas
}

// verdicts returns one verdict for each reason, which has the first zone that lists, and a vouch if there is one.
func (c *check) verdicts(ctx context.Context, hits []hit) []checks.Verdict {
	var verdicts []checks.Verdict
	var vouch *checks.Verdict
	for _, h := range hits {
		if h.Allow {
			if vouch == nil {
				vouch = &checks.Verdict{Vouch: checks.SkipDelays, Why: "listed in " + h.name, Detail: h.detail()}
			}
			continue
		}
		reason := nameListed
		if h.query == Client {
			reason = listed
		}
		i := slices.IndexFunc(verdicts, func(v checks.Verdict) bool { return v.Reason == reason })
		if i < 0 {
			d := h.detail()
			d["what"], d["text"] = h.what, c.text(ctx, h)
			verdicts = append(verdicts, checks.Verdict{Reason: reason, Detail: d})
			continue
		}
		d := verdicts[i].Detail
		d["also"] = strings.TrimPrefix(d["also"]+", "+h.name, ", ")
	}
	if vouch != nil {
		verdicts = append(verdicts, *vouch)
	}
	return verdicts
}

func (h hit) detail() map[string]string {
	return map[string]string{"zone": h.name, "code": h.codes, "lookup": h.shown}
}

// maxText is the length of what a list says, in bytes. The Pipeline cuts longer values of a reply.
const maxText = 160

// text returns what the list says about the entry (RFC 5782 section 2.1), as printable US-ASCII.
func (c *check) text(ctx context.Context, h hit) string {
	const none = "the list says no more"
	a, err := c.env.DNS.Lookup(ctx, h.question(dns.TypeTXT))
	if err != nil {
		return none
	}
	texts := checks.Texts(a)
	slices.Sort(texts) // the DNS returns records in any order
	return cmp.Or(checks.Clean(hide(h.keys, strings.Join(slices.Compact(texts), " ")), maxText), none)
}
