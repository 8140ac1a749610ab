package dnsbl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

func TestTestPoints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, world string
		query       dnsbl.Query
		point       string // Zone.Test
		why         string // empty: on
	}{
		{name: "IPv4", world: list(points4, "bl.example", "")},
		{name: "IPv6 only", world: list(points6, "bl.example", "")},
		{name: "both", world: list(points4, "bl.example", "") + list(points6, "bl.example", "")},
		{name: "names", query: dnsbl.Helo, world: list(pointsN, "bl.example", "")},
		{name: "a code that is not configured", world: "2.0.0.127.bl.example. A 127.0.0.99"},
		{name: "several codes", world: list(points4, "bl.example", "2.0.0.127.@ A 127.0.0.10")},
		{name: "IPv6 questions that fail on an IPv4 list", world: list(points4, "bl.example",
			"!SERVFAIL 2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example\n"+
				"!SERVFAIL 1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example")},
		{name: "a configured address", point: "192.0.2.99", world: "99.2.0.192.bl.example. A 127.0.0.2"},
		{name: "a configured IPv6 address", point: "2001:db8::9", world: reverse6 + "bl.example. A 127.0.0.2"},
		{name: "a configured name", query: dnsbl.Sender, point: "dbltest.com", world: "dbltest.com.bl.example. A 127.0.0.2"},

		{name: "an empty list", world: "", why: "does not list its test point 127.0.0.2"},
		{name: "a list of addresses as one of names", query: dnsbl.Sender, world: list(points4, "bl.example", ""), why: "does not list its test point TEST"},
		{name: "the configured address is not listed", point: "192.0.2.99", world: list(points4, "bl.example", ""), why: "does not list its test point 192.0.2.99"},
		{name: "127.0.0.1 is listed", world: list(points4, "bl.example", "1.0.0.127.@ A 127.0.0.2"), why: "it lists 127.0.0.1"},
		{name: "127.0.0.1 is listed with a code that is not configured", world: list(points4, "bl.example", "1.0.0.127.@ A 127.0.0.99"), why: "it lists 127.0.0.1"},
		{name: "::ffff:127.0.0.1 is listed, the IPv4 points are right", world: list(points4, "bl.example",
			"1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.@ A 127.0.0.2"), why: "it lists ::ffff:7f00:1"},
		{name: "INVALID is listed", query: dnsbl.Helo, world: list(pointsN, "bl.example", "invalid.@ A 127.0.0.2"), why: "it lists INVALID"},
		{name: "an error code", world: list(points4, "bl.example", "1.0.0.127.@ A 127.255.255.254"), why: "error code 127.255.255.254"},
		{name: "an error code for the listed point", world: "2.0.0.127.bl.example. A 127.255.255.255", why: "too many queries"},
		{name: "an address outside 127/8", world: "2.0.0.127.bl.example. A 192.0.2.80", why: "no code of a list"},
		{name: "SERVFAIL", world: "!SERVFAIL 2.0.0.127.bl.example", why: "does not answer"},
		{name: "a time-out of the other point", world: list(points4, "bl.example", "!TIMEOUT 1.0.0.127.bl.example"), why: "does not answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			z := zone(t, "bl.example", test.query)
			z.Test = test.point
			c := build(t, checktest.Env(t, test.world), z)
			st := c.Report()[0]
			want := "on"
			if test.why != "" {
				want = "off"
			}
			if st.State != want || !strings.Contains(st.Why, test.why) || test.why == "" && st.Why != "" {
				t.Errorf("%s, %q; want %s, %q", st.State, st.Why, want, test.why)
			}
			if !st.Since.Equal(checktest.Now) {
				t.Errorf("since %s", st.Since)
			}
		})
	}
}

// changing is a resolver whose answers change.
type changing struct{ world atomic.Pointer[answers] }

func (m *changing) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	return (*m.world.Load()).Lookup(ctx, q)
}

func (m *changing) set(a answers) { m.world.Store(&a) }

// site is a check with one zone whose answers change, and its clock.
type site struct {
	dnsblCheck
	t   *testing.T
	dns changing
	now time.Time
	log bytes.Buffer
	n   int // clients so far
}

func newSite(t *testing.T, world answers) *site {
	s := &site{t: t, now: checktest.Now}
	s.dns.set(world)
	env := checktest.Env(t, "")
	env.DNS = &s.dns
	env.Log.Logger.SetOutput(&s.log)
	s.dnsblCheck = build(t, env, zone(t, "bl.example", dnsbl.Client))
	return s
}

// pass moves the clock and calls Maintain every few seconds, as the daemon does.
func (s *site) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(10 * time.Second)
		s.Maintain(s.t.Context(), s.now)
	}
}

// mail sends mail from a new client network, and reports whether it was refused.
func (s *site) mail() bool {
	s.n++
	return s.mailFrom(fmt.Sprintf("192.%d.%d.9", s.n/256, s.n%256))
}

func (s *site) mailFrom(client string) bool {
	vs, _ := ask(s.t, s.dnsblCheck, checktest.Session{Client: client, Time: s.now}.Request(s.t))
	return len(vs) > 0
}

func (s *site) want(state string, why string) {
	s.t.Helper()
	st := s.Report()[0]
	if st.State != state || !strings.Contains(st.Why, why) || why == "" && st.Why != "" {
		s.t.Errorf("%s since %s, %q; want %s, %q", st.State, st.Since.Sub(checktest.Now), st.Why, state, why)
	}
}

func TestZoneIsSwitchedOnAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, turned("", nil))
	s.want("on", "")
	s.dns.set(all("127.0.0.2"))
	s.pass(29 * time.Minute)
	s.want("on", "") // the next test is not yet
	s.pass(time.Minute)
	s.want("off", "it may list everyone")
	since := s.now
	s.dns.set(turned("127.0.0.2", nil))
	if s.mail() {
		t.Error("refused while the zone is off")
	}
	s.pass(50 * time.Second)
	s.want("off", "it may list everyone")
	if st := s.Report()[0]; !st.Since.Equal(since) {
		t.Errorf("off since %s, want %s", st.Since, since)
	}
	s.pass(10 * time.Second)
	s.want("on", "")
	if !s.mail() {
		t.Error("not refused when the zone is on again")
	}
	for _, line := range []string{"zone switched off", "zone switched on again", "zone=bl.example", "check=dnsbl"} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("no %q in the log: %s", line, &s.log)
		}
	}
	if n := strings.Count(s.log.String(), "switched off"); n != 1 {
		t.Errorf("%d lines for one failure: %s", n, &s.log)
	}
}

// TestPauseDoubles tests that a dead zone is tested less often with time, and that a zone that is right at its test points only is
// off most of the time.
func TestPauseDoubles(t *testing.T) {
	t.Parallel()
	tests := 0
	failing := answers(func(name string) (string, error) {
		if strings.HasPrefix(name, "1.0.0.127.") {
			tests++
		}
		return "", nil
	})
	s := newSite(t, failing)
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		before := tests
		s.pass(pause*time.Minute - 10*time.Second)
		if tests != before {
			t.Fatalf("tested before %d minutes were over", pause)
		}
		s.pass(10 * time.Second)
		if tests != before+1 {
			t.Fatalf("tested %d times after %d minutes", tests-before, pause)
		}
	}
	s.dns.set(turned("192.0.2.80", nil)) // right at its test points only
	s.pass(30 * time.Minute)
	s.want("on", "")
	s.mail()
	s.want("off", "no code of a list")
	s.pass(29 * time.Minute)
	s.want("off", "no code of a list")
	s.pass(time.Minute)
	s.dns.set(turned("", nil))
	s.pass(30 * time.Minute) // a good test while on
	s.dns.set(failing)
	s.pass(30 * time.Minute)
	s.want("off", "does not list")
	s.dns.set(turned("", nil))
	s.pass(time.Minute) // the shortest pause again
	s.want("on", "")
}

func TestZoneThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	fails := errors.New("SERVFAIL")
	s := newSite(t, turned("", nil))
	for _, world := range []answers{turned("", fails), turned("", nil), turned("", fails)} {
		s.dns.set(world)
		for range 4 {
			s.mail()
		}
		s.want("on", "") // an answer between them resets the count
	}
	s.mail()
	s.want("off", "SERVFAIL")
	if st := s.Report()[0]; st.Counts["queries"] != 13 || st.Counts["failures"] != 9 || st.Counts["hits"] != 0 {
		t.Errorf("counted %+v", st.Counts)
	}
}

// TestSessionWithoutTime tests that a session without time left is no failure of the zone, and that callers can see why it failed: what the
// MTA canceled is neither logged nor counted.
func TestSessionWithoutTime(t *testing.T) {
	t.Parallel()
	s := newSite(t, turned("", nil))
	s.dns.set(func(string) (string, error) { return "", context.Canceled })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 10 {
		r := checktest.Session{Client: fmt.Sprintf("192.0.2.%d", i+1), Time: s.now}.Request(t)
		if vs, err := s.Check(ctx, r); len(vs) > 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("got %q, %v", ids(vs), err)
		}
	}
	s.want("on", "")
	s.now = s.now.Add(time.Hour)
	s.Maintain(ctx, s.now)
	s.want("on", "") // the test has no result
	s.dns.set(all(""))
	s.Maintain(t.Context(), s.now)
	s.want("off", "does not list")
}

func TestUntestedZoneRefusesNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := checktest.Env(t, list(points4, "bl.example", "9.2.0.192.@ A 127.0.0.2"))
		c := untested(t, env, zone(t, "bl.example", dnsbl.Client))
		r := checktest.Session{Client: "192.0.2.9"}.Request(t)
		if qs := c.Prefetch(r); states(c) != "untested" || len(qs) > 0 {
			t.Errorf("%s, prefetched %v", states(c), qs)
		}
		if vs, err := c.Check(t.Context(), r); len(vs) > 0 || err != nil {
			t.Errorf("got %q, %v", ids(vs), err)
		}
		c.Maintain(t.Context(), checktest.Now)
		if vs, err := c.Check(t.Context(), r); ids(vs) != "dnsbl-listed by bl.example" || err != nil {
			t.Errorf("got %q, %v", ids(vs), err)
		}
	})
}

// slow is a resolver that takes some time for each name.
type slow struct {
	checks.Resolver
	takes func(name string) time.Duration
}

func (r slow) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	select {
	case <-time.After(r.takes(q.Name)):
		return r.Resolver.Lookup(ctx, q)
	case <-ctx.Done():
		return checks.Answer{}, ctx.Err()
	}
}

// TestTimeThatMailWaits uses the clock of synctest, on which times are exact.
func TestTimeThatMailWaits(t *testing.T) {
	t.Parallel()
	var zones []dnsbl.Zone
	world := ""
	for i := range 10 {
		domain := fmt.Sprintf("bl%d.example", i)
		world += list(points4, domain, "9.2.0.192.@ A 127.0.0.2")
		zones = append(zones, zone(t, domain, dnsbl.Client))
	}
	is := func(what string) func(string) bool {
		return func(name string) bool { return strings.Contains(name, what) }
	}
	for _, test := range []struct {
		name string
		slow func(name string) bool
		test bool // during a test of the zones
		want time.Duration
		zone string // that lists
	}{
		{name: "ten zones take one round trip, and the text of the first another one", slow: is("no such"), want: 2 * 20 * time.Millisecond, zone: "bl0.example"},
		{name: "a dead list delays mail for 3 s, and others still refuse", slow: is("bl0"), want: 3 * time.Second, zone: "bl1.example"},
		{name: "a test delays nothing", slow: is(".127."), test: true, want: 2 * 20 * time.Millisecond, zone: "bl0.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				env := checktest.Env(t, world)
				g := &gate{open: env.DNS}
				env.DNS = g
				c := build(t, env, zones...)
				g.open = slow{g.open, func(name string) time.Duration {
					if test.slow(name) {
						return time.Minute
					}
					return 20 * time.Millisecond
				}}
				if test.test {
					go c.Maintain(t.Context(), checktest.Now.Add(time.Hour))
					synctest.Wait()
				}
				began := time.Now()
				vs, _ := ask(t, c, checktest.Session{Client: "192.0.2.9"}.Request(t))
				if took := time.Since(began); took != test.want || len(vs) != 1 || vs[0].Detail["zone"] != test.zone {
					t.Errorf("%s, %q; want %s, %s", took, ids(vs), test.want, test.zone)
				}
				time.Sleep(time.Hour) // until the test of the zones ends
			})
		})
	}
}

type panics struct{}

func (panics) Lookup(context.Context, checks.Question) (checks.Answer, error) { panic("bug") }

func TestPanicInATest(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	env.DNS = panics{}
	c := build(t, env, zone(t, "bl.example", dnsbl.Client))
	if st := c.Report()[0]; st.State != "off" || !strings.Contains(st.Why, "bug") {
		t.Errorf("got %+v", st)
	}
}
