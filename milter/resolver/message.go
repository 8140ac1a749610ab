package resolver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"milterd/checks"
)

const (
	headerSize = 12 // RFC 1035 section 4.1.1

	// udpSize is the longest answer that we take over UDP, in octets: it fits into the IPv6 minimum MTU of 1280.
	udpSize = 1232
)

// canonical brings a name into the one form by which it is known in the cache. It is false if the name cannot stand in
// a question (RFC 1035 section 2.3.4).
func canonical(name string) (string, bool) {
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

// query is a question on the wire. The ID is set by whoever sends it.
type query struct {
	asked    checks.Question
	packet   []byte
	question []byte // the part of packet that is the question section
	edns     bool
}

// newQuery packs a question whose name is canonical.
func newQuery(q checks.Question, edns bool) (*query, error) {
	m := new(dns.Msg).SetQuestion(q.Name, q.Type)
	if edns {
		m.SetEdns0(udpSize, false)
	}
	packet, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("%w: cannot pack the question: %w", ErrMalformed, err)
	}
	_, end, err := dns.UnpackDomainName(packet, headerSize)
	if err != nil {
		return nil, fmt.Errorf("%w: cannot pack the question: %w", ErrMalformed, err)
	}
	const typeAndClass = 4
	return &query{q, packet, packet[headerSize : end+typeAndClass], edns}, nil
}

func (q *query) setID(id uint16) { binary.BigEndian.PutUint16(q.packet, id) }
func (q *query) id() uint16      { return packetID(q.packet) }

func packetID(packet []byte) uint16 { return binary.BigEndian.Uint16(packet) }

// fits tells whether a packet answers this query, as far as that can be told without trusting it (RFC 5452 section
// 9.1). It looks at octets, so that floods of forged packets are cheap.
func (q *query) fits(packet []byte) bool {
	const qrAndOpcode = 0xf8
	if len(packet) < headerSize || packetID(packet) != q.id() || packet[2]&qrAndOpcode != 0x80 {
		return false
	}
	switch binary.BigEndian.Uint16(packet[4:]) {
	case 0:
		// A server that does not know EDNS may answer with no more than a header. That only makes us ask again without
		// EDNS; any other failure has to repeat the question, or one could be forged for whatever is in flight.
		return q.edns && fallback(packet)
	case 1:
		return len(packet) >= headerSize+len(q.question) &&
			sameQuestion(packet[headerSize:headerSize+len(q.question)], q.question)
	}
	return false
}

// fallback tells whether a packet says what servers without EDNS say (RFC 6891 section 7).
func fallback(packet []byte) bool {
	rcode := int(packet[3] & 0xf)
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented
}

// sameQuestion reports whether two question sections of one length are equal, ignoring the case of the name. Label
// lengths are below 64, so none is a letter; the type and the class may contain 0x41.
func sameQuestion(a, b []byte) bool {
	name := len(b) - 4
	return bytes.Equal(a[name:], b[name:]) && bytes.EqualFold(a[:name], b[:name])
}

// errTruncated is for a packet with the TC bit. What is in it may not be used (RFC 2181 section 9).
var errTruncated = errors.New("truncated")

// parse reads a packet that fits. The message is a positive or a negative answer. A panic on some hostile packet is a
// failure like others: the daemon must live.
func (q *query) parse(packet []byte) (m *dns.Msg, err error) {
	defer func() {
		if v := recover(); v != nil {
			m, err = nil, fmt.Errorf("%w: panic: %v", ErrMalformed, v)
		}
	}()
	if packet[2]&2 != 0 {
		return nil, errTruncated
	}
	m = new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeFormatError:
		return nil, ErrFormErr
	case dns.RcodeServerFailure:
		return nil, ErrServFail
	case dns.RcodeNotImplemented:
		return nil, ErrNotImp
	case dns.RcodeRefused:
		return nil, ErrRefused
	default:
		return nil, fmt.Errorf("%w %d", ErrRcode, m.Rcode)
	}
	if err := whole(packet, m); err != nil {
		return nil, err
	}
	return m, relevant(m, q.asked)
}

// whole finds two things that dns.Msg takes: fewer records than the header says, so that an RRset cut at the edge of a
// record would look complete, or even empty; and records without data (as in RFC 2136 section 2.5), whose fields would
// be nil and empty.
func whole(packet []byte, m *dns.Msg) error {
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if want := int(binary.BigEndian.Uint16(packet[6+2*i:])); len(section) != want {
			return fmt.Errorf("%w: %d records where it says %d", ErrMalformed, len(section), want)
		}
	}
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if rr.Header().Rdlength == 0 {
			return fmt.Errorf("%w: a record without data", ErrMalformed)
		}
	}
	return nil
}

// relevant finds messages that are no answer although they look like an empty one. To believe them would be to see
// names without records where there are some.
func relevant(m *dns.Msg, q checks.Question) error {
	for _, rr := range m.Answer {
		if belongs(rr, q.Name, q.Type) || belongs(rr, q.Name, dns.TypeCNAME) {
			return nil
		}
	}
	if len(m.Answer) > 0 {
		return fmt.Errorf("%w: no record in it is about the question", ErrMalformed)
	}
	// RFC 2308 section 2.2: NS without SOA is a referral.
	if m.Rcode == dns.RcodeSuccess && authority(m.Ns, q.Name) == nil &&
		len(m.Ns) > 0 && m.Ns[0].Header().Rrtype == dns.TypeNS {
		return ErrReferral
	}
	return nil
}
