// Package web is what the daemon tells over HTTP.
package web

import (
	"fmt"
	"net/http"
	"strings"
)

// Health answers at /healthz whether the process lives, and at /readyz whether everything it needs works: 200 with "ok", or
// 503 with the problems, one a line. Mail is served in either case: what does not work means that checks cannot find out.
func Health(problems func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, problems()) })
	return mux
}

func answer(w http.ResponseWriter, problems []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if len(problems) == 0 {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, strings.Join(problems, "\n"))
}
