package resolver

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

const maxChain = 8 // CNAME records in an answer

// chain is an answer under construction: CNAME records from the name in the question to end, then the records of end.
type chain struct {
	question checks.Question
	end      string // target of the last CNAME record; at first, the name in the question
	answer   checks.Answer
	ttl      time.Duration // lowest of all records
}

func newChain(q checks.Question) *chain {
	return &chain{question: q, end: q.Name, ttl: maxTTL}
}

// add adds the records of a message that answers a question for c.end. Unrelated records are ignored. The answer is not
// complete if c.end is a CNAME target that the server did not resolve; the caller has to ask for c.end then.
func (c *chain) add(m *dns.Msg) (complete bool, err error) {
	asked := c.end
	for !c.addRecords(m.Answer) {
		alias := c.alias(m.Answer)
		if alias == nil {
			return c.addNegative(m, asked), nil
		}
		if err := c.follow(alias); err != nil {
			return false, err
		}
	}
	return true, nil
}

// addRecords adds the records of the wanted type at c.end and reports whether there are any. Their number is not
// limited beyond the size of a message: a client whose address was left out would be refused.
func (c *chain) addRecords(section []dns.RR) bool {
	before := len(c.answer.Records)
	for _, rr := range section {
		if belongs(rr, c.end, c.question.Type) {
			c.addRecord(rr)
		}
	}
	return len(c.answer.Records) > before
}

// alias returns the CNAME record at c.end, or nil.
func (c *chain) alias(section []dns.RR) *dns.CNAME {
	for _, rr := range section {
		if alias, ok := rr.(*dns.CNAME); ok && belongs(rr, c.end, dns.TypeCNAME) {
			return alias
		}
	}
	return nil
}

// follow adds a CNAME record at c.end and moves c.end to its target.
func (c *chain) follow(alias *dns.CNAME) error {
	c.addRecord(alias)
	c.end = dns.CanonicalName(alias.Target)
	loop := slices.ContainsFunc(c.answer.Records, func(rr dns.RR) bool {
		return belongs(rr, c.end, dns.TypeCNAME)
	})
	if loop || len(c.answer.Records) > maxChain {
		return errChain
	}
	return nil
}

// addNegative adds a message without records of the wanted type. asked is the name in its question. Either c.end does
// not exist (RFC 6604 section 3: NXDOMAIN is about the last name of a chain), or it has no such records, or the server
// did not look c.end up.
func (c *chain) addNegative(m *dns.Msg, asked string) (complete bool) {
	soa := authority(m.Ns, c.end)
	if m.Rcode == dns.RcodeSuccess && c.end != asked && soa == nil {
		return false
	}
	c.answer.NXDomain = m.Rcode == dns.RcodeNameError || m.Rcode == dns.RcodeYXDomain // too long after a DNAME record, RFC 6672 section 2.2
	negative := minTTL
	if soa != nil { // RFC 2308 section 5
		negative = min(ttl(soa.Hdr.Ttl), ttl(soa.Minttl), maxNegativeTTL)
	}
	c.ttl = min(c.ttl, negative)
	return true
}

func (c *chain) addRecord(rr dns.RR) {
	c.answer.Records = append(c.answer.Records, rr)
	c.ttl = min(c.ttl, ttl(rr.Header().Ttl))
}

// entry returns the complete answer.
func (c *chain) entry() entry {
	return entry{answer: c.answer, ttl: max(c.ttl, minTTL)}
}

// belongs reports whether a record has the name and the type. The name must be canonical.
func belongs(rr dns.RR, name string, t uint16) bool {
	h := rr.Header()
	return h.Rrtype == t && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == name
}

// authority returns the SOA record of a zone that contains name, or nil.
func authority(section []dns.RR, name string) *dns.SOA {
	for _, rr := range section {
		if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Class == dns.ClassINET && dns.IsSubDomain(soa.Hdr.Name, name) {
			return soa
		}
	}
	return nil
}

// ttl converts a TTL. A value with the top bit set means 0 (RFC 2181 section 8).
func ttl(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
