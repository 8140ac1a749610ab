package callout

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestOrderOfHosts(t *testing.T) {
	t.Parallel()
	const zone = `
example.net.      MX  20 b.example.net.
example.net.      MX  10 a.example.net.
example.net.      MX  30 c.example.net.
a.example.net.    A   192.31.196.1
b.example.net.    A   192.31.196.2
b.example.net.    AAAA 2620:4f:8000::2
c.example.net.    A   192.31.196.3
bare.example.net. A   192.31.196.4
bare.example.net. AAAA 2620:4f:8000::4
null.example.net. MX  0 .
dead.example.net. MX  10 nowhere.example.net.
many.example.net. MX  10 m1.example.net.
many.example.net. MX  10 m2.example.net.
many.example.net. MX  10 m3.example.net.
m1.example.net.   A   192.31.196.11
m1.example.net.   A   192.31.196.12
m1.example.net.   A   192.31.196.13
m2.example.net.   A   192.31.196.21
m2.example.net.   A   192.31.196.22
m3.example.net.   A   192.31.196.31
odd.example.net.  MX  10 a.example.net.
odd.example.net.  MX  20 m1.example.net.
odd.example.net.  MX  30 m2.example.net.
!SERVFAIL broken.example.net
alias.example.net. MX 10 cname.example.net.
cname.example.net. CNAME c.example.net.
half.example.net. MX  10 broken.example.net.
half.example.net. MX  20 a.example.net.
`
	says := func(text string) *server { return &server{says: map[string]string{"greeting": text}} }
	for _, c := range []struct {
		name, from string
		servers    map[string]*server
		want       string
		dialed     string // last octets or groups
		failed     bool
	}{
		{"the first", "bob@example.net", map[string]*server{"192.31.196.1": {}}, "callout-rejected", "1", false},
		{"the next if it refuses the connection", "bob@example.net", map[string]*server{"192.31.196.2": {}}, "callout-rejected", "1 2", false},
		{"the next address of a host", "bob@example.net", map[string]*server{"2620:4f:8000::2": {}}, "callout-rejected", "1 2 ::2", false},
		{"the next if it is busy", "bob@example.net", map[string]*server{"192.31.196.1": says("421 busy"), "192.31.196.2": {}}, "callout-rejected", "1 2", false},
		{"the next if it takes no mail", "bob@example.net", map[string]*server{"192.31.196.1": says("554 no mail here"), "192.31.196.2": {}}, "callout-rejected", "1 2", false},
		{"not the next if the first refuses us", "bob@example.net", map[string]*server{"192.31.196.1": says("554 5.7.1 blocked"), "192.31.196.2": {}}, "callout-unreachable", "1", false},
		{"not the next if the first defers the address", "bob@example.net", map[string]*server{"192.31.196.1": {says: map[string]string{"RCPT": "450 later"}}, "192.31.196.2": {}}, "callout-unreachable", "1", false},
		{"all of them, if none answers", "bob@example.net", nil, "callout-unreachable", "1 2 ::2 3", false},
		{"the domain itself if there is no MX", "bob@bare.example.net", map[string]*server{"2620:4f:8000::4": {}}, "callout-rejected", "4 ::4", false},
		{"no more than two addresses of a host, and four connections", "bob@many.example.net", nil, "callout-unreachable", "11 12 21 22", false},
		{"four connections, whatever the hosts", "bob@odd.example.net", nil, "callout-unreachable", "1 11 12 21", false},
		{"a host that is an alias", "bob@alias.example.net", map[string]*server{"192.31.196.3": {}}, "callout-rejected", "3", false},
		{"a domain that takes no mail", "bob@null.example.net", nil, "callout-unreachable", "", false},
		{"a domain that does not exist", "bob@nowhere.example.net", nil, "callout-unreachable", "", false},
		{"a host that does not exist", "bob@dead.example.net", nil, "callout-unreachable", "", false},
		{"a failing DNS", "bob@broken.example.net", nil, "", "", true},
		{"a failing DNS for the first host", "bob@half.example.net", map[string]*server{"192.31.196.1": {}}, "callout-rejected", "1", false},
		{"a failing DNS for the first host, and the next is busy", "bob@half.example.net", map[string]*server{"192.31.196.1": says("421 busy")}, "", "1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, zone, c.servers, nil)
				o := l.mail(c.from)
				if o.ids != c.want || (o.err != nil) != c.failed {
					t.Errorf("got %q %v, error %v; want %q", o.ids, o.detail, o.err, c.want)
				}
				if c.servers == nil && len(c.dialed) > 0 && o.detail["reply"] != "refused the connection" {
					t.Errorf("detail %v", o.detail)
				}
				var dialed []string
				for _, d := range l.dialed {
					a := netip.MustParseAddrPort(d).Addr().String()
					dialed = append(dialed, strings.Replace(strings.TrimPrefix(a, "192.31.196."), "2620:4f:8000", "", 1))
				}
				if got := strings.Join(dialed, " "); got != c.dialed {
					t.Errorf("dialed %s, want %s", got, c.dialed)
				}
				if !c.failed {
					n := l.dials()
					l.want("another sender of the domain", l.mail("carol@"+c.from[4:]), c.want)
					if c.want == "callout-unreachable" && !strings.Contains(o.detail["reply"], "later") {
						l.wantDials("another sender of the domain", n)
					}
				}
			})
		})
	}
}

// TestTemporaryAnswerWinsOverFailure tests that a temporary answer of one host is kept if another host fails.
func TestTemporaryAnswerWinsOverFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, `
example.net.      MX  10 a.example.net.
example.net.      MX  20 b.example.net.
a.example.net.    A   192.31.196.1
b.example.net.    A   192.31.196.2
`, map[string]*server{"192.31.196.1": {says: map[string]string{"MAIL": "451 later"}}, "192.31.196.2": {says: map[string]string{"greeting": "554 no"}}}, nil)
		o := l.mail("bob@example.net")
		l.want("first", o, "callout-unreachable")
		if o.detail["mx"] != "a.example.net" || o.detail["reply"] != "451 later" {
			t.Errorf("detail %v", o.detail)
		}
		l.wantDials("first", 2)
		l.set("192.31.196.1", &server{})
		time.Sleep(keepTemporary)
		l.want("later", l.mail("bob@example.net"), "callout-rejected")
	})
}

// TestForbiddenAddresses tests which addresses a zone may direct callouts at.
func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, addr       string
		allowed, private bool // without and with allow_private
	}{
		{"public", "192.31.196.10", true, true},
		{"public IPv6", "2620:4f:8000::10", true, true},
		{"loopback", "127.0.0.1", false, true},
		{"another loopback", "127.1.2.3", false, true},
		{"IPv6 loopback", "::1", false, true},
		{"unspecified", "0.0.0.0", false, false},
		{"IPv6 unspecified", "::", false, false},
		{"this network", "0.1.2.3", false, true},
		{"private", "10.0.0.1", false, true},
		{"private, in the middle", "172.20.0.1", false, true},
		{"private at home", "192.168.1.1", false, true},
		{"link-local", "169.254.169.254", false, true},
		{"IPv6 link-local", "fe80::1", false, true},
		{"unique local", "fd00::1", false, true},
		{"a carrier's", "100.64.0.1", false, true},
		{"multicast", "224.0.0.1", false, false},
		{"IPv6 multicast", "ff02::1", false, false},
		{"broadcast", "255.255.255.255", false, false},
		{"documentation", "192.0.2.1", false, true},
		{"our own", "203.0.113.1", false, false},
		{"our own, public", "192.31.196.99", false, false},
		{"our own IPv6", "2620:4f:8000::99", false, false},
		{"IPv4-mapped loopback", "::ffff:127.0.0.1", false, false},
		{"IPv4-mapped public", "::ffff:192.31.196.10", false, false},
		{"NAT64 of a public address", "64:ff9b::192.31.196.10", true, true},
		{"NAT64 of loopback", "64:ff9b::127.0.0.1", false, true},
		{"NAT64 of a private address", "64:ff9b::10.0.0.1", false, true},
		{"NAT64 of our own", "64:ff9b::192.31.196.99", false, false},
		{"6to4 of loopback", "2002:7f00:1::1", false, false},
		{"Teredo", "2001:0:1::1", false, false},
		{"IPv4-compatible", "::10.0.0.1", false, false},
		{"IPv4-translated", "::ffff:0:10.0.0.1", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				kind := "A"
				if strings.Contains(c.addr, ":") {
					kind = "AAAA"
				}
				for private, allowed := range map[bool]bool{false: c.allowed, true: c.private} {
					l := newLab(t, "evil.example. MX 10 mx.evil.example.\nmx.evil.example. "+kind+" "+c.addr, nil, func(s *Settings) { s.AllowPrivate = private })
					l.c.env.Site.Addresses = append(l.c.env.Site.Addresses, netip.MustParseAddr("192.31.196.99"), netip.MustParseAddr("2620:4f:8000::99"))
					l.want("verdict", l.mail("bob@evil.example"), "callout-unreachable")
					if got := l.dials() > 0; got != allowed {
						t.Errorf("allow_private %t: dialed %q", private, l.dialed)
					}
				}
			})
		})
	}
}

// TestManyHosts tests that a domain with too many mail hosts causes no connection.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	for n, dials := range map[int]int{10: maxConnections, 11: 0, 1000: 0} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var zone strings.Builder
				for i := range n {
					fmt.Fprintf(&zone, "evil.example. MX 10 mx%d.evil.example.\nmx%d.evil.example. A 192.31.196.%d\n", i, i, i%256)
				}
				l := newLab(t, zone.String(), nil, nil)
				o := l.mail("bob@evil.example")
				l.want("verdict", o, "callout-unreachable")
				l.wantDials("all together", dials)
				if dials == 0 && o.detail["reply"] != "the domain names more than 10 mail hosts" {
					t.Errorf("detail %v", o.detail)
				}
			})
		})
	}
}

// rebinding is a zone that changes: its first answer has a public address, later ones a loopback address.
type rebinding struct {
	checks.Resolver
	asked *atomic.Int64
}

func (r rebinding) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if q.Type != dns.TypeA {
		return r.Resolver.Lookup(ctx, q)
	}
	addr := net.IPv4(192, 31, 196, 10)
	if r.asked.Add(1) > 1 {
		addr = net.IPv4(127, 0, 0, 1)
	}
	return checks.Answer{Records: []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: addr}}}, nil
}

// TestRebinding tests that the callout connects to the address that was checked.
func TestRebinding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		l.c.env.DNS = rebinding{l.c.env.DNS, new(atomic.Int64)}
		l.want("the first answer", l.mail("bob@example.net"), "callout-rejected")
		l.want("the next one", l.mail("carol@example.net"), "callout-unreachable")
		if !slices.Equal(l.dialed, []string{host + ":25"}) {
			t.Errorf("dialed %q", l.dialed)
		}
	})
}

func TestPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for port, want := range map[int]string{25: host + ":25", 2525: host + ":2525"} {
			l := newLab(t, one, nil, func(s *Settings) { s.Port = port })
			l.mail("bob@example.net")
			if !slices.Equal(l.dialed, []string{want}) {
				t.Errorf("dialed %q", l.dialed)
			}
		}
	})
}

// TestTCP tests a callout over a real socket.
func TestTCP(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	env := checktest.Env(t, "example.net. MX 10 mx.example.net.\nmx.example.net. A 127.0.0.1\n")
	env.Dial = new(net.Dialer).DialContext
	l := &lab{t: t, env: env}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(&server{users: []string{"alice@example.net"}}, conn)
		}
	}()
	s := defaults()
	s.Port, s.AllowPrivate = listener.Addr().(*net.TCPAddr).Port, true
	l.c = build(s, env)
	l.want("exists", l.mail("alice@example.net"), "")
	l.want("does not", l.mail("bob@example.net"), "callout-rejected")
	if a, b := randomLocal(), randomLocal(); a == b || len(a) > 64 {
		t.Errorf("random addresses %q and %q", a, b)
	}
	listener.Close()
	env.Store = checktest.NewStore(nil)
	l.c = build(s, env)
	o := l.mail("bob@example.net")
	l.want("closed port", o, "callout-unreachable")
	if o.detail["reply"] != "refused the connection" {
		t.Errorf("got %q", o.detail["reply"])
	}
}
