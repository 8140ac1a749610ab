package sender_test

import (
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
	"milterd/checks/sender"
)

const ageZone = `
young.net.           MX  10 mx.example.net.
mail.young.net.      MX  10 mx.example.net.
old.net.             MX  10 mx.example.net.
edge.net.            MX  10 mx.example.net.
future.net.          MX  10 mx.example.net.
silent.net.          MX  10 mx.example.net.
failing.net.         MX  10 mx.example.net.
panic.net.           MX  10 mx.example.net.
young.co.uk.         MX  10 mx.example.net.
someone.github.io.   MX  10 mx.example.net.
github.io.           MX  10 mx.example.net.
co.uk.               MX  10 mx.example.net.
null.net.            MX  0 .
mx.example.net.      A   192.31.196.10
example.org.         MX  10 mx.example.net.
!TIMEOUT broken.net
`

const day = 24 * time.Hour

// registry is one that answers from a table, after a while if it is slow. Its dates are counted back from now.
type registry struct {
	slow  time.Duration
	asked []string
	calls atomic.Int32
}

func (r *registry) Registered(ctx context.Context, server, domain string) (time.Time, error) {
	r.calls.Add(1)
	r.asked = append(r.asked, server+domain)
	if r.slow > 0 {
		select {
		case <-time.After(r.slow):
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	switch domain {
	case "young.net", "young.co.uk":
		return checktest.Now.Add(-5 * day), nil
	case "edge.net":
		return checktest.Now.Add(-30 * day), nil
	case "old.net", "github.io":
		return checktest.Now.Add(-5000 * day), nil
	case "future.net":
		return checktest.Now.Add(2 * day), nil
	case "failing.net":
		return time.Time{}, errors.New("no answer")
	case "panic.net":
		panic("broken")
	default:
		return time.Time{}, nil
	}
}

func month(c *sender.Settings) { c.NewDomain = 30 * day }

// ask asks about a mail, and waits until the registry was asked, or does not go on without the clock.
func (st *site) ask(t *testing.T, from string) (string, error) {
	t.Helper()
	synctest.Wait()
	s := checktest.Session{Client: "192.0.2.10", MailFrom: from, Time: st.now}.Request(t)
	vs, err := checktest.Ask(t, sender.Info, st.check, s)
	synctest.Wait()
	return strings.Join(checktest.IDs(vs), " "), err
}

// TestRegistered has two mails of each sender: the first one is never kept waiting, and the second one knows.
func TestRegistered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, from string
		want       string
		asked      string // "-": nobody is
	}{
		{name: "a young domain", from: "a@young.net", want: "domain-new", asked: "young.net"},
		{name: "a name under a young domain", from: "a@mail.young.net", want: "domain-new", asked: "young.net"},
		{name: "a young domain under a public suffix of two labels", from: "a@young.co.uk", want: "domain-new", asked: "young.co.uk"},
		{name: "an old domain", from: "a@old.net", asked: "old.net"},
		{name: "a domain that has just come of age", from: "a@edge.net", asked: "edge.net"},
		{name: "a date ahead", from: "a@future.net", asked: "future.net"},
		{name: "a registry that does not know", from: "a@silent.net", asked: "silent.net"},
		{name: "a registry that does not answer", from: "a@failing.net", asked: "failing.net"},
		{name: "a registry that is broken", from: "a@panic.net", asked: "panic.net"},
		{name: "a name that a private owner gave away", from: "a@someone.github.io", asked: "-"},
		{name: "a private public suffix", from: "a@github.io", asked: "-"},
		{name: "a public suffix", from: "a@co.uk", asked: "-"},
		{name: "the null reverse-path", from: "<>", asked: "-"},
		{name: "an address literal", from: "a@[192.0.2.10]", asked: "-"},
		{name: "a domain of this site", from: "a@example.org", want: "sender-own-domain", asked: "-"},
		{name: "a domain that does not exist", from: "a@nowhere.net", want: "sender-no-domain", asked: "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &registry{}
				st := newSite(t, ageZone, r, month)
				first, err := st.ask(t, test.from)
				if strings.Contains(first, "domain-new") || (err != nil) != (test.asked != "-") {
					t.Errorf("the first mail got %q, %v", first, err)
				}
				second, err := st.ask(t, test.from)
				if second != test.want || err != nil {
					t.Errorf("the second mail got %q, %v, want %q", second, err, test.want)
				}
				if asked := strings.Join(r.asked, " "); asked != strings.Trim(test.asked, "-") {
					t.Errorf("asked about %q, want %q", asked, test.asked)
				}
			})
		})
	}
}

func TestRegisteredInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &registry{slow: 20 * time.Second}
		st := newSite(t, ageZone, r, month)
		began := time.Now()
		for range 200 {
			if got, err := st.ask(t, "a@young.net"); got != "" || err == nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if took := time.Since(began); took > 0 || r.calls.Load() != 1 {
			t.Errorf("200 mails waited %s, the registry was asked %d times", took, r.calls.Load())
		}
		time.Sleep(r.slow)
		if got, err := st.ask(t, "a@young.net"); got != "domain-new" || err != nil {
			t.Errorf("later: got %q, %v", got, err)
		}
		r.slow = time.Hour
		_, _ = st.ask(t, "a@old.net")
		time.Sleep(time.Minute)
		if got, err := st.ask(t, "a@old.net"); got != "" || err != nil {
			t.Errorf("a registry that never answers: got %q, %v", got, err)
		}
	})
}

func TestRegisteredIsRemembered(t *testing.T) {
	t.Parallel()
	for from, ttl := range map[string]time.Duration{"a@old.net": 30 * day, "a@silent.net": day, "a@failing.net": 15 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := &registry{}
			st := newSite(t, ageZone, r, month)
			_, _ = st.ask(t, from)
			st.now = st.now.Add(ttl - time.Second)
			if _, err := st.ask(t, from); err != nil || r.calls.Load() != 1 {
				t.Errorf("%s: before %s: %v, asked %d times", from, ttl, err, r.calls.Load())
			}
			st.now = st.now.Add(time.Second)
			if _, err := st.ask(t, from); err == nil || r.calls.Load() != 2 {
				t.Errorf("%s: after %s: %v, asked %d times", from, ttl, err, r.calls.Load())
			}
		})
	}
}

func TestTooManyRegistries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &registry{slow: time.Second}
		var zone strings.Builder
		for i := range 100 {
			fmt.Fprintf(&zone, "d%d.net. A 192.31.196.10\n", i)
		}
		st := newSite(t, zone.String(), r, month)
		for i := range 100 {
			if _, err := st.ask(t, fmt.Sprintf("a@d%d.net", i)); err == nil {
				t.Error("no error")
			}
		}
		if r.calls.Load() != 50 {
			t.Errorf("%d are asked about at a time", r.calls.Load())
		}
		time.Sleep(r.slow)
		if _, err := st.ask(t, "a@d99.net"); err == nil || r.calls.Load() != 51 {
			t.Errorf("later: %v, %d", err, r.calls.Load())
		}
		time.Sleep(r.slow)
	})
}

func TestRegistrySettings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &registry{}
		st := newSite(t, ageZone, r, func(c *sender.Settings) { month(c); c.RDAP = "https://rdap.example/" })
		_, _ = st.ask(t, "a@young.net")
		if got := strings.Join(r.asked, " "); got != "https://rdap.example/young.net" {
			t.Errorf("asked %q", got)
		}
		off := newSite(t, ageZone, r, nil)
		if got, err := off.ask(t, "a@young.net"); got != "" || err != nil || r.calls.Load() != 1 {
			t.Errorf("it is on by default: %q, %v", got, err)
		}
		none := newSite(t, ageZone, nil, month)
		if got, err := none.ask(t, "a@young.net"); got != "" || err != nil {
			t.Errorf("without a registry: %q, %v", got, err)
		}
	})
}

func TestFirstSeen(t *testing.T) {
	t.Parallel()
	// Each step comes so long after the one before it.
	type step struct {
		after time.Duration
		from  string
		want  string
	}
	const isNew = "domain-new"
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"while the site learns, nobody is new", []step{{0, "a@old.net", ""}, {6 * day, "a@young.net", ""}, {23 * time.Hour, "a@young.net", ""}}},
		{"then who was not seen before is", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {day, "a@young.net", isNew}, {23 * time.Hour, "b@young.net", isNew}, {time.Hour, "a@young.net", ""}}},
		{"and who was is not", []step{{0, "a@old.net", ""}, {6 * day, "a@edge.net", ""}, {2 * day, "a@old.net", ""}, {0, "b@edge.net", ""}}},
		{"names of one domain are one", []step{{0, "a@old.net", ""}, {6 * day, "a@young.net", ""}, {2 * day, "a@mail.young.net", ""}}},
		{"names of a private owner are not", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {0, "a@github.io", ""}, {2 * day, "a@someone.github.io", isNew}}},
		{"a pause of a week begins anew", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {7 * day, "a@young.net", ""}}},
		{"a domain that writes is not forgotten", []step{{0, "a@old.net", ""}, {6 * day, "a@edge.net", ""}, {6 * day, "a@edge.net", ""}, {6 * day, "a@edge.net", ""}}},
		{"other domains are never new", []step{{0, "a@old.net", ""}, {6 * day, "a@old.net", ""}, {day, "a@example.org", "sender-own-domain"}, {0, "<>", ""}, {0, "a@[192.0.2.10]", ""}, {0, "a@co.uk", ""}, {0, "a@nowhere.net", "sender-no-domain"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := newSite(t, ageZone, nil, func(c *sender.Settings) { c.FirstSeen = day })
			for i, step := range test.steps {
				st.now = st.now.Add(step.after)
				got := strings.Join(st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: step.from}), " ")
				if got != step.want {
					t.Errorf("step %d, %s: got %q, want %q", i, step.from, got, step.want)
				}
			}
		})
	}
	t.Run("off by default", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, ageZone, nil, nil)
		st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: "a@old.net"})
		for r := range st.env.Store.Scan(t.Context(), "sender:") {
			t.Errorf("it wrote %s", r.Key)
		}
	})
	t.Run("a domain is remembered for half a year after its last mail", func(t *testing.T) {
		t.Parallel()
		st := newSite(t, ageZone, nil, func(c *sender.Settings) { c.FirstSeen = day })
		old, other := checktest.Session{Client: "192.0.2.10", MailFrom: "a@old.net"}, checktest.Session{Client: "192.0.2.10", MailFrom: "a@edge.net"}
		st.mail(t, old)
		for range 2 { // the second time is a year after the first mail
			for range 179 {
				st.now = st.now.Add(day)
				st.mail(t, other)
			}
			if got := st.mail(t, old); len(got) > 0 {
				t.Errorf("within the half year: %q", got)
			}
		}
		for range 180 {
			st.now = st.now.Add(day)
			st.mail(t, other)
		}
		if got := strings.Join(st.mail(t, old), " "); got != isNew {
			t.Errorf("after it: %q", got)
		}
	})
}

func TestAgeDetail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t, ageZone, &registry{}, func(c *sender.Settings) { month(c); c.FirstSeen = day })
		_, _ = st.ask(t, "a@mail.young.net")
		_, _ = st.ask(t, "a@old.net")
		since := func(from string) string {
			s := checktest.Session{Client: "192.0.2.10", MailFrom: from, Time: st.now}.Request(t)
			vs, err := checktest.Ask(t, sender.Info, st.check, s)
			if err != nil || len(vs) != 1 {
				t.Fatal(vs, err)
			}
			return vs[0].Detail["since"]
		}
		if got, want := since("a@mail.young.net"), "young.net was registered on 2026-11-16"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		for range 8 {
			st.now = st.now.Add(day)
			_, _ = st.ask(t, "a@old.net")
		}
		_, _ = st.ask(t, "a@silent.net")
		if got, want := since("a@silent.net"), "silent.net was first seen here on 2026-11-29 12:00 UTC"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAgeWithoutAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &registry{}
		st := newSite(t, ageZone, r, func(c *sender.Settings) { month(c); c.FirstSeen = day })
		if _, err := st.ask(t, "a@broken.net"); err == nil || r.calls.Load() > 0 {
			t.Errorf("%v, asked %d times about a domain that may not exist", err, r.calls.Load())
		}
		st.env.Store.(*checktest.Store).Fail(errors.New("outage"))
		if got, err := st.ask(t, "a@young.net"); got != "" || err == nil || r.calls.Load() > 0 {
			t.Errorf("without the store: %q, %v, asked %d times", got, err, r.calls.Load())
		}
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	good := sender.Info.Default.(sender.Settings)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if good.NewDomain != 0 || good.FirstSeen != 0 || good.RDAP != "" {
		t.Error("domain-new is to be off by default")
	}
	for name, change := range map[string]func(*sender.Settings){
		"a negative age": func(c *sender.Settings) { c.NewDomain = -1 }, "a negative first_seen": func(c *sender.Settings) { c.FirstSeen = -1 },
		"a negative history": func(c *sender.Settings) { c.History = -1 }, "no window": func(c *sender.Settings) { c.HistoryWindow = 0 },
		"a first_seen of a year": func(c *sender.Settings) { c.FirstSeen = 365 * day }, "a server without scheme": func(c *sender.Settings) { c.RDAP = "rdap.example" },
		"a server of another protocol": func(c *sender.Settings) { c.RDAP = "ldap://rdap.example/" }, "a server with a query": func(c *sender.Settings) { c.RDAP = "https://rdap.example/?q=" },
		"no server": func(c *sender.Settings) { c.RDAP = "https:///" }, "no URL": func(c *sender.Settings) { c.RDAP = "https://[" },
	} {
		c := good
		if change(&c); c.Validate() == nil {
			t.Errorf("%s is taken for right", name)
		}
	}
	for _, server := range []string{"https://rdap.example", "http://127.0.0.1:8080/rdap/", "https://[::1]/"} {
		c := good
		if c.RDAP = server; c.Validate() != nil {
			t.Errorf("%s is taken for wrong", server)
		}
	}
}

// TestAgeWhenTheClockJumps: no domain is new because the clock is wrong; what only it says is refused for now at most.
func TestAgeWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run("first seen, "+name, func(t *testing.T) {
			t.Parallel()
			jump := jump // is turned round below
			st := newSite(t, ageZone, nil, func(c *sender.Settings) { c.FirstSeen = day })
			st.env.Store = checktest.NewStore(nil) // on a clock of its own, as that of the daemon
			st.check = checktest.Build(t, sender.Info, st.env, func(c *sender.Settings) { c.FirstSeen = day })
			ask := func(what, from, want string) {
				t.Helper()
				if got := strings.Join(st.mail(t, checktest.Session{Client: "192.0.2.10", MailFrom: from}), " "); got != want {
					t.Errorf("%s: got %q, want %q", what, got, want)
				}
			}
			for range 10 {
				ask("while the site learns", "a@old.net", "")
				st.now = st.now.Add(day)
			}
			for range 2 { // the second time it is put back
				st.now = st.now.Add(jump)
				ask("known", "a@old.net", "")
				st.now = st.now.Add(2 * day)
				ask("known, two days later", "a@old.net", "")
				jump = -jump
			}
			ask("first seen when it is right again", "a@young.net", map[bool]string{true: "domain-new"}[jump.Abs() < 7*day])
			for range 10 {
				st.now = st.now.Add(day)
				ask("known, each day", "a@old.net", "")
			}
			ask("new", "a@edge.net", "domain-new")
		})
		t.Run("registered, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newSite(t, ageZone, new(registry), month)
				st.env.Clock = checks.NewClock(st.now, time.Time{}, func() time.Duration { return 0 })
				st.env.Store = checktest.NewStore(nil)
				st.check = checktest.Build(t, sender.Info, st.env, month)
				for _, from := range []string{"a@old.net", "a@young.net"} {
					_, _ = st.ask(t, from)
				}
				for _, now := range []time.Time{st.now.Add(jump), checktest.Now.Add(-4995 * day)} { // by this one old.net is new
					s := checktest.Session{Client: "192.0.2.10", MailFrom: "a@old.net", Time: now}
					for _, from := range []string{"a@old.net", "a@young.net"} {
						s.MailFrom = from
						vs, err := checktest.Ask(t, sender.Info, st.check, s.Request(t))
						if err != nil || len(vs) > 0 && !vs[0].Unsure {
							t.Errorf("%s at %s: %+v, %v", from, now, vs, err)
						}
					}
				}
			})
		})
	}
}
