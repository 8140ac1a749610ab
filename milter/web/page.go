package web

import (
	"net/http"

	"milterd/checks"
)

// SetSecurityHeaders sets the headers that protect every page of both sites, and their content security policy.
func SetSecurityHeaders(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address of a page may hold a reference, which is secret
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// MaxShown is how many bytes of a value from outside a page shows.
const MaxShown = 320

// Shown makes a value from outside readable: printable ASCII of at most MaxShown bytes. The templates escape it.
func Shown(value string) string { return checks.Clean(value, MaxShown) }
