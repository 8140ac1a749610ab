package callout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

// provider is one host that takes mail for many domains, under two names.
func provider(domains int) string {
	var b strings.Builder
	for i := range domains {
		fmt.Fprintf(&b, "d%d.example. MX 10 mx.example.net.\nn%d.example. MX 10 mx%d.example.com.\nmx%d.example.com. A %s\n", i, i, i, i, host)
	}
	return b.String() + "mx.example.net. A " + host + "\nmx.example.net. A 192.31.196.11\n"
}

func isLimit(o outcome) bool {
	_, ok := errors.AsType[*limitError](o.err)
	return ok && o.ids == ""
}

func TestBucket(t *testing.T) {
	t.Parallel()
	for name, domain := range map[string]string{"one host": "d%d.example", "one address under many names": "n%d.example"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, provider(40), map[string]*server{host: {}}, nil)
				second := l.daemon(l.c.Settings) // shares the store
				round := func() (told, limited int) {
					var mu sync.Mutex
					var wg sync.WaitGroup
					for i := range 1000 {
						wg.Go(func() {
							c := l.c
							if i%2 == 1 {
								c = second
							}
							o := l.at(c, checks.RcptTo, l.session(fmt.Sprintf("bob%d@"+domain, i, i%40)))
							mu.Lock()
							defer mu.Unlock()
							switch {
							case isLimit(o), errors.Is(o.err, errBusy):
								limited++
							case o.ids == "callout-rejected":
								told++
							default:
								t.Errorf("got %q, %v", o.ids, o.err)
							}
						})
					}
					wg.Wait()
					return told, limited
				}
				if told, limited := round(); told != 10 || limited != 990 {
					t.Errorf("%d were told, %d limited", told, limited)
				}
				l.wantDials("at once", 10)
				time.Sleep(time.Minute)
				round()
				l.wantDials("a minute later", 20)
			})
		})
	}
}

func TestHostBucketIsForAllItsAddresses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(10), map[string]*server{"192.31.196.11": {}}, nil) // the first address refuses
		for i := range 10 {
			o := l.mail(fmt.Sprintf("bob@d%d.example", i))
			if want := i >= 5; isLimit(o) != want {
				t.Errorf("mail %d: got %q, %v", i, o.ids, o.err)
			}
		}
		l.wantDials("all together", 10)
	})
}

func TestNetworkBucketOfIPv6(t *testing.T) {
	bubble(t, func(t *testing.T) {
		zone := ""
		for i := range 20 {
			zone += fmt.Sprintf("d%d.example. AAAA 2620:4f:8000::%x\n", i, i+1)
		}
		l := newLab(t, zone, nil, nil)
		for i := range 20 {
			l.mail(fmt.Sprintf("bob@d%d.example", i))
		}
		l.wantDials("one /64", 10)
	})
}

func TestDaily(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(20), map[string]*server{host: {}}, func(s *Settings) { s.Daily, s.PerMX = 3, "100/m" })
		for i := range 10 {
			o := l.mail(fmt.Sprintf("bob@d%d.example", i))
			if want := i >= 3; isLimit(o) != want {
				t.Errorf("mail %d: got %q, %v", i, o.ids, o.err)
			}
		}
		l.wantDials("the first day", 3)
		time.Sleep(24 * time.Hour)
		l.want("the next day", l.mail("bob@d9.example"), "callout-rejected")
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		says  map[string]string
		dials int // of the first callout; the second has none
	}{
		{"refused connections", nil, 2}, // both addresses
		{"a policy at the greeting", map[string]string{"greeting": "554 5.7.1 you are on a blocklist"}, 1},
		{"a policy at MAIL", map[string]string{"MAIL": "550 no callouts please"}, 1},
		{"a policy at RCPT", map[string]string{"RCPT": "550 5.7.1 bad reputation"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, provider(3), nil, nil)
				if c.says != nil {
					l.servers = map[string]*server{host: {says: c.says}}
				}
				first := l.mail("bob@d0.example")
				l.want("first", first, "callout-unreachable")
				l.wantDials("first", c.dials)
				other := l.mail("bob@d1.example")
				l.want("another domain of the host", other, "callout-unreachable")
				l.wantDials("another domain of the host", c.dials)
				if other.detail["reply"] != first.detail["reply"] || other.detail["mx"] != "mx.example.net" {
					t.Errorf("got %v, then %v", first.detail, other.detail)
				}
				time.Sleep(3 * time.Hour)
				l.servers = map[string]*server{host: {}}
				l.want("later", l.mail("bob@d1.example"), "callout-rejected")
			})
		})
	}
}

func TestAcceptAllIsKnownForAllDomains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(30), map[string]*server{host: {says: map[string]string{"RCPT": "250 come in"}}}, nil)
		for i := range 30 {
			l.want("each", l.mail(fmt.Sprintf("bob@d%d.example", i)), "")
		}
		l.wantDials("all together", 1)
		a, ok, err := l.c.load(t.Context(), acceptAllKey+"mx.example.net")
		if !ok || err != nil || a.Reply != "250 come in" || a.Addr != host || a.Stage != atRandom {
			t.Errorf("remembered %+v, %t, %v", a, ok, err)
		}
	})
}

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
		{"the best one alone", "bob@example.net", map[string]*server{"192.31.196.1": {}}, "callout-rejected", "1", false},
		{"the next if it refuses the connection", "bob@example.net", map[string]*server{"192.31.196.2": {}}, "callout-rejected", "1 2", false},
		{"the next address of a host", "bob@example.net", map[string]*server{"2620:4f:8000::2": {}}, "callout-rejected", "1 2 ::2", false},
		{"the next if it is busy", "bob@example.net", map[string]*server{"192.31.196.1": says("421 busy"), "192.31.196.2": {}}, "callout-rejected", "1 2", false},
		{"the next if it takes no mail", "bob@example.net", map[string]*server{"192.31.196.1": says("554 no mail here"), "192.31.196.2": {}}, "callout-rejected", "1 2", false},
		{"not the next if it refuses us", "bob@example.net", map[string]*server{"192.31.196.1": says("554 5.7.1 blocked"), "192.31.196.2": {}}, "callout-unreachable", "1", false},
		{"not the next if it defers the address", "bob@example.net", map[string]*server{"192.31.196.1": {says: map[string]string{"RCPT": "450 later"}}, "192.31.196.2": {}}, "callout-unreachable", "1", false},
		{"all of them, without an answer", "bob@example.net", nil, "callout-unreachable", "1 2 ::2 3", false},
		{"the domain itself without MX", "bob@bare.example.net", map[string]*server{"2620:4f:8000::4": {}}, "callout-rejected", "4 ::4", false},
		{"no more than two addresses of a host, and four connections", "bob@many.example.net", nil, "callout-unreachable", "11 12 21 22", false},
		{"four connections, whatever the hosts", "bob@odd.example.net", nil, "callout-unreachable", "1 11 12 21", false},
		{"a host that is an alias", "bob@alias.example.net", map[string]*server{"192.31.196.3": {}}, "callout-rejected", "3", false},
		{"a domain that takes no mail", "bob@null.example.net", nil, "callout-unreachable", "", false},
		{"a domain that does not exist", "bob@nowhere.example.net", nil, "callout-unreachable", "", false},
		{"a host that does not exist", "bob@dead.example.net", nil, "callout-unreachable", "", false},
		{"a DNS that does not know", "bob@broken.example.net", nil, "", "", true},
		{"a DNS that does not know the best host", "bob@half.example.net", nil, "", "", true},
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

// TestATemporaryAnswerIsNotForgottenForAWorseOne: it gives hope, so the domain is asked again soon.
func TestATemporaryAnswerIsNotForgottenForAWorseOne(t *testing.T) {
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
		time.Sleep(again)
		l.want("later", l.mail("bob@example.net"), "callout-rejected")
	})
}

// TestForbidden: a hostile zone gets no connection to where it points.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, addr       string
		allowed, private bool // without and with allow_private
	}{
		{"a public one", "192.31.196.10", true, true},
		{"a public IPv6 one", "2620:4f:8000::10", true, true},
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
		{"our own public one", "192.31.196.99", false, false},
		{"our own IPv6 one", "2620:4f:8000::99", false, false},
		{"IPv4-mapped loopback", "::ffff:127.0.0.1", false, false},
		{"IPv4-mapped public", "::ffff:192.31.196.10", false, false},
		{"NAT64 of a public one", "64:ff9b::192.31.196.10", true, true},
		{"NAT64 of loopback", "64:ff9b::127.0.0.1", false, true},
		{"NAT64 of a private one", "64:ff9b::10.0.0.1", false, true},
		{"NAT64 of our own", "64:ff9b::192.31.196.99", false, false},
		{"6to4 of loopback", "2002:7f00:1::1", false, false},
		{"Teredo", "2001:0:1::1", false, false},
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

// TestManyHosts: a hostile zone sends us to nobody by naming everybody.
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

// rebinding is a zone that changes its mind after each answer: the first address is good, the next one is not.
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

// TestRebinding: connected to is the address that was looked at, not what its name has become.
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

// TestTCP is the one test over a real socket, with the random addresses of the daemon.
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
	if l.c, err = build(s, env); err != nil {
		t.Fatal(err)
	}
	l.want("exists", l.mail("alice@example.net"), "")
	l.want("does not", l.mail("bob@example.net"), "callout-rejected")
	if a, b := randomLocal(), randomLocal(); a == b || len(a) > 64 {
		t.Errorf("random addresses %q and %q", a, b)
	}
	listener.Close()
	env.Store = checktest.NewStore(nil)
	if l.c, err = build(s, env); err != nil {
		t.Fatal(err)
	}
	o := l.mail("bob@example.net")
	l.want("closed port", o, "callout-unreachable")
	if o.detail["reply"] != "refused the connection" {
		t.Errorf("got %q", o.detail["reply"])
	}
}
