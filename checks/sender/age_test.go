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

// registry is a checks.Registry with a few domains. It answers after the time slow.
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

// ask checks a mail and returns the reasons. It waits until the goroutine that asks the registry has ended, or waits for the
// registry.
func (st *site) ask(t *testing.T, from string) (string, error) {
	t.Helper()
	synctest.Wait()
	r := checktest.Session{Client: "192.0.2.10", MailFrom: from, Time: st.now}.Request(t)
	vs, err := checktest.Ask(t, sender.Info, st.check, r)
	synctest.Wait()
	return strings.Join(checktest.IDs(vs), " "), err
}

// TestRegistered checks two mails of each sender. The age of the domain is known for the second.
func TestRegistered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, from string
		want       string
		asked      string // "-": none
	}{
		{name: "a young domain", from: "a@young.net", want: "domain-new", asked: "young.net"},
		{name: "a name under a young domain", from: "a@mail.young.net", want: "domain-new", asked: "young.net"},
		{name: "a young domain under a public suffix of two labels", from: "a@young.co.uk", want: "domain-new", asked: "young.co.uk"},
		{name: "an old domain", from: "a@old.net", asked: "old.net"},
		{name: "a domain as old as the limit", from: "a@edge.net", asked: "edge.net"},
		{name: "a date in the future", from: "a@future.net", asked: "future.net"},
		{name: "a registry without date", from: "a@silent.net", asked: "silent.net"},
		{name: "a registry that fails", from: "a@failing.net", asked: "failing.net"},
		{name: "a registry that panics", from: "a@panic.net", asked: "panic.net"},
		{name: "a name under a private public suffix", from: "a@someone.github.io", asked: "-"},
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
			t.Errorf("200 mails took %s, the registry was asked %d times", took, r.calls.Load())
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

// TestRegisteredInAnUnknownForm tests that the registry is asked again if its answer was stored by another version.
func TestRegisteredInAnUnknownForm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newSite(t, ageZone, &registry{}, month)
		if err := st.env.Store.Put(t.Context(), "sender:registered:young.net", []byte("2026-11-16"), day); err != nil {
			t.Fatal(err)
		}
		_, _ = st.ask(t, "a@young.net")
		if got, err := st.ask(t, "a@young.net"); got != "domain-new" || err != nil {
			t.Errorf("the second mail got %q, %v", got, err)
		}
	})
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
			t.Errorf("%d domains are asked about at a time, want 50", r.calls.Load())
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
			t.Errorf("new_domain is on by default: %q, %v", got, err)
		}
		none := newSite(t, ageZone, nil, month)
		if got, err := none.ask(t, "a@young.net"); got != "" || err != nil {
			t.Errorf("without a registry: %q, %v", got, err)
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
			r := checktest.Session{Client: "192.0.2.10", MailFrom: from, Time: st.now}.Request(t)
			vs, err := checktest.Ask(t, sender.Info, st.check, r)
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
			t.Errorf("%v, asked %d times about a domain whose MX lookup failed", err, r.calls.Load())
		}
		st.env.Store.(*checktest.Store).Fail(errors.New("outage"))
		if got, err := st.ask(t, "a@young.net"); got != "" || err == nil || r.calls.Load() > 0 {
			t.Errorf("without the store: %q, %v, asked %d times", got, err, r.calls.Load())
		}
	})
}
