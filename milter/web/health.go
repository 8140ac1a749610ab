package web

import (
	"fmt"
	"net/http"
	"strings"
)

// Health answers requests for /healthz and /readyz. /healthz always has status 200. /readyz has status 503 and one problem a
// line while there are problems, else status 200. A line for each warning follows. The daemon serves mail in either case.
func Health(problems, warnings func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, problems(), warnings()) })
	return mux
}

func answer(w http.ResponseWriter, problems, warnings []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if len(problems) == 0 {
		problems = []string{"ok"}
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, strings.Join(problems, "\n"))
	for _, warning := range warnings {
		fmt.Fprintln(w, "warning: "+warning)
	}
}
