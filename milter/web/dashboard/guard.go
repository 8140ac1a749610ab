package dashboard

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"milterd/milter/web"
)

// Guard restricts access to the operator's pages. It rejects forms that pages of other sites send, with or without a
// password.
type Guard struct {
	// Password is required by HTTP basic authentication (RFC 7617) with any user name. If it is empty, everybody who reaches
	// the listener, which is on loopback, is the operator.
	Password string
	// Host returns the name that the Host header field may have if there is no password, beside addresses and localhost. Other
	// names are refused because an attacker can point a name to 127.0.0.1 (DNS rebinding).
	Host func() string

	now func() time.Time // set by tests; nil: time.Now
}

// contentPolicy is the content security policy of the pages.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Limits of wrong passwords. A client, for IPv6 its /64, may enter wrongPasswords at once, and one more after each
// interval refillWrong. That is enough for typing errors, and too few to try a list of words.
const (
	wrongPasswords = 10
	refillWrong    = 6 * time.Second
	maxGuessers    = 10_000 // clients that are counted; a further one is refused until one of them is no longer counted
)

// Protect returns a handler that serves pages to the operator only. It sets the security headers of all answers.
func (g Guard) Protect(pages http.Handler) http.Handler {
	if g.now == nil {
		g.now = time.Now
	}
	pages = http.NewCrossOriginProtection().Handler(pages)
	allow := g.checkHost
	if g.Password != "" {
		guesses := &guesses{now: g.now, clients: web.Buckets[netip.Addr]{}}
		want := sha256.Sum256([]byte(g.Password))
		allow = func(w http.ResponseWriter, r *http.Request) bool { return checkPassword(w, r, want, guesses) }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.SetSecurityHeaders(w.Header(), contentPolicy)
		w.Header().Set("Referrer-Policy", "same-origin") // without it, old browsers send forms with "Origin: null"
		if allow(w, r) {
			pages.ServeHTTP(w, r)
		}
	})
}

// checkHost reports whether the Host header field names this machine. If not, it sends the answer.
func (g Guard) checkHost(w http.ResponseWriter, r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err == nil || host == "localhost" || host == g.Host() {
		return true
	}
	http.Error(w, fmt.Sprintf("The host %q is not allowed. Open the operator's pages by IP address, as localhost, or by the configured hostname.\n"+
		"A proxy on this machine can send \"Host: localhost\".", web.Shown(host)), http.StatusMisdirectedRequest)
	return false
}

// checkPassword reports whether the request has the password with the hash want. If not, it sends the answer.
func checkPassword(w http.ResponseWriter, r *http.Request, want [sha256.Size]byte, guesses *guesses) bool {
	_, password, given := r.BasicAuth()
	client := clientOf(r)
	if given && !guesses.allowed(client) {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "Too many wrong passwords. Try again in a minute.", http.StatusTooManyRequests)
		return false
	}
	got := sha256.Sum256([]byte(password)) // the comparison must not depend on the length
	if given && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
		return true
	}
	if given {
		guesses.add(client)
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="milterd", charset="UTF-8"`)
	http.Error(w, "Password required: enter admin.password of milterd's configuration, with any user name.", http.StatusUnauthorized)
	return false
}

// clientOf returns the client's address, for IPv6 the first of its /64, which usually belongs to one customer. It returns the
// zero address if the server did not set RemoteAddr.
func clientOf(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := a.Addr().Unmap().WithZone("")
	if p, err := addr.Prefix(64); err == nil && addr.Is6() {
		return p.Addr()
	}
	return addr
}

var guessRate = web.Rate{Burst: wrongPasswords, Interval: refillWrong}

// guesses counts wrong passwords by client. It is safe for concurrent use.
type guesses struct {
	now func() time.Time

	mu      sync.Mutex
	clients web.Buckets[netip.Addr]
}

// allowed reports whether a client may try a password.
func (g *guesses) allowed(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.clients[client]; !known && len(g.clients) >= maxGuessers {
		if g.clients.Prune(guessRate, g.now()); len(g.clients) >= maxGuessers {
			return false
		}
	}
	return g.clients[client].Allows(guessRate, g.now())
}

// add counts a wrong password.
func (g *guesses) add(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clients.Add(client, guessRate, g.now())
}
