package web

import (
	"net/http/httptest"
	"testing"
)

// TestHealth tests the answers of the health pages with and without problems.
func TestHealth(t *testing.T) {
	t.Parallel()
	var problems, warnings []string
	h := Health(func() []string { return problems }, func() []string { return warnings })
	for _, c := range []struct {
		name, path string
		problems   []string
		warnings   []string
		code       int
		body       string
	}{
		{"alive", "/healthz", []string{"the store is down"}, []string{"a proxy"}, 200, "ok\n"},
		{"ready", "/readyz", nil, nil, 200, "ok\n"},
		{"ready, with a warning", "/readyz", nil, []string{"a proxy"}, 200, "ok\nwarning: a proxy\n"},
		{"not ready, with a warning", "/readyz", []string{"the store is down"}, []string{"a proxy"}, 503, "the store is down\nwarning: a proxy\n"},
		{"not ready", "/readyz", []string{"the store is down", "the clock is wrong"}, nil, 503, "the store is down\nthe clock is wrong\n"},
		{"nothing else", "/", nil, nil, 404, "404 page not found\n"},
	} {
		problems, warnings = c.problems, c.warnings
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: got %d %q", c.name, w.Code, w.Body)
		}
	}
}
