package why

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/milter/records"
)

// values are what stands in the recipes: those of the refused mail where they are known and fit, else examples.
type values struct {
	client netip.Addr
	host   string // of the sending server
	domain string // of the sender
	site   string // whose postmaster can be asked
}

// exampleValues are of the names and addresses that RFC 2606 and RFC 5737 keep for documentation.
func exampleValues(site string) values {
	return values{netip.MustParseAddr("192.0.2.25"), "mail.example.net", "example.net", site}
}

// valuesOf are those of a record.
func valuesOf(r records.Record, site string) values {
	v := exampleValues(site)
	if r.Client.IsValid() {
		v.client = r.Client.WithZone("")
	}
	if name, ok := hostName(r.Helo); ok && r.Reason != "helo-own-name" {
		v.host = name
	}
	if name, ok := hostName(checks.ParseAddress(r.MailFrom).Domain); ok {
		v.domain = name
	}
	return v
}

// replacer fills recipes.
func (v values) replacer() *strings.Replacer {
	return strings.NewReplacer("{host}", v.host, "{client}", v.client.String(), "{domain}", v.domain, "{site}", v.site,
		"{reverse}", reverseName(v.client), "{type}", addressType(v.client), "{mechanism}", mechanism(v.client))
}

var hostNames = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// hostName brings a name that can stand in a zone as it is into the form without the dot at its end. What was said in HELO
// may be anything.
func hostName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	_, err := netip.ParseAddr(s)
	return s, len(s) <= 253 && err != nil && hostNames.MatchString(s)
}

func reverseName(a netip.Addr) string {
	name, _ := dns.ReverseAddr(a.String()) // an error for no address alone
	return name
}

func addressType(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// mechanism is the term of an SPF record that allows an address, RFC 7208 section 5.6.
func mechanism(a netip.Addr) string {
	if a.Is4() {
		return "ip4:" + a.String()
	}
	return "ip6:" + a.String()
}
