package dashboard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"milterd/milter/web"
)

// Guard lets nobody but the operator in. Changes from pages of other sites are refused in any case.
type Guard struct {
	// Password is wanted by HTTP Basic authentication (RFC 7617), with any user name. Empty: none is. Then whoever reaches the
	// listener, which is on loopback, is the operator or the operator's proxy.
	Password string
	// Hosts are names as which the pages may be asked for without a password, beside addresses and localhost: a page of
	// somebody else whose name suddenly leads to 127.0.0.1 (DNS rebinding) has another one.
	Hosts []string
	Now   func() time.Time // nil: time.Now
}

// How often a password may be wrong: enough for fingers, too little for a list of words.
const (
	wrongPasswords = 10 // at once, and then
	refillWrong    = 6 * time.Second
	manyGuessers   = 10_000 // beyond them nobody new may guess, until some are forgotten
)

// Protect puts the guard before pages. It sets what every answer of theirs has.
func (g Guard) Protect(pages http.Handler) http.Handler {
	if g.Now == nil {
		g.Now = time.Now
	}
	want := sha256.Sum256([]byte(g.Password))
	guesses := &guesses{now: g.Now, each: web.Buckets[netip.Addr]{}}
	inner := http.NewCrossOriginProtection().Handler(pages)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.SetSecurityHeaders(w.Header(), Policy)
		w.Header().Set("Referrer-Policy", "same-origin") // so that browsers say where a form comes from
		if g.Password == "" {
			if !g.known(r.Host) {
				http.Error(w, "These pages are for the operator of this machine. Ask for them by its address, as localhost, or by the configured hostname;\n"+
					"a proxy on the same machine may pass on \"Host: localhost\".", http.StatusMisdirectedRequest)
				return
			}
			inner.ServeHTTP(w, r)
			return
		}
		_, password, given := r.BasicAuth()
		client := clientOf(r)
		if given && !guesses.may(client) {
			w.Header().Set("Retry-After", "60")
			http.Error(w, "Too many wrong passwords. Try again in a minute.", http.StatusTooManyRequests)
			return
		}
		got := sha256.Sum256([]byte(password)) // of equal length, so that the time tells nothing
		if !given || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			if given {
				guesses.wrong(client)
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="milterd", charset="UTF-8"`)
			http.Error(w, "The password of milterd's configuration (admin.password) is wanted, with any user name.", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// known tells whether a Host field names this machine.
func (g Guard) known(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost" || slices.Contains(g.Hosts, host)
}

// clientOf is who asks, IPv6 by the network; the zero address if that cannot be told.
func clientOf(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	const network = 64 // bits, of which one customer has all addresses
	addr := a.Addr().Unmap().WithZone("")
	if p, err := addr.Prefix(network); err == nil && addr.Is6() {
		return p.Addr()
	}
	return addr
}

// guessRate limits wrong passwords.
var guessRate = web.Rate{Burst: wrongPasswords, Interval: refillWrong}

// guesses counts wrong passwords. It is safe for concurrent use.
type guesses struct {
	now func() time.Time

	mu   sync.Mutex
	each web.Buckets[netip.Addr]
}

// may tells whether a client may try a password.
func (g *guesses) may(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.each[client]; !known && len(g.each) >= manyGuessers {
		return false
	}
	return g.each.Allows(client, guessRate, g.now())
}

// wrong counts one.
func (g *guesses) wrong(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.each.Add(client, guessRate, g.now())
}
