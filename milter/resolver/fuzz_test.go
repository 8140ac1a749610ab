package resolver

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"github.com/miekg/dns"

	"milterd/checks"
)

// FuzzAccept tests that a packet is accepted as answer only if it matches the query, and that the answer is a chain
// from the name in the question to records of the type in the question.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{
		"example.org. 300 A 192.0.2.1\nother.example. 300 A 192.0.2.2",
		"example.org. 300 CNAME a.example.\na.example. 200 CNAME B.example.\nb.example. 1 A 192.0.2.1",
		"example.org. 300 CNAME a.example.\na.example. 200 CNAME example.org.",
		"example.org. 300 CNAME a.example.",
		"example.org. 300 CNAME gone.example.\nNXDOMAIN\nauthority example. 60 SOA a. b. 1 2 3 4 5",
		"authority . 60 NS ns.example.",
		"example.org. 300 MX 10 mx.example.\nexample.org. 300 CH A a. 1",
		"NXDOMAIN",
	} {
		m := seedMessage(seed)
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet, "example.org", uint16(dns.TypeA), true)
	}
	f.Add([]byte("\x00\x00\x81\x81\x00\x00\x00\x00\x00\x00\x00\x00"), "example.org", uint16(dns.TypeA), true)
	f.Fuzz(accept)
}

func seedMessage(text string) *dns.Msg {
	m := message(strings.ReplaceAll(text, "CH A a. 1", "CH TXT a"))
	m.SetQuestion("ExamplE.org.", dns.TypeA)
	m.Id, m.Response, m.Compress = 0, true, true
	m.SetEdns0(1232, false)
	return m
}

func accept(t *testing.T, packet []byte, name string, qtype uint16, edns bool) {
	name, ok := canonical(name)
	if !ok {
		return
	}
	if again, ok := canonical(name); !ok || again != name {
		t.Fatalf("canonical(%q) is %q, %v", name, again, ok)
	}
	q := checks.Question{Name: name, Type: qtype}
	sent, err := newQuery(q, edns)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	binary.BigEndian.PutUint16(sent.packet, 0)
	if !sent.matches(packet) {
		return
	}
	m, err := sent.parse(packet)
	if err != nil {
		return
	}
	if m.Id != 0 || !m.Response || len(m.Question) != 1 || dns.CanonicalName(m.Question[0].Name) != name ||
		m.Question[0].Qtype != qtype || m.Question[0].Qclass != dns.ClassINET {
		t.Fatalf("%s was answered by %v", q, m)
	}
	c := newChain(q)
	if _, err := c.add(m); err == nil {
		checkChain(t, q, c.entry())
	}
}

// checkChain fails the test if a record of an answer does not belong to its chain.
func checkChain(t *testing.T, q checks.Question, e entry) {
	end, aliases, records := q.Name, 0, 0
	for _, rr := range e.answer.Records {
		if alias, ok := rr.(*dns.CNAME); ok && q.Type != dns.TypeCNAME {
			aliases++
			if dns.CanonicalName(alias.Hdr.Name) != end || records > 0 {
				t.Fatalf("%s: %s is not the next record of the chain", q, rr)
			}
			end = dns.CanonicalName(alias.Target)
			continue
		}
		records++
		if h := rr.Header(); dns.CanonicalName(h.Name) != end || h.Rrtype != q.Type || h.Class != dns.ClassINET {
			t.Fatalf("%s: %s does not belong to the answer", q, rr)
		}
	}
	if aliases > maxChain || records > 0 && e.answer.NXDomain {
		t.Fatalf("%s: %d aliases, %d records, NXDOMAIN %v", q, aliases, records, e.answer.NXDomain)
	}
	if e.ttl < minTTL || e.ttl > maxTTL {
		t.Fatalf("%s: TTL %v", q, e.ttl)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	sent, err := newQuery(question, true)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint16(sent.packet, 4711)
	for name, c := range map[string]struct {
		change func(m *dns.Msg)
		want   bool
	}{
		"right":              {func(*dns.Msg) {}, true},
		"another case":       {func(m *dns.Msg) { m.Question[0].Name = "eXAMPLE.ORG." }, true},
		"no such name":       {func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }, true},
		"wrong ID":           {func(m *dns.Msg) { m.Id++ }, false},
		"a query":            {func(m *dns.Msg) { m.Response = false }, false},
		"another operation":  {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, false},
		"name of one length": {func(m *dns.Msg) { m.Question[0].Name = "example.orh." }, false},
		"shorter name":       {func(m *dns.Msg) { m.Question[0].Name = "org." }, false},
		"longer name":        {func(m *dns.Msg) { m.Question[0].Name = "a.example.org." }, false},
		"other type":         {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, false},
		"type like a letter": {func(m *dns.Msg) { m.Question[0].Qtype |= 0x40 }, false},
		"other class":        {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, false},
		"two questions":      {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, false},
		"header":             {func(m *dns.Msg) { m.Question = nil }, false},
		"FORMERR header":     {func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeFormatError }, true},
		"SERVFAIL header":    {func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeServerFailure }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := new(dns.Msg).SetQuestion(question.Name, question.Type)
			m.Id, m.Response = 4711, true
			c.change(m)
			packet, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if got := sent.matches(packet); got != c.want {
				t.Errorf("got %v", got)
			}
			for n := range packet[:min(len(packet), headerSize+len(sent.question))] {
				if sent.matches(packet[:n]) && n != headerSize {
					t.Errorf("its first %d bytes match", n)
				}
			}
		})
	}
	if other, _ := newQuery(question, false); other.matches([]byte("\x00\x00\x81\x81\x00\x00\x00\x00\x00\x00\x00\x00")) {
		t.Error("a header alone answers a query without EDNS")
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a.", 126) // 253 bytes in a packet
	for name, want := range map[string]string{
		"":                            ".",
		".":                           ".",
		"Example.ORG":                 "example.org.",
		`\065\.b.example.`:            `a\.b.example.`,
		`tab\009.example.`:            `tab\009.example.`,
		`trailing\.`:                  `trailing\..`,
		`half\`:                       "?",
		"a..b":                        "",
		".a":                          "",
		"..":                          "",
		strings.Repeat("a", 63):       strings.Repeat("a", 63) + ".",
		strings.Repeat("a", 64):       "",
		long + "a":                    long + "a.",
		long + "ab":                   "",
		long + "a.":                   long + "a.",
		long + "ab.":                  "",
		"_dmarc.a-1.example.":         "_dmarc.a-1.example.",
		"a..b.":                       "",
		".a.":                         "",
		strings.Repeat("a", 63) + ".": strings.Repeat("a", 63) + ".",
		strings.Repeat("a", 64) + ".": "",
		strings.Repeat("a.", 1000):    "",
	} {
		got, ok := canonical(name)
		if want != "?" && (got != want || ok != (want != "")) {
			t.Errorf("canonical(%q) is %q, %v", name, got, ok)
		}
	}
}

// TestCanonicalCopies tests that the cache keeps no part of a header field in memory for a name in it.
func TestCanonicalCopies(t *testing.T) {
	t.Parallel()
	const field = "mail.example.org. and more"
	name := field[:len("mail.example.org.")]
	if got, ok := canonical(name); !ok || got != name || unsafe.StringData(got) == unsafe.StringData(field) {
		t.Errorf("%q, %v, or it is a part of the field", got, ok)
	}
}
