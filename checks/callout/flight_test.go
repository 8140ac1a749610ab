package callout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
)

func TestSlowHosts(t *testing.T) {
	t.Parallel()
	cert := certificate()
	silent := func(stage string) map[string]string { return map[string]string{stage: "!silent"} }
	for _, c := range []struct {
		name  string
		says  map[string]string
		stage string
		ends  time.Duration // of the flight
	}{
		{"no connection", silent("connect"), "connect", connectWait},
		{"silent after the connection", silent("greeting"), "greeting", replyWait},
		{"silent after EHLO", silent("EHLO"), "helo", replyWait},
		{"silent after MAIL", silent("MAIL"), "mail", replyWait},
		{"silent after the random address", silent("RCPT TO:<callout-test"), "random", replyWait},
		{"silent after RCPT", silent("RCPT TO:<bob"), "rcpt", replyWait},
		{"silent after STARTTLS", map[string]string{"MAIL": "530 5.7.0 STARTTLS first", "STARTTLS": "!hang"}, "starttls", replyWait},
		{"a byte every 5 s", map[string]string{"greeting": "!drip"}, "greeting", replyWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: {says: c.says, cert: cert}}, nil)
				began := time.Now()
				o := l.mail("bob@example.net")
				l.want("first", o, "callout-pending")
				if o.took != 8*time.Second-reserve {
					t.Errorf("took %s", o.took)
				}
				if o.detail["mx"] != "mx.example.net" || o.detail["address"] != host || o.detail["at"] != c.stage {
					t.Errorf("detail %v", o.detail)
				}
				l.want("during the callout", l.mail("bob@example.net"), secondMail(c.ends))
				time.Sleep(time.Until(began.Add(c.ends + time.Second)))
				o = l.mail("bob@example.net")
				l.want("after the callout", o, "callout-unreachable")
				if o.took != 0 || o.detail["reply"] != "no answer in time" || o.detail["at"] != c.stage {
					t.Errorf("after %s: %v", o.took, o.detail)
				}
				l.wantDials("all together", 1)
			})
		})
	}
}

// secondMail returns the reason for a second mail, whose budget ends 15 s after the beginning of the flight.
func secondMail(ends time.Duration) string {
	if ends < 15*time.Second {
		return "callout-unreachable"
	}
	return "callout-pending"
}

func TestPendingAnswerIsThereLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		dial := l.c.env.Dial
		l.c.env.Dial = func(ctx context.Context, network, to string) (conn, error) { <-gate; return dial(ctx, network, to) }
		r := l.session("bob@example.net")
		l.want("first recipient", l.at(l.c, checks.RcptTo, r), "callout-pending")
		second := l.at(l.c, checks.RcptTo, r)
		l.want("second recipient", second, "callout-pending")
		if second.took != 0 {
			t.Errorf("the second recipient waited for %s more", second.took)
		}
		close(gate)
		synctest.Wait()
		l.want("the next mail", l.mail("bob@example.net"), "callout-rejected")
		l.wantDials("all together", 1)
	})
}

func TestFlightOutlivesItsSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := l.session("bob@example.net")
		r.Stage = checks.RcptTo
		c := l.daemon(l.c.Settings)
		c.env.Store = noContext{c.env.Store} // so that the flight starts
		dial := c.env.Dial
		c.env.Dial = func(ctx context.Context, network, to string) (conn, error) {
			time.Sleep(time.Second) // the session ends first
			return dial(ctx, network, to)
		}
		if vs, err := c.Check(ctx, r); len(vs) != 1 || vs[0].Reason != pending || err != nil {
			t.Errorf("got %v, %v", vs, err)
		}
		time.Sleep(2 * time.Second)
		l.want("the next mail", l.mail("bob@example.net"), "callout-rejected")
		l.wantDials("all together", 1)
	})
}

// noContext is a store that ignores the end of the context.
type noContext struct{ checks.Store }

func (s noContext) Get(ctx context.Context, key string) ([]byte, bool, error) {
	return s.Store.Get(context.WithoutCancel(ctx), key)
}

func TestOneFlightForManyMails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		dial := l.c.env.Dial
		l.c.env.Dial = func(ctx context.Context, network, to string) (conn, error) {
			time.Sleep(3 * time.Second)
			return dial(ctx, network, to)
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond) // the last ones find the answer in the store
				l.want("each", l.mail("bob@example.net"), "callout-rejected")
			})
		}
		wg.Wait()
		l.wantDials("all together", 1)
	})
}

func TestFlightAfterTheAnswerMakesNoCallout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		l.want("first", l.mail("bob@example.net"), "callout-rejected")
		f, err := l.c.join(question{mailbox: "Bob@example.net", domain: "example.net", now: time.Now()}, false)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := f.wait(t.Context()); a.Result != resultRejected || err != nil {
			t.Errorf("got %v, %v", a, err)
		}
		l.wantDials("all together", 1)
	})
}

// TestAllHostsAreSlow tests that the result is stored even if the flight has no time left.
func TestAllHostsAreSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		zone, servers := "", map[string]*server{}
		for i := range 3 {
			addr := fmt.Sprintf("192.31.196.%d", i)
			zone += fmt.Sprintf("example.net. MX %d mx%d.example.net.\nmx%d.example.net. A %s\n", i, i, i, addr)
			servers[addr] = &server{pause: 13 * time.Second} // the fifth reply, to RCPT, is due after 65 s
		}
		l := newLab(t, zone, servers, nil)
		began := time.Now()
		l.want("first", l.mail("bob@example.net"), "callout-pending")
		time.Sleep(time.Until(began.Add(maxFlight - time.Second)))
		o := l.mail("bob@example.net")
		l.want("at its end", o, "callout-unreachable")
		if o.took != time.Second || o.detail["reply"] != "no answer in time" || o.detail["at"] != atRcpt {
			t.Errorf("after %s: %v", o.took, o.detail)
		}
		o = l.mail("carol@example.net")
		l.want("of the whole domain", o, "callout-unreachable")
		if o.took != 0 || o.detail["mx"] != "mx0.example.net" {
			t.Errorf("after %s: %v", o.took, o.detail)
		}
		l.wantDials("all together", 1)
	})
}

func TestFlightsAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {says: map[string]string{"greeting": "!silent"}}}, func(s *Settings) { s.PerMX.N = 1000 })
		var busy, waiting atomic.Int64
		var wg sync.WaitGroup
		for i := range maxFlights + 80 {
			wg.Go(func() {
				switch o := l.mail(fmt.Sprintf("bob%d@example.net", i)); {
				case errors.Is(o.err, errBusy):
					busy.Add(1)
				case o.ids == "callout-pending":
					waiting.Add(1)
				}
			})
		}
		wg.Wait()
		if busy.Load() != 80 || waiting.Load() != maxFlights {
			t.Errorf("%d were refused and %d waited", busy.Load(), waiting.Load())
		}
		time.Sleep(maxFlight)
		synctest.Wait()
		l.c.mu.Lock()
		defer l.c.mu.Unlock()
		if n := len(l.c.flights); n != 0 {
			t.Errorf("%d flights never ended", n)
		}
	})
}

func TestAnswersExpire(t *testing.T) {
	t.Parallel()
	refused := map[string]string{"MAIL": "550 go away"}
	for _, c := range []struct {
		name   string
		server server
		want   string
		keeps  time.Duration
	}{
		{"good", server{users: []string{"bob@example.net"}}, "", 24 * time.Hour},
		{"bad", server{}, "callout-rejected", 2 * time.Hour},
		{"accept-all", server{says: map[string]string{"RCPT": "250 ok"}}, "", 7 * 24 * time.Hour},
		{"unusable", server{says: refused}, "callout-unreachable", 3 * time.Hour},
		{"temporary", server{says: map[string]string{"RCPT": "450 later"}}, "callout-unreachable", keepTemporary},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: &c.server}, nil)
				l.want("first", l.mail("bob@example.net"), c.want)
				if c.name == "good" {
					c.keeps = c.keeps / 4 * 3 // it is refreshed then
				}
				time.Sleep(c.keeps - time.Second)
				l.want("to the last second", l.mail("bob@example.net"), c.want)
				l.wantDials("to the last second", 1)
				time.Sleep(time.Second)
				l.want("later", l.mail("bob@example.net"), c.want)
				synctest.Wait()
				l.wantDials("later", 2)
			})
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		later *server // the host at the time of the refresh
		then  string
	}{
		{"it still exists", &server{users: []string{"bob@example.net"}}, ""},
		{"it no longer exists", &server{}, "callout-rejected"},
		{"a temporary answer", &server{says: map[string]string{"RCPT": "450 later"}}, ""},
		{"the host is down", nil, ""},
		{"the host is silent", &server{says: map[string]string{"greeting": "!silent"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLab(t, one, map[string]*server{host: {users: []string{"bob@example.net"}}}, nil)
				l.want("first", l.mail("bob@example.net"), "")
				l.set(host, c.later)
				time.Sleep(18 * time.Hour)
				second := l.daemon(l.c.Settings)
				for i := range 10 {
					o := l.mail("bob@example.net")
					if i == 0 || o.ids != c.then { // the answer may be there before the last ones
						l.want("before the refresh ended", o, "")
					}
					if o.took != 0 {
						t.Errorf("waited for %s", o.took)
					}
					l.at(second, checks.RcptTo, l.session("bob@example.net"))
				}
				time.Sleep(time.Minute)
				l.wantDials("one of two daemons", 2)
				l.want("after it", l.mail("bob@example.net"), c.then)
				l.wantDials("after it", 2)
			})
		})
	}
}

func TestStoreFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		outage := errors.New("outage")
		l.store.Fail(outage)
		if o := l.mail("bob@example.net"); !errors.Is(o.err, outage) || o.ids != "" {
			t.Errorf("got %q, %v", o.ids, o.err)
		}
		l.wantDials("without a store", 0)

		// A store that fails during the callout: the session gets the answer.
		dial := l.c.env.Dial
		l.c.env.Dial = func(ctx context.Context, network, to string) (conn, error) {
			l.store.Fail(outage)
			return dial(ctx, network, to)
		}
		l.store.Fail(nil)
		l.want("answered", l.mail("bob@example.net"), "callout-rejected")
		l.wantDials("answered", 1)
	})
}

func TestInvalidRecordsInTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		q := question{mailbox: "bob@example.net", domain: "example.net"}
		for _, key := range []string{addrPrefix + q.key(), domainPrefix + q.domain, acceptAllPrefix + "mx.example.net", refusedPrefix + "mx.example.net"} {
			if err := l.store.Put(t.Context(), key, []byte(`{"kind":`), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		l.want("verdict", l.mail("bob@example.net"), "callout-rejected")
	})
}

// TestTrial tests a check that may not connect: it makes no callouts, and uses the answers in the store.
func TestTrial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, map[string]*server{host: {}}, nil)
		dial := l.c.env.Dial
		l.c.env.Dial = nil
		if o := l.mail("bob@example.net"); o.ids != "" || !errors.Is(o.err, errNoDial) {
			t.Errorf("got %q, %v", o.ids, o.err)
		}
		l.c.env.Dial = dial
		l.want("callout", l.mail("bob@example.net"), "callout-rejected")
		l.c.env.Dial = nil
		l.want("known", l.mail("bob@example.net"), "callout-rejected")
	})
}

func TestPanicOfAFlightIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLab(t, one, nil, nil)
		l.c.env.Dial = func(context.Context, string, string) (conn, error) { panic("bug") }
		o := l.mail("bob@example.net")
		if _, ok := errors.AsType[*checks.PanicError](o.err); !ok || o.ids != "" {
			t.Errorf("got %q, %v", o.ids, o.err)
		}
	})
}

// TestTwoSites has two sites with callouts, in the profile strict, send mail to each other. They must not wait for each other.
func TestTwoSites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		refusesNull bool
	}{
		{"both accept the null reverse-path", false},
		{"both refuse it", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := twoSites(t, c.refusesNull)
				var wg sync.WaitGroup
				for from, to := range map[*site]*site{a: b, b: a} {
					wg.Go(func() {
						for range 3 {
							o := to.lab.mail("alice@" + from.domain)
							if o.took > 100*time.Millisecond || o.err != nil {
								t.Errorf("from %s: waited for %s, error %v", from.domain, o.took, o.err)
							}
							if enforced(o) {
								t.Errorf("from %s: %s", from.domain, o.ids)
							}
							time.Sleep(2 * time.Second)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}
