package why

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// fix is the DNS records that repair something, as lines of a zone file.
type fix struct {
	Records  []string
	Replaces bool // Records replace the SPF record, the MX records or the CNAME record of the name
}

// zone is what a repair is made from: the values of the mail, and the DNS answers that the checks got now.
type zone struct {
	values
	results []checks.Result
}

// fixes make the records of a repair. Other repairs have no records.
var fixes = map[checks.Repair]func(zone) fix{
	checks.AddPTR:          addPTR,
	checks.AddAddressOfPTR: addAddressOfPTR,
	checks.AddAddress:      func(z zone) fix { return fix{Records: []string{z.addressRecord(z.host)}} },
	checks.ReplaceCNAME:    func(z zone) fix { return fix{Records: []string{z.addressRecord(z.host)}, Replaces: true} },
	checks.AddMX:           func(z zone) fix { return fix{Records: []string{z.mxRecord()}} },
	checks.ReplaceMX:       func(z zone) fix { return fix{Records: []string{z.mxRecord()}, Replaces: true} },
	checks.AllowInSPF:      zone.allowSender,
	checks.ReplaceSPF:      func(z zone) fix { return fix{Records: []string{z.spfRecord(z.domain, "mx")}, Replaces: true} },
	checks.AllowInHeloSPF:  func(z zone) fix { return z.allow(z.host, "a") },
	checks.AlignFrom:       alignFrom,
}

// fix returns the records of a repair. It is empty if there are none.
func (z zone) fix(repair checks.Repair) fix {
	if f := fixes[repair]; f != nil && z.client.IsValid() {
		return f(z)
	}
	return fix{}
}

// addPTR adds a PTR record with the HELO name, and the address record of that name if there is none.
func addPTR(z zone) fix {
	f := fix{Records: []string{reverseName(z.client) + " IN PTR " + z.host + "."}}
	if !z.hasAddress(z.host) {
		f.Records = append(f.Records, z.addressRecord(z.host))
	}
	return f
}

// addAddressOfPTR adds an address record for the name in the PTR record.
func addAddressOfPTR(z zone) fix {
	for _, ptr := range checks.RecordsOf[*dns.PTR](z.answer(reverseName(z.client), dns.TypePTR)) {
		if name, ok := hostName(ptr.Ptr); ok {
			return fix{Records: []string{z.addressRecord(name)}}
		}
	}
	return fix{}
}

// alignFrom adds the client to the SPF record of the sender's domain, if that is the domain in From, or above or below it. SPF for
// another sender shows nothing about From, and no record changes that.
func alignFrom(z zone) fix {
	if !checks.Under(z.sender, z.domain) && !checks.Under(z.domain, z.sender) {
		return fix{}
	}
	return z.allowSender()
}

// allowSender adds the client to the SPF record that is evaluated.
func (z zone) allowSender() fix {
	if z.sender == z.host {
		return z.allow(z.host, "a") // of a bounce
	}
	return z.allow(z.sender, "mx")
}

// allow adds the client to the SPF record of a name. If there is no SPF record, it makes one with another mechanism.
func (z zone) allow(name, mechanism string) fix {
	var policies []string
	for _, t := range checks.RecordsOf[*dns.TXT](z.answer(name, dns.TypeTXT)) {
		if text := strings.Join(t.Txt, ""); text == "v=spf1" || strings.HasPrefix(strings.ToLower(text), "v=spf1 ") {
			policies = append(policies, text)
		}
	}
	switch {
	case len(policies) == 0:
		return fix{Records: []string{z.spfRecord(name, mechanism)}}
	case len(policies) > 1 || strings.ContainsFunc(policies[0], func(c rune) bool { return c < ' ' || c > '~' }):
		return fix{}
	}
	rest := policies[0][len("v=spf1"):]
	return fix{Records: []string{txtRecord(name, "v=spf1 "+spfTerm(z.client)+rest)}, Replaces: true}
}

// mxRecord returns an MX record for the sender's domain.
func (z zone) mxRecord() string { return z.domain + ". IN MX 10 mail." + z.domain + "." }

// spfRecord returns an SPF record that allows a mechanism and the client.
func (z zone) spfRecord(name, mechanism string) string {
	return txtRecord(name, "v=spf1 "+mechanism+" "+spfTerm(z.client)+" -all")
}

// addressRecord returns a record that gives a name the client's address.
func (z zone) addressRecord(name string) string {
	return name + ". IN " + addressType(z.client) + " " + z.client.String()
}

// txtRecord returns a TXT record, in strings of at most 255 bytes.
func txtRecord(name, text string) string {
	var parts []string
	for part := range slices.Chunk([]byte(text), 255) {
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(part))+`"`)
	}
	return name + ". IN TXT " + strings.Join(parts, " ")
}

// answer returns the answer to a question of a check. It is empty if no check asked it or the DNS did not answer.
func (z zone) answer(name string, t uint16) checks.Answer {
	question := checks.Ask(name, t)
	for _, res := range z.results {
		for _, a := range res.Asked {
			if a.Question == question && a.Err == nil {
				return a.Answer
			}
		}
	}
	return checks.Answer{}
}

// hasAddress reports whether the answers show that a name has the client's address.
func (z zone) hasAddress(name string) bool {
	return slices.Contains(checks.Addresses(z.answer(name, checks.AddressType(z.client))), z.client)
}
