package resolver

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

const maxChain = 8 // CNAME records in an answer

// chain is an answer in the making: the CNAME records from the name asked for, then the records at their end.
type chain struct {
	question checks.Question
	end      string // the name to which the CNAME records led so far
	answer   checks.Answer
	ttl      time.Duration // the least seen
}

func newChain(q checks.Question) *chain {
	return &chain{question: q, end: q.Name, ttl: maxTTL}
}

// take goes on with the answer to a question for the end of the chain. Records that belong to no link are left out. It
// is not complete if the server followed the chain less far than it goes; the end has to be asked for then.
func (c *chain) take(m *dns.Msg) (complete bool, err error) {
	asked := c.end
	for !c.collect(m.Answer) {
		alias := c.alias(m.Answer)
		if alias == nil {
			return c.nothing(m, asked), nil
		}
		if err := c.step(alias); err != nil {
			return false, err
		}
	}
	return true, nil
}

// collect takes the records of the asked type at the end of the chain, and tells whether there are any. It takes all that a message
// holds: whoever is left out of many addresses is refused for not being among them.
func (c *chain) collect(section []dns.RR) bool {
	before := len(c.answer.Records)
	for _, rr := range section {
		if belongs(rr, c.end, c.question.Type) {
			c.add(rr)
		}
	}
	return len(c.answer.Records) > before
}

// alias returns the first CNAME record at the end of the chain.
func (c *chain) alias(section []dns.RR) *dns.CNAME {
	for _, rr := range section {
		if alias, ok := rr.(*dns.CNAME); ok && belongs(rr, c.end, dns.TypeCNAME) {
			return alias
		}
	}
	return nil
}

// step goes where an alias leads.
func (c *chain) step(alias *dns.CNAME) error {
	c.add(alias)
	c.end = dns.CanonicalName(alias.Target)
	been := slices.ContainsFunc(c.answer.Records, func(rr dns.RR) bool {
		return belongs(rr, c.end, dns.TypeCNAME)
	})
	if been || len(c.answer.Records) > maxChain {
		return ErrChain
	}
	return nil
}

// nothing judges a message without the asked records, whose question was for the name asked. The end of the chain may
// not exist (of several names, RFC 6604 section 3 means the last by NXDOMAIN), or have no such records, or be unknown to
// this server.
func (c *chain) nothing(m *dns.Msg, asked string) (complete bool) {
	soa := authority(m.Ns, c.end)
	if m.Rcode == dns.RcodeSuccess && c.end != asked && soa == nil {
		return false
	}
	c.answer.NXDomain = m.Rcode == dns.RcodeNameError
	// RFC 2308 section 5.
	negative := minTTL
	if soa != nil {
		negative = min(ttl(soa.Hdr.Ttl), ttl(soa.Minttl), maxNegativeTTL)
	}
	c.ttl = min(c.ttl, negative)
	return true
}

func (c *chain) add(rr dns.RR) {
	c.answer.Records = append(c.answer.Records, rr)
	c.ttl = min(c.ttl, ttl(rr.Header().Ttl))
}

func (c *chain) known() known {
	return known{answer: c.answer, ttl: max(c.ttl, minTTL)}
}

// belongs tells whether a record is of the type and at the name, which is canonical.
func belongs(rr dns.RR, name string, t uint16) bool {
	h := rr.Header()
	return h.Rrtype == t && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == name
}

// authority returns the SOA record that speaks for a name that does not exist or has no such records.
func authority(section []dns.RR, name string) *dns.SOA {
	for _, rr := range section {
		if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Class == dns.ClassINET && dns.IsSubDomain(soa.Hdr.Name, name) {
			return soa
		}
	}
	return nil
}

// ttl reads a TTL, of which the top bit means 0 (RFC 2181 section 8).
func ttl(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
