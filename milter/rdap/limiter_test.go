package rdap

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, answers(200, good))
	for _, c := range []struct {
		name   string
		to     string
		public bool // loopback counts as public
		err    string
	}{
		{name: "to a registry", to: elsewhere + "/domain/example.net", public: true},
		{name: "within the configured server, which has a private address", to: "/other/domain/example.net"},
		{name: "to a private address", to: elsewhere + "/domain/example.net", err: "not public"},
		{name: "to a private address by name", to: strings.Replace(elsewhere, "127.0.0.1", "localhost", 1) + "/domain/example.net", err: "not public"},
		{name: "to the same server under another name", to: "http://localhost/domain/example.net", err: "not public"},
		{name: "in a loop", to: "/domain/example.net", err: "redirects"},
		{name: "to a file", to: "file:///etc/passwd", err: `redirect to "file"`},
		{name: "without a target", to: "", err: "302"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/other/") {
					answers(200, good)(w, r)
					return
				}
				answers(302, "", "Location", c.to)(w, r)
			})
			l.restart(func(a netip.Addr) bool { return c.public && a.IsLoopback() })
			at, err := l.Registered(t.Context(), l.url, "example.net")
			if at.IsZero() != (c.err != "") || err != nil && (c.err == "" || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, %v, want %q", at, err, c.err)
			}
		})
	}
}

// TestListedPrivateAddress shows that the list cannot send requests into the private network.
func TestListedPrivateAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t, answers(200, good))
	l.list.Store(`{"services":[[["com"],["http://127.0.0.1:1/"]],[["net"],["REGISTRY/"]]]}`)
	allowed := netip.Addr.IsLoopback
	l.restart(func(a netip.Addr) bool { return allowed(a) })
	if _, err := l.Registered(t.Context(), "", "example.com"); err == nil || !strings.Contains(err.Error(), "refused") { // the list is known now
		t.Fatal(err)
	}
	allowed = public
	if _, err := l.Registered(t.Context(), "", "example.net"); err == nil || !strings.Contains(err.Error(), "not public") || l.asked.Load() > 0 {
		t.Errorf("error %v, %d requests", err, l.asked.Load())
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		status      int
		want        time.Duration
	}{
		{"seconds", "120", 429, 2 * time.Minute},
		{"a date", "Sat, 21 Nov 2026 12:30:00 GMT", 429, 30 * time.Minute},
		{"a date in the past", "Sat, 21 Nov 2026 11:30:00 GMT", 429, time.Second},
		{"no field", "", 429, defaultBackoff},
		{"not a number", "soon", 429, defaultBackoff},
		{"negative", "-5", 429, defaultBackoff},
		{"a year", "31536000", 429, maxBackoff},
		{"too large a number", "99999999999999999999", 429, defaultBackoff},
		{"an overloaded server", "300", 503, 5 * time.Minute},
		{"a server that forbids access", "", 403, defaultBackoff},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			refusing := true
			l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
				if refusing {
					w.Header().Set("Retry-After", c.value)
					w.WriteHeader(c.status)
					return
				}
				answers(200, good)(w, r)
			})
			ask := func() error {
				_, err := l.Registered(t.Context(), "", "example.net")
				return err
			}
			if err := ask(); err == nil || l.asked.Load() != 1 {
				t.Fatalf("error %v", err)
			}
			refusing = false
			l.clock.Advance(c.want - time.Second)
			l.restart(netip.Addr.IsLoopback) // the state is in the store
			if c.want > time.Second {
				if err := ask(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(c.status)) || l.asked.Load() != 1 {
					t.Errorf("during the pause: error %v, %d requests", err, l.asked.Load())
				}
			}
			l.clock.Advance(time.Second)
			if err := ask(); err != nil || l.asked.Load() != 2 {
				t.Errorf("after the pause: error %v, %d requests", err, l.asked.Load())
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	l := newLab(t, answers(404, ""))
	refused := 0
	for i := range 3 * perMinute {
		if _, err := l.Registered(t.Context(), "", fmt.Sprintf("example%d.net", i)); err != nil {
			refused++
		}
		if i == perMinute {
			l.restart(netip.Addr.IsLoopback)
		}
	}
	if l.asked.Load() != perMinute || refused != 2*perMinute {
		t.Errorf("%d requests, %d refused", l.asked.Load(), refused)
	}
	other := serve(t, answers(404, ""))
	if _, err := l.Registered(t.Context(), other, "example.net"); err != nil {
		t.Errorf("another registry: %v", err)
	}
	l.clock.Advance(time.Minute)
	if _, err := l.Registered(t.Context(), "", "example.net"); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// TestUnreachable shows that a host that cannot be reached is not tried for each mail.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	l := newLab(t, answers(404, ""))
	const unreachable = "http://127.0.0.1:1"
	_, first := l.Registered(t.Context(), unreachable, "example.net")
	_, second := l.Registered(t.Context(), unreachable, "example.com")
	if first == nil || second == nil || !strings.Contains(first.Error(), "refused") || !strings.Contains(second.Error(), "it did not answer") {
		t.Errorf("got %v, then %v", first, second)
	}
	l.clock.Advance(unreachableBackoff)
	if _, err := l.Registered(t.Context(), unreachable, "example.com"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("after the pause: %v", err)
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"192.0.46.9": true, "2620:0:2d0:200::9": true, "64:ff9b::c000:2e09": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false,
		"::": false, "::1": false, "fe80::1": false, "fd00::1": false, "ff02::1": false, "64:ff9b::7f00:1": false, "64:ff9b::a00:1": false,
		"2002:7f00:1::": false, "::10.0.0.1": false, "::ffff:0:10.0.0.1": false, "2001:0:1::1": false,
	} {
		if got := public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}
