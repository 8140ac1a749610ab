package dashboard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
)

// guarded is a page behind a guard. It tells of every request that came through.
func guarded(g Guard) (http.Handler, *int) {
	through := new(int)
	return g.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*through++
		fmt.Fprint(w, "secret")
	})), through
}

func TestGuardLetsTheOperatorIn(t *testing.T) {
	t.Parallel()
	const password = "correct horse: ü"
	for _, c := range []struct {
		name, password, method, host string
		change                       func(*http.Request)
		code                         int
	}{
		{"by address", "", "GET", "127.0.0.1:8893", nil, 200},
		{"by IPv6 address", "", "GET", "[::1]:8893", nil, 200},
		{"by another address", "", "GET", "192.0.2.1", nil, 200},
		{"as localhost", "", "GET", "localhost:8893", nil, 200},
		{"by the hostname", "", "GET", "MX.example.org.", nil, 200},
		{"rebound name", "", "GET", "evil.example:8893", nil, 421},
		{"name below localhost's", "", "GET", "localhost.evil.example", nil, 421},
		{"name with an address in it", "", "GET", "127.0.0.1.evil.example", nil, 421},
		{"no host", "", "GET", "", nil, 421},
		{"rebound form", "", "POST", "evil.example:8893", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example:8893") }, 421},

		{"form of ours", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 200},
		{"form of ours in an old browser", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Origin", "http://localhost:8893") }, 200},
		{"program", "", "POST", "localhost:8893", nil, 200},
		{"form of another site", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"form of another port", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		{"form of another site in an old browser", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		{"form of nowhere", "", "POST", "localhost:8893", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		{"link of another site", "", "GET", "localhost:8893", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 200},

		{"no password", password, "GET", "localhost", nil, 401},
		{"right password", password, "GET", "admin.example", func(r *http.Request) { r.SetBasicAuth("anybody", password) }, 200},
		{"right password, no user", password, "POST", "admin.example", func(r *http.Request) { r.SetBasicAuth("", password) }, 200},
		{"wrong password", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth("admin", "Correct horse: ü") }, 401},
		{"beginning of it", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth("admin", "correct horse") }, 401},
		{"empty one", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth("admin", "") }, 401},
		{"password as user", password, "GET", "localhost", func(r *http.Request) { r.SetBasicAuth(password, "") }, 401},
		{"nonsense", password, "GET", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Basic !!!") }, 401},
		{"another scheme", password, "GET", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+password) }, 401},
		{"right password, form of another site", password, "POST", "localhost", func(r *http.Request) {
			r.SetBasicAuth("admin", password)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, through := guarded(Guard{Password: c.password, Hosts: []string{"mx.example.org"}})
			r := httptest.NewRequest(c.method, "/", nil)
			r.Host = c.host
			if c.change != nil {
				c.change(r)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.code || (w.Code == 200) != (*through == 1) || (w.Code == 200) != (w.Body.String() == "secret") {
				t.Errorf("%d %q, %d through", w.Code, w.Body, *through)
			}
			if (w.Code == 401) != strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%v", w.Header())
			}
			if w.Header().Get("Content-Security-Policy") != Policy || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v", w.Header())
			}
		})
	}
}

func TestGuardBoundsGuesses(t *testing.T) {
	t.Parallel()
	now := checktest.Now
	h, _ := guarded(Guard{Password: "right", Now: func() time.Time { return now }})
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
		t.Errorf("a guess too many: %d", code)
	}
	if code := try(other, "right"); code != 200 {
		t.Errorf("somebody else: %d", code)
	}
	now = now.Add(refillWrong)
	if a, b, c := try(guesser, "wrong"), try(guesser, "right"), try(other, "right"); a != 401 || b != 429 || c != 200 {
		t.Errorf("after a while: %d %d %d", a, b, c)
	}
	now = now.Add(wrongPasswords * refillWrong)
	for range 3 * wrongPasswords { // the right one is never too many
		if code := try(guesser, "right"); code != 200 {
			t.Errorf("later: %d", code)
		}
	}
}
