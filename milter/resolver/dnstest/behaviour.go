package dnstest

import (
	"net"

	"github.com/miekg/dns"
)

// Behaviour makes of a good answer what the server sends instead; nil is nothing. It may send packets of its own before.
// The sections of the answer are shared: it may replace them, not change what is in them.
type Behaviour func(w dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg

// Dead takes queries and never answers.
func Dead(dns.ResponseWriter, *dns.Msg, *dns.Msg) *dns.Msg { return nil }

// TruncateUDP sends no records over UDP, as if they did not fit.
func TruncateUDP(w dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	if !overTCP(w) {
		resp.Truncated, resp.Answer, resp.Ns = true, nil, nil
	}
	return resp
}

// Forged lets a number of forged answers win the race against the right one: with a wrong ID, for another name, type and
// class, not being an answer at all, with no question, or being no DNS message.
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

// Rcode answers everything with the response code alone, as dns.RcodeRefused or dns.RcodeServerFailure.
func Rcode(code int) Behaviour {
	return func(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
		resp.Rcode, resp.Answer, resp.Ns = code, nil, nil
		return resp
	}
}

// Lie answers every question with a record of another name, of the type A.
func Lie(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	resp.Rcode, resp.Ns = dns.RcodeSuccess, nil
	resp.Answer = []dns.RR{&dns.A{
		Hdr: dns.RR_Header{Name: "lie." + req.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300},
		A:   net.IPv4(192, 0, 2, 66),
	}}
	return resp
}

// Refer answers everything with the name servers of the root, as a server does that is not recursive.
func Refer(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	resp.Rcode, resp.Answer = dns.RcodeSuccess, nil
	resp.Ns = []dns.RR{&dns.NS{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 300},
		Ns:  "ns.example.",
	}}
	return resp
}

// NoEDNS answers queries with EDNS by a header with FORMERR and nothing else, as old servers do.
func NoEDNS(_ dns.ResponseWriter, req, resp *dns.Msg) *dns.Msg {
	if req.IsEdns0() == nil {
		return resp
	}
	m := new(dns.Msg).SetRcode(req, dns.RcodeFormatError)
	m.Question = nil
	return m
}

// OneLink follows no CNAME record: it sends the first of a chain and nothing of the rest, nor what is authoritative.
func OneLink(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
	if len(resp.Answer) > 0 {
		if _, ok := resp.Answer[0].(*dns.CNAME); ok {
			resp.Rcode, resp.Answer, resp.Ns = dns.RcodeSuccess, resp.Answer[:1], nil
		}
	}
	return resp
}
