package callout

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
)

// provider returns the zone of a host that accepts mail for many domains, under two names.
func provider(domains int) string {
	var b strings.Builder
	for i := range domains {
		fmt.Fprintf(&b, "d%d.example. MX 10 mx.example.net.\nn%d.example. MX 10 mx%d.example.com.\nmx%d.example.com. A %s\n", i, i, i, i, host)
	}
	return b.String() + "mx.example.net. A " + host + "\nmx.example.net. A 192.31.196.11\n"
}

func isLimit(o outcome) bool {
	return o.err != nil && strings.Contains(o.err.Error(), ": the limit ") && o.ids == ""
}

func TestBucket(t *testing.T) {
	t.Parallel()
	for name, domain := range map[string]string{"one host": "d%d.example", "one address under many names": "n%d.example"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, provider(40), map[string]*server{host: {}}, nil)
				second := l.daemon(l.c.Settings) // shares the store
				round := func() (answered, limited int) {
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
								answered++
							default:
								t.Errorf("got %q, %v", o.ids, o.err)
							}
						})
					}
					wg.Wait()
					return answered, limited
				}
				if answered, limited := round(); answered != 10 || limited != 990 {
					t.Errorf("%d answered, %d limited", answered, limited)
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
		l := newLab(t, provider(20), map[string]*server{host: {}}, func(s *Settings) { s.Daily, s.PerMX.N = 3, 100 })
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

func TestRefusingHostIsNotAsked(t *testing.T) {
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

func TestAcceptAllHoldsForAllDomains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, provider(30), map[string]*server{host: {says: map[string]string{"RCPT": "250 come in"}}}, nil)
		for i := range 30 {
			l.want("each", l.mail(fmt.Sprintf("bob@d%d.example", i)), "")
		}
		l.wantDials("all together", 1)
		a, ok, err := l.c.load(t.Context(), acceptAllPrefix+"mx.example.net")
		if !ok || err != nil || a.Reply != "250 come in" || a.Addr != host || a.Step != atRandom {
			t.Errorf("remembered %+v, %t, %v", a, ok, err)
		}
	})
}
