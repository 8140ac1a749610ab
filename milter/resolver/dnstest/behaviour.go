package dnstest

import (
	"net"

	"github.com/miekg/dns"
)

// Behaviour changes the answer of a server. It returns the message to send, nil for none, and may send other packets
// before. It may replace the sections of resp, but not modify the records: they are shared.
type Behaviour func(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg

// Dead answers no query.
func Dead(dns.ResponseWriter, *dns.Msg, *dns.Msg) *dns.Msg { return nil }

// TruncateUDP truncates all answers over UDP: the TC bit is set and the sections are empty.
func TruncateUDP(w dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	if !overTCP(w) {
		resp.Truncated, resp.Answer, resp.Ns = true, nil, nil
	}
	return resp
}

// Forged sends forged answers before the right one: with a wrong ID, with another name, type or class, with no question
// or two, a query instead of a response, another operation, and bytes that are no DNS message.
func Forged(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	forge := func(change func(m *dns.Msg)) {
		m := new(dns.Msg).SetRcode(req, dns.RcodeNameError)
		change(m)
		w.WriteMsg(m)
	}
	forge(func(m *dns.Msg) { m.Id++ })
	forge(func(m *dns.Msg) { m.Question[0].Name = "forged.example." })
	forge(func(m *dns.Msg) { m.Question[0].Qtype ^= 0x20 })
	forge(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
	forge(func(m *dns.Msg) { m.Response = false })
	forge(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
	forge(func(m *dns.Msg) { m.Question = nil })
	forge(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })
	w.Write([]byte("garbage"))
	return resp
}

// Rcode answers all queries with a response code such as dns.RcodeRefused and no records.
func Rcode(code int) Behaviour {
	return func(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
		resp.Rcode, resp.Answer, resp.Ns = code, nil, nil
		return resp
	}
}

// Lie answers all queries with an A record of another name.
func Lie(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	resp.Rcode, resp.Ns = dns.RcodeSuccess, nil
	resp.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: "lie." + req.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300},
		A:   net.IPv4(192, 0, 2, 66),
	}}
	return resp
}

// Refer answers all queries with a referral to the root, as a server that is not recursive does.
func Refer(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	resp.Rcode, resp.Answer = dns.RcodeSuccess, nil
	resp.Ns = []dns.RR{&dns.NS{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 300},
		Ns:  "ns.example.",
	}}
	return resp
}

// NoEDNS answers queries with EDNS with a header only and FORMERR, as old servers do.
func NoEDNS(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	if req.IsEdns0() == nil {
		return resp
	}
	m := new(dns.Msg).SetRcode(req, dns.RcodeFormatError)
	m.Question = nil
	return m
}
