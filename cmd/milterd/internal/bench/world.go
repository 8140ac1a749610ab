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

// The world is computed from the number of a mail host, so that there are as many as one likes. Host n has the address
// 10.0.0.0 + n, the domain dN.example, the names mail.dN.example (HELO, PTR) and mx.dN.example, and one of four SPF records.
// Of a hundred hosts ten are bad, each in one of six ways.
const (
	listZone = "list.example"
	mxAddr   = "192.0.0.9" // globally reachable, RFC 7723, and of no host
	ttl      = 300
)

// fault is what is wrong with a host.
type fault int

const (
	none      fault = iota
	noPTR           // its address has no name
	otherPTR        // its address has the name of another one
	spfFails        // its domain says that it may not send
	noSPF           // its domain says nothing
	noSuch          // its HELO name does not exist
	listed          // its address is on the DNS list
	allFaults       // how many there are
)

func faultOf(n int) fault {
	if n%100 < 90 {
		return none
	}
	return fault(1 + (n/100+n)%int(allFaults-1))
}

func addrOf(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func domainOf(n int) string { return "d" + strconv.Itoa(n) + ".example" }

// heloOf is the name that a host greets with.
func heloOf(n int) string {
	if faultOf(n) == noSuch {
		return "nobody." + domainOf(n)
	}
	return "mail." + domainOf(n)
}

// records are those that the question asks for, in zone format. exists tells whether the name has any.
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
		if text != "2.0.0.127" && (!ok || faultOf(n) != listed) { // the test point of RFC 5782
			return nil, false
		}
		if qtype == dns.TypeA {
			list = []string{"A 127.0.0.2"}
		}
		return list, true
	}
	label, domain, _ := strings.Cut(name, ".")
	if number, ok := strings.CutSuffix(name, ".example"); ok && !strings.Contains(number, ".") {
		label, domain = "", name
	}
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(domain, "d"), ".example"))
	if err != nil || domain != domainOf(n) {
		return nil, false
	}
	return hostRecords(n, label, qtype)
}

// hostRecords are those of a name in the domain of a host.
func hostRecords(n int, label string, qtype uint16) (list []string, exists bool) {
	switch {
	case label == "" && qtype == dns.TypeMX:
		list = []string{"MX 10 mx." + domainOf(n) + "."}
	case label == "" && qtype == dns.TypeTXT:
		list = spf(n)
	case label == "_spf" && qtype == dns.TypeTXT:
		list = []string{fmt.Sprintf(`TXT "v=spf1 ip4:192.0.2.0/24 ip4:%s ~all"`, addrOf(n))}
	case (label == "" || label == "mail") && qtype == dns.TypeA:
		list = []string{"A " + addrOf(n).String()}
	case label == "mx" && qtype == dns.TypeA:
		list = []string{"A " + mxAddr}
	}
	return list, label == "" || label == "mail" || label == "mx" || label == "_spf"
}

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

// reversed reads the number of a host from its address written backwards.
func reversed(text string) (n int, ok bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return 0, false
	}
	b := a.As4()
	return int(b[2])<<16 | int(b[1])<<8 | int(b[0]), b[3] == 10
}

// nameServer answers for the world over UDP and counts what it is asked.
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
	if err := conn.SetReadBuffer(4 << 20); err != nil { // as resolvers have: a burst of questions is not to be lost
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
			panic(err) // a fault of ours
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
		panic(err) // a fault of ours
	}
	return rr
}
