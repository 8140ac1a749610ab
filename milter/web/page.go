package web

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
	"slices"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// SetSecurityHeaders sets the headers that protect the pages of both sites. policy is the content security policy.
func SetSecurityHeaders(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address of a page may hold a reference, which is secret
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// WritePage sends a page of HTML with the given Cache-Control header.
func WritePage(w http.ResponseWriter, code int, cacheControl string, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", cacheControl)
	w.WriteHeader(code)
	_, _ = w.Write(page) // fails if the client closed the connection
}

// Static returns a handler that sends a file of the site, which browsers may keep for 5 minutes.
func Static(contentType string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType+"; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(content)
	}
}

//go:embed base.css
var baseStyle []byte

// Stylesheet returns a handler that sends the style that both sites share, followed by the style of one site.
func Stylesheet(own []byte) http.HandlerFunc {
	return Static("text/css", slices.Concat(baseStyle, own))
}

// maxShown is how many bytes of a value from outside a page shows.
const maxShown = 320

// Shown makes a value from outside readable: printable ASCII of at most 320 bytes. The templates escape it.
func Shown(value string) string { return checks.Clean(value, maxShown) }

// Warn logs an error that occurred while making a page. It ignores errors that are due to the client closing the connection.
// log may be nil.
func Warn(log *logrus.Entry, what string, err error) {
	if log != nil && !errors.Is(err, context.Canceled) {
		log.WithError(err).Warn(what)
	}
}
