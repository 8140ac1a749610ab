package dashboard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/milter/web"
)

// guarded returns a page behind a Guard, and the number of requests that it has served.
func guarded(g Guard) (http.Handler, *int) {
	served := new(int)
	return g.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*served++
		fmt.Fprint(w, "secret")
	})), served
}

// guardCase is a request and the status code of its answer.
type guardCase struct {
	name, password, method, host string
	change                       func(*http.Request)
	code                         int
}

// hostCases are requests without a configured password.
func hostCases() []guardCase {
	return []guardCase{
		{"by address", "", "GET", "127.0.0.1:8893", nil, 200},
		{"by IPv6 address", "", "GET", "[::1]:8893", nil, 200},
		{"by another address", "", "GET", "192.0.2.1", nil, 200},
		{"as localhost", "", "GET", "localhost:8893", nil, 200},
		{"by the hostname", "", "GET", "MX.example.org.", nil, 200},
		{"name of an attacker", "", "GET", "evil.example:8893", nil, 421},
		{"name below localhost's", "", "GET", "localhost.evil.example", nil, 421},
		{"name with an address in it", "", "GET", "127.0.0.1.evil.example", nil, 421},
		{"no host", "", "GET", "", nil, 421},
		{"form with the name of an attacker", "", "POST", "evil.example:8893", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example:8893") }, 421},

		{"form of the same site", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 200},
		{"form of the same site in an old browser", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Origin", "http://localhost:8893") }, 200},
		{"program without browser headers", "", "POST", "localhost:8893", nil, 200},
		{"form of another site", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"form of another port", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		{"form of another site in an old browser", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		{"form of an unknown origin", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		{"link of another site", "", "GET", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 200},
	}
}

// passwordCases are requests with a configured password.
func passwordCases() []guardCase {
	const password = "correct horse: ü"
	return []guardCase{
		{"no password", password, "GET", "localhost", nil, 401},
		{"right password", password, "GET", "admin.example", func(r *http.Request) { r.SetBasicAuth("anybody", password) }, 200},
		{"right password, no user", password, "POST", "admin.example", func(r *http.Request) { r.SetBasicAuth("", password) }, 200},
		{"wrong password", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth("admin", "Correct horse: ü") }, 401},
		{"beginning of the password", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth("admin", "correct horse") }, 401},
		{"empty password", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth("admin", "") }, 401},
		{"password as user", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth(password, "") }, 401},
		{"invalid credentials", password, "GET", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Basic !!!") }, 401},
		{"another authentication scheme", password, "GET", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+password) }, 401},
		{"right password, form of another site", password, "POST", "localhost", func(r *http.Request) {
			r.SetBasicAuth("admin", password)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}, 403},
	}
}

// TestGuard sends requests with and without a password, from the same and from other sites.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, c := range append(hostCases(), passwordCases()...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, served := guarded(Guard{Password: c.password, Host: func() string { return "mx.example.org" }})
			r := httptest.NewRequest(c.method, "/", nil)
			r.Host = c.host
			if c.change != nil {
				c.change(r)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.code || (w.Code == 200) != (*served == 1) || (w.Code == 200) != (w.Body.String() == "secret") {
				t.Errorf("%d %q, %d requests served", w.Code, w.Body, *served)
			}
			if (w.Code == 401) != strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%v", w.Header())
			}
			if w.Header().Get("Content-Security-policy") != contentPolicy || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v", w.Header())
			}
		})
	}
}

// TestGuardLimitsWrongPasswords enters wrong passwords from addresses of one /64.
func TestGuardLimitsWrongPasswords(t *testing.T) {
	t.Parallel()
	now := checktest.Now
	h, _ := guarded(Guard{Password: "right", now: func() time.Time { return now }})
	try := func(client, password string) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = client
		r.SetBasicAuth("admin", password)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	const guesser, other = "[2001:db8::1]:1", "[2001:db8:0:1::1]:1"
	for i := range wrongPasswords {
		if code := try(fmt.Sprintf("[2001:db8::%x]:1", i+1), "wrong"); code != 401 {
			t.Fatalf("guess %d: %d", i, code)
		}
	}
	if code := try(guesser, "right"); code != 429 {
		t.Errorf("after the last allowed guess: %d", code)
	}
	if code := try(other, "right"); code != 200 {
		t.Errorf("another client: %d", code)
	}
	now = now.Add(refillWrong)
	if a, b, c := try(guesser, "wrong"), try(guesser, "right"), try(other, "right"); a != 401 || b != 429 || c != 200 {
		t.Errorf("after one interval: %d %d %d", a, b, c)
	}
	now = now.Add(wrongPasswords * refillWrong)
	for range 3 * wrongPasswords { // the right password is not limited
		if code := try(guesser, "right"); code != 200 {
			t.Errorf("after all intervals: %d", code)
		}
	}
}

// TestManyGuessers tests that a new client waits while too many others enter wrong passwords, and not for longer.
func TestManyGuessers(t *testing.T) {
	t.Parallel()
	now := checktest.Now
	g := &guesses{now: func() time.Time { return now }, clients: web.Buckets[netip.Addr]{}}
	for i := range maxGuessers {
		b := web.Bucket{}
		b.Add(guessRate, now)
		g.clients[netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})] = b
	}
	operator := netip.MustParseAddr("192.0.2.9")
	if g.allowed(operator) {
		t.Error("more clients than the limit")
	}
	now = now.Add(refillWrong)
	if !g.allowed(operator) {
		t.Error("the new client waits too long")
	}
}
