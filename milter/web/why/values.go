package why

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/milter/records"
)

// values are what is known of a refused mail. A field is empty if its value is unknown or invalid.
type values struct {
	client netip.Addr
	host   string // name of the sending server
	domain string // of the sender, or of the From field or the signature if the reason is about that
	sender string // domain of the sender; of bounces, the name of the sending server
	site   string // this site, whose postmaster can help
}

// newValues returns the values of a record.
func newValues(r records.Record, site string) values {
	v := values{client: r.Client.WithZone(""), site: site}
	if name, ok := hostName(r.Helo); ok && r.Reason != "helo-own-name" { // that is our name
		v.host = name
	}
	if name, ok := hostName(checks.ParseAddress(r.MailFrom).Domain); ok {
		v.domain, v.sender = name, name
	} else if checks.ParseAddress(r.MailFrom).IsNull() {
		v.sender = v.host
	}
	for _, key := range []string{"author_domain", "signing_domain"} {
		if name, ok := hostName(r.Detail(key)); ok {
			v.domain = name
		}
	}
	return v
}

// replacer replaces the placeholders of the recipes. Names and addresses that are unknown become those that RFC 2606 and RFC 5737
// reserve for documentation.
func (v values) replacer() *strings.Replacer {
	if !v.client.IsValid() {
		v.client = netip.MustParseAddr("192.0.2.25")
	}
	v.host, v.domain = cmp.Or(v.host, "mail.example.net"), cmp.Or(v.domain, "example.net")
	return strings.NewReplacer("{host}", v.host, "{client}", v.client.String(), "{domain}", v.domain, "{site}", v.site,
		"{reverse}", reverseName(v.client), "{type}", addressType(v.client), "{mechanism}", spfTerm(v.client))
}

// hostName returns a host name in lower case without trailing dot, and whether it is valid. A valid name needs no escaping in a
// zone file or a page.
func hostName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	_, err := netip.ParseAddr(s)
	return s, err != nil && strings.Contains(s, ".") && !strings.HasSuffix(s, ".") && checks.IsHostName(s)
}

// reverseName returns the name of an address in the reverse zone.
func reverseName(a netip.Addr) string {
	name, _ := dns.ReverseAddr(a.String()) // fails only for an invalid address
	return name
}

// addressType returns the type of the DNS record for an address.
func addressType(a netip.Addr) string { return dns.TypeToString[checks.AddressType(a)] }

// spfTerm returns the term of an SPF record that matches an address, RFC 7208 section 5.6.
func spfTerm(a netip.Addr) string {
	if a.Is4() {
		return "ip4:" + a.String()
	}
	return "ip6:" + a.String()
}
