package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// The DNS records of a sending host are computed from its number, so there can be any number of hosts. Host n has the address
// 11.0.0.0 + n, the domain dN.example, the names mail.dN.example (HELO, PTR) and mx.dN.example, one of four SPF records, one of
// three DMARC policies, and a DKIM key. Of a hundred hosts ten have a fault.
const (
	network  = 11 // first octet of all hosts: globally reachable
	listZone = "list.example"
	mxAddr   = "192.0.0.9" // of every mx.dN.example; globally reachable, RFC 7723
	ttl      = 300         // seconds
)

// fault is a fault of a host.
type fault int

const (
	none     fault = iota
	noPTR          // its address has no name
	otherPTR       // its address has the name of another host
	spfFails       // the SPF record of its domain excludes it
	noSPF          // its domain has no SPF record
	noHelo         // its HELO name does not exist
	listed         // its address is on the DNS list
	allFaults
)

func faultOf(n int) fault {
	if n%100 < 90 {
		return none
	}
	return fault(1 + (n/100+n)%int(allFaults-1))
}

func addrOf(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{network, byte(n >> 16), byte(n >> 8), byte(n)})
}

func domainOf(n int) string { return "d" + strconv.Itoa(n) + ".example" }

// heloOf returns the HELO name of a host.
func heloOf(n int) string {
	if faultOf(n) == noHelo {
		return "nobody." + domainOf(n)
	}
	return "mail." + domainOf(n)
}

// records returns the records of a name and type in the format of zone files. exists reports whether the name has any records.
func records(name string, qtype uint16) (list []string, exists bool) {
	if text, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		n, ok := reversed(text)
		switch f := faultOf(n); {
		case !ok || f == noPTR:
			return nil, false
		case qtype != dns.TypePTR:
			return nil, true
		case f == otherPTR:
			return []string{"PTR mx." + domainOf(n) + "."}, true
		}
		return []string{"PTR mail." + domainOf(n) + "."}, true
	}
	if text, ok := strings.CutSuffix(name, "."+listZone); ok {
		n, ok := reversed(text)
		if text != "2.0.0.127" && (!ok || faultOf(n) != listed) { // RFC 5782 section 5: 127.0.0.2 is always listed
			return nil, false
		}
		if qtype == dns.TypeA {
			list = []string{"A 127.0.0.2"}
		}
		return list, true
	}
	number, ok := strings.CutSuffix(name, ".example")
	if !ok {
		return nil, false
	}
	at := strings.LastIndexByte(number, '.')
	label, domain := number[:max(at, 0)], name[at+1:]
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(domain, "d"), ".example"))
	if err != nil || domain != domainOf(n) {
		return nil, false
	}
	return hostRecords(n, label, qtype)
}

// hostRecords returns the records of a name in the domain of host n.
func hostRecords(n int, label string, qtype uint16) (list []string, exists bool) {
	switch {
	case label == "" && qtype == dns.TypeMX:
		list = []string{"MX 10 mx." + domainOf(n) + "."}
	case label == "" && qtype == dns.TypeTXT:
		list = spf(n)
	case label == "_spf" && qtype == dns.TypeTXT:
		list = []string{fmt.Sprintf(`TXT "v=spf1 ip4:192.0.2.0/24 ip4:%s ~all"`, addrOf(n))}
	case label == "_dmarc" && qtype == dns.TypeTXT:
		list = []string{`TXT "v=DMARC1; p=` + [...]string{"none", "quarantine", "reject"}[n%3] + `"`}
	case label == selector+"._domainkey" && qtype == dns.TypeTXT:
		list = []string{keyRecord()}
	case (label == "" || label == "mail") && qtype == dns.TypeA:
		list = []string{"A " + addrOf(n).String()}
	case label == "mx" && qtype == dns.TypeA:
		list = []string{"A " + mxAddr}
	}
	return list, len(list) > 0 || label == "" || label == "mail" || label == "mx" || label == "_spf"
}

// spf returns the SPF record of host n.
func spf(n int) []string {
	switch f := faultOf(n); {
	case f == noSPF:
		return nil
	case f == spfFails:
		return []string{`TXT "v=spf1 ip4:192.0.2.1 -all"`}
	}
	return []string{`TXT "v=spf1 ` + [...]string{
		"ip4:" + addrOf(n).String() + " -all",
		"mx a -all",
		"include:_spf." + domainOf(n) + " -all",
		"a:mail." + domainOf(n) + " ~all",
	}[n%4] + `"`}
}

// reversed returns the number of a host. text is its address with the octets in reverse order.
func reversed(text string) (n int, ok bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return 0, false
	}
	b := a.As4()
	return int(b[2])<<16 | int(b[1])<<8 | int(b[0]), b[3] == network
}

// nameServer answers with the records of all hosts over UDP, and counts the questions.
type nameServer struct {
	conn  *net.UDPConn
	delay atomic.Int64 // of each answer, in nanoseconds
	asked atomic.Int64
}

func startNameServer() (*nameServer, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil { // as name servers do, so that a burst of questions fits
		return nil, err
	}
	s := &nameServer{conn: conn}
	go s.run()
	return s, nil
}

func (s *nameServer) addr() string { return s.conn.LocalAddr().String() }

func (s *nameServer) run() {
	buf := make([]byte, dns.MinMsgSize)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed
		}
		var req dns.Msg
		if req.Unpack(buf[:n]) != nil || len(req.Question) != 1 {
			continue
		}
		s.asked.Add(1)
		answer, err := respond(&req).Pack()
		if err != nil {
			panic(err) // a bug of this program
		}
		send := func() { _, _ = s.conn.WriteToUDPAddrPort(answer, from) }
		if d := s.delay.Load(); d > 0 {
			time.AfterFunc(time.Duration(d), send)
		} else {
			send()
		}
	}
}

func respond(req *dns.Msg) *dns.Msg {
	q := req.Question[0]
	resp := new(dns.Msg).SetReply(req)
	resp.RecursionAvailable = true
	list, exists := records(strings.TrimSuffix(strings.ToLower(q.Name), "."), q.Qtype)
	for _, text := range list {
		resp.Answer = append(resp.Answer, record(q.Name, text))
	}
	if !exists {
		resp.Rcode = dns.RcodeNameError
	}
	if len(list) == 0 {
		resp.Ns = []dns.RR{record("example.", "SOA ns.example. root.example. 1 3600 600 86400 60")}
	}
	return resp
}

func record(name, text string) dns.RR {
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s", name, ttl, text))
	if err != nil {
		panic(err) // a bug of this program
	}
	return rr
}
