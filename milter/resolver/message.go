package resolver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

const (
	headerSize = 12 // RFC 1035 section 4.1.1

	// udpSize is the longest answer over UDP in bytes, as announced to servers. It fits in the IPv6 minimum MTU of
	// 1280.
	udpSize = 1232
)

// canonical returns a name as it is spelled in the cache and in flights, in memory of its own: name may be part of a long
// header field. ok is false if the name cannot be in a question (RFC 1035 section 2.3.4).
func canonical(name string) (_ string, ok bool) {
	var wire [255]byte
	end, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false)
	if err != nil {
		return "", false
	}
	name, _, err = dns.UnpackDomainName(wire[:end], 0)
	if err != nil {
		return "", false
	}
	return dns.CanonicalName(name), true
}

// query is a packed question. Its ID is set when it is sent.
type query struct {
	asked    checks.Question
	packet   []byte
	question []byte // question section of packet
	edns     bool
}

// optRecord is an OPT record without options that announces udpSize (RFC 6891 section 6.1.2).
var optRecord = []byte{0, 0, byte(dns.TypeOPT), udpSize >> 8, udpSize & 0xff, 0, 0, 0, 0, 0, 0}

// newQuery packs a question. The name must be canonical.
func newQuery(q checks.Question, edns bool) (*query, error) {
	packet, err := new(dns.Msg).SetQuestion(q.Name, q.Type).Pack()
	if err != nil {
		return nil, fmt.Errorf("%w: cannot pack the question: %w", errMalformed, err)
	}
	end := len(packet)
	if edns {
		packet = append(packet, optRecord...)
		packet[headerSize-1] = 1 // the number of additional records
	}
	return &query{asked: q, packet: packet, question: packet[headerSize:end], edns: edns}, nil
}

func (q *query) setRandomID() { rand.Read(q.packet[:2]) } // never fails
func (q *query) id() uint16   { return packetID(q.packet) }

func packetID(packet []byte) uint16 { return binary.BigEndian.Uint16(packet) }

// matches reports whether a packet is a response to the query (RFC 5452 section 9.1). It does not parse the packet, so
// that a flood of forged packets is cheap.
func (q *query) matches(packet []byte) bool {
	const qrAndOpcode = 0xf8
	if len(packet) < headerSize || packetID(packet) != q.id() || packet[2]&qrAndOpcode != 0x80 {
		return false
	}
	switch binary.BigEndian.Uint16(packet[4:]) {
	case 0:
		// A server without EDNS may respond with a header only. It just makes attempt ask again without EDNS. Other
		// failures must repeat the question, or a forged one would need no more than the ID.
		return q.edns && rejectsEDNS(packet)
	case 1:
		return len(packet) >= headerSize+len(q.question) &&
			sameQuestion(packet[headerSize:headerSize+len(q.question)], q.question)
	}
	return false
}

// rejectsEDNS reports whether the response code is one of a server without EDNS (RFC 6891 section 7).
func rejectsEDNS(packet []byte) bool {
	rcode := int(packet[3] & 0xf)
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented
}

// sameQuestion reports whether two question sections of equal length are equal, ignoring the case of ASCII letters in
// the name (RFC 4343). The length of a label is at most 63 and so never a letter; the type and the class may contain
// one.
func sameQuestion(a, b []byte) bool {
	name := len(b) - 4
	for i := range b {
		if a[i] != b[i] && (i >= name || lower(a[i]) != lower(b[i])) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// errTruncated is the error of parse for a packet with the TC bit, whose records must not be used (RFC 2181 section 9).
var errTruncated = errors.New("truncated")

// errBadVersion is the error of parse for a server that does not know the version of EDNS (RFC 6891 section 6.1.3).
var errBadVersion = fmt.Errorf("%w %d", errRcode, dns.RcodeBadVers)

// parse parses a packet that matches. It returns a positive or negative answer. A panic of the library, caused by a
// hostile packet, is returned as errMalformed.
func (q *query) parse(packet []byte) (m *dns.Msg, err error) {
	defer func() {
		if v := recover(); v != nil {
			m, err = nil, fmt.Errorf("%w: panic: %v", errMalformed, v)
		}
	}()
	if packet[2]&2 != 0 {
		return nil, errTruncated
	}
	m = new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain:
	case dns.RcodeFormatError:
		return nil, errFormErr
	case dns.RcodeServerFailure:
		return nil, errServFail
	case dns.RcodeNotImplemented:
		return nil, errNotImp
	case dns.RcodeRefused:
		return nil, errRefused
	case dns.RcodeBadVers:
		return nil, errBadVersion
	default:
		return nil, fmt.Errorf("%w %d", errRcode, m.Rcode)
	}
	if err := checkComplete(packet, m); err != nil {
		return nil, err
	}
	return m, checkRelevant(m, q.asked)
}

// checkComplete returns an error for two faults that dns.Msg accepts: fewer records than the header announces, which
// would make a truncated RRset look complete or empty; and records without data (as in RFC 2136 section 2.5), whose
// fields would be nil.
func checkComplete(packet []byte, m *dns.Msg) error {
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if want := int(binary.BigEndian.Uint16(packet[6+2*i:])); len(section) != want {
			return fmt.Errorf("%w: %d records in a section, the header says %d", errMalformed, len(section), want)
		}
	}
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if rr.Header().Rdlength == 0 {
			return fmt.Errorf("%w: a record without data", errMalformed)
		}
	}
	return nil
}

// checkRelevant returns an error for a message that would be taken for an empty answer: records of other names only, or
// a referral.
func checkRelevant(m *dns.Msg, q checks.Question) error {
	for _, rr := range m.Answer {
		if belongs(rr, q.Name, q.Type) || belongs(rr, q.Name, dns.TypeCNAME) {
			return nil
		}
		// The record whose substitution makes the name too long, RFC 6672 section 3.2. It has no CNAME record then.
		if m.Rcode == dns.RcodeYXDomain && rr.Header().Rrtype == dns.TypeDNAME && dns.IsSubDomain(rr.Header().Name, q.Name) {
			return nil
		}
	}
	if len(m.Answer) > 0 {
		return fmt.Errorf("%w: no record answers the question", errMalformed)
	}
	// RFC 2308 section 2.2: NS without SOA is a referral.
	if m.Rcode == dns.RcodeSuccess && len(m.Ns) > 0 && m.Ns[0].Header().Rrtype == dns.TypeNS && authority(m.Ns, q.Name) == nil {
		return errReferral
	}
	return nil
}
