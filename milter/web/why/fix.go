package why

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/milter/records"
)

// fix is the records that would repair something, as lines of a zone.
type fix struct {
	Records  []string
	Replaces bool // what is there now
}

// question is what a fix is made for.
type question struct {
	values
	record  records.Record
	outcome checks.Outcome  // what is wrong now
	results []checks.Result // what the DNS says now
}

// repairs make the records. The others have no record that would do.
var repairs = map[checks.Repair]func(question) fix{
	checks.AddPTR:          addReverse,
	checks.AddAddressOfPTR: addForwardOfPTR,
	checks.AddAddress:      addForward,
	checks.ReplaceCNAME:    replaceAlias,
	checks.AddMX:           addMX,
	checks.ReplaceMX:       replaceMX,
	checks.AllowInSPF:      allowSender,
	checks.ReplaceSPF:      narrowSender,
	checks.AllowInHeloSPF:  allowHelo,
}

// fixOf makes the records for what is wrong now.
func fixOf(q question) fix {
	if f := repairs[q.outcome.Reason.Repair]; f != nil && q.client.IsValid() {
		return f(q)
	}
	return fix{}
}

// addReverse gives the address a name, and the name its address if it has none.
func addReverse(q question) fix {
	f := fix{Records: []string{reverseName(q.client) + " IN PTR " + q.host + "."}}
	if !q.has(q.host, q.client.String()) {
		f.Records = append(f.Records, q.address(q.host))
	}
	return f
}

// addForwardOfPTR gives the name in the reverse zone its address.
func addForwardOfPTR(q question) fix {
	for _, rr := range q.records(reverseName(q.client), dns.TypePTR) {
		if ptr, ok := rr.(*dns.PTR); ok {
			if name, ok := hostName(ptr.Ptr); ok {
				return fix{Records: []string{q.address(name)}}
			}
		}
	}
	return fix{}
}

func addForward(q question) fix { return fix{Records: []string{q.address(q.host)}} }

// replaceAlias gives an alias an address of its own.
func replaceAlias(q question) fix { return fix{[]string{q.address(q.host)}, true} }

func addMX(q question) fix {
	return fix{Records: []string{q.domain + ". IN MX 10 mail." + q.domain + "."}}
}

func replaceMX(q question) fix {
	f := addMX(q)
	f.Replaces = true
	return f
}

func allowSender(q question) fix { return q.allow(q.domain, "v=spf1 mx "+mechanism(q.client)+" -all") }

// narrowSender is a new record: what is too wide in the old one, one cannot tell by looking at it.
func narrowSender(q question) fix {
	return fix{[]string{txt(q.domain, "v=spf1 mx "+mechanism(q.client)+" -all")}, true}
}

func allowHelo(q question) fix { return q.allow(q.host, "v=spf1 a "+mechanism(q.client)+" -all") }

// allow adds the client to the SPF record of a name, or makes one.
func (q question) allow(name, otherwise string) fix {
	var policies []string
	for _, rr := range q.records(name, dns.TypeTXT) {
		if t, ok := rr.(*dns.TXT); ok {
			if text := strings.Join(t.Txt, ""); text == "v=spf1" || strings.HasPrefix(strings.ToLower(text), "v=spf1 ") {
				policies = append(policies, text)
			}
		}
	}
	switch {
	case len(policies) == 0:
		return fix{Records: []string{txt(name, otherwise)}}
	case len(policies) > 1 || strings.ContainsFunc(policies[0], func(c rune) bool { return c < ' ' || c > '~' }):
		return fix{}
	}
	rest := policies[0][len("v=spf1"):]
	return fix{[]string{txt(name, "v=spf1 "+mechanism(q.client)+rest)}, true}
}

// txt is the line of a zone for a TXT record, in strings of 255 octets.
func txt(name, text string) string {
	var parts []string
	for part := range slices.Chunk([]byte(text), 255) {
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(part))+`"`)
	}
	return name + ". IN TXT " + strings.Join(parts, " ")
}

// address is the line of a zone that gives a name the client's address.
func (q question) address(name string) string {
	return name + ". IN " + addressType(q.client) + " " + q.client.String()
}

// records are what the DNS just said to a question of a check.
func (q question) records(name string, t uint16) []dns.RR {
	asked := checks.Ask(name, t)
	for _, res := range q.results {
		for _, a := range res.Asked {
			if a.Question == asked && a.Err == nil {
				return a.Answer.Records
			}
		}
	}
	return nil
}

// has tells whether a name has an address, as far as anybody asked.
func (q question) has(name, address string) bool {
	t := dns.StringToType[addressType(q.client)]
	return slices.ContainsFunc(q.records(name, t), func(rr dns.RR) bool {
		switch rr := rr.(type) {
		case *dns.A:
			return rr.A.String() == address
		case *dns.AAAA:
			return rr.AAAA.String() == address
		}
		return false
	})
}
