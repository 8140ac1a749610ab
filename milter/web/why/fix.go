package why

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
)

// fix is the DNS records that repair something, as lines of a zone file.
type fix struct {
	Records  []string `json:"records"`
	Replaces bool     `json:"replaces"` // Records replace the SPF record, the MX records or the CNAME record of the name
}

// repairFacts are what a repair is made from: the values of the mail, and the DNS answers that the checks got now.
type repairFacts struct {
	values
	results []checks.Result
}

// fixes make the records of a repair. Other repairs have no records.
var fixes = map[checks.Repair]func(repairFacts) fix{
	checks.AddPTR:          addPTR,
	checks.AddAddressOfPTR: addAddressOfPTR,
	checks.AddAddress:      func(r repairFacts) fix { return fix{Records: []string{r.addressRecord(r.host)}} },
	checks.ReplaceCNAME:    func(r repairFacts) fix { return fix{Records: []string{r.addressRecord(r.host)}, Replaces: true} },
	checks.AddMX:           func(r repairFacts) fix { return fix{Records: []string{r.mxRecord()}} },
	checks.ReplaceMX:       func(r repairFacts) fix { return fix{Records: []string{r.mxRecord()}, Replaces: true} },
	checks.AllowInSPF:      repairFacts.allowSender,
	checks.ReplaceSPF:      narrowSPF,
	checks.AllowInHeloSPF:  func(r repairFacts) fix { return r.allow(r.host, "a") },
	checks.AlignFrom:       alignFrom,
}

// fix returns the records of a repair. It is empty if there are none, or if the client or the name of a record is unknown.
func (r repairFacts) fix(repair checks.Repair) fix {
	find := fixes[repair]
	if find == nil || !r.client.IsValid() {
		return fix{}
	}
	f := find(r)
	if slices.Contains(f.Records, "") {
		return fix{}
	}
	return f
}

// addPTR adds a PTR record with the HELO name and the address record of that name, unless they exist.
func addPTR(r repairFacts) (f fix) {
	if r.host == "" {
		return f
	}
	reverse := reverseName(r.client)
	if !slices.Contains(checks.PTRNames(r.answer(reverse, dns.TypePTR)), r.host) {
		f.Records = append(f.Records, reverse+" IN PTR "+r.host+".")
	}
	if !r.hasAddress(r.host) {
		f.Records = append(f.Records, r.addressRecord(r.host))
	}
	return f
}

// addAddressOfPTR adds an address record for the name in the PTR record.
func addAddressOfPTR(r repairFacts) fix {
	for _, ptr := range checks.RecordsOf[*dns.PTR](r.answer(reverseName(r.client), dns.TypePTR)) {
		if name, ok := hostName(ptr.Ptr); ok {
			return fix{Records: []string{r.addressRecord(name)}}
		}
	}
	return fix{}
}

// alignFrom adds the client to the SPF record of the sender's domain, if that is the domain in From, or above or below it. SPF for
// another sender shows nothing about From, and no record changes that.
func alignFrom(r repairFacts) fix {
	if !checks.Under(r.sender, r.domain) && !checks.Under(r.domain, r.sender) {
		return fix{}
	}
	return r.allowSender()
}

// allowSender adds the client to the SPF record that is evaluated.
func (r repairFacts) allowSender() fix {
	if r.sender == r.host {
		return r.allow(r.host, "a") // of a bounce
	}
	return r.allow(r.sender, "mx")
}

// allow adds the client to the SPF record of a name. If there is no SPF record, it makes one with another mechanism.
func (r repairFacts) allow(name, mechanism string) fix {
	policies := r.policies(name)
	switch {
	case len(policies) == 0:
		return fix{Records: []string{r.spfRecord(name, mechanism)}}
	case len(policies) > 1 || strings.ContainsFunc(policies[0], func(c rune) bool { return c < ' ' || c > '~' }):
		return fix{}
	}
	rest := policies[0][len("v=spf1"):]
	return fix{Records: []string{txtRecord(name, "v=spf1 "+spfTerm(r.client)+rest)}, Replaces: true}
}

// policies returns the SPF records of a name.
func (r repairFacts) policies(name string) (list []string) {
	for _, text := range checks.Texts(r.answer(name, dns.TypeTXT)) {
		if strings.HasPrefix(strings.ToLower(text)+" ", "v=spf1 ") {
			list = append(list, text)
		}
	}
	return list
}

// narrowSPF replaces an SPF record that every address passes: it adds the client, and lets all others fail. It has no record if
// another term than all may be too wide, such as an include: without it, other servers of the domain would fail.
func narrowSPF(r repairFacts) fix {
	policies := r.policies(r.sender)
	if len(policies) != 1 {
		return fix{}
	}
	var kept []string
	for _, term := range strings.Fields(policies[0])[1:] {
		switch mechanism := strings.TrimPrefix(strings.ToLower(term), "+"); {
		case strings.TrimLeft(mechanism, "-~?") == "all":
		case mechanism == "mx" || mechanism == "a" || isNarrow(mechanism):
			kept = append(kept, mechanism)
		default:
			return fix{}
		}
	}
	if len(kept) == 0 {
		kept = []string{"mx"}
	}
	return fix{Records: []string{r.spfRecord(r.sender, strings.Join(kept, " "))}, Replaces: true}
}

// isNarrow reports whether a mechanism has the addresses of a site at most.
func isNarrow(mechanism string) bool {
	name, text, _ := strings.Cut(mechanism, ":")
	p, err := checks.ParseNetwork(text)
	return err == nil && (name == "ip4" && p.Bits() >= 16 || name == "ip6" && p.Bits() >= 32)
}

// mxRecord returns an MX record for the sender's domain.
func (r repairFacts) mxRecord() string { return record(r.sender, "MX", "10 mail."+r.sender+".") }

// spfRecord returns an SPF record that allows mechanisms and the client.
func (r repairFacts) spfRecord(name, mechanisms string) string {
	return txtRecord(name, "v=spf1 "+mechanisms+" "+spfTerm(r.client)+" -all")
}

// addressRecord returns a record that gives a name the client's address.
func (r repairFacts) addressRecord(name string) string {
	return record(name, addressType(r.client), r.client.String())
}

// txtRecord returns a TXT record, in strings of at most 255 bytes.
func txtRecord(name, text string) string {
	var parts []string
	for part := range slices.Chunk([]byte(text), 255) {
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(part))+`"`)
	}
	return record(name, "TXT", strings.Join(parts, " "))
}

// record returns a line of a zone file, or "" if the name is unknown.
func record(name, rrType, data string) string {
	if name == "" {
		return ""
	}
	return name + ". IN " + rrType + " " + data
}

// answer returns the answer to a question of a check. It is empty if no check asked it or the DNS did not answer.
func (r repairFacts) answer(name string, t uint16) checks.Answer {
	question := checks.Ask(name, t)
	for _, res := range r.results {
		for _, a := range res.Asked {
			if a.Question == question && a.Err == nil {
				return a.Answer
			}
		}
	}
	return checks.Answer{}
}

// hasAddress reports whether the answers show that a name has the client's address.
func (r repairFacts) hasAddress(name string) bool {
	return slices.Contains(checks.Addresses(r.answer(name, checks.AddressType(r.client))), r.client)
}
