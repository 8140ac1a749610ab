package web

import (
	"net/http/httptest"
	"testing"
)

// TestHealth tests the answers of the health pages with and without problems.
func TestHealth(t *testing.T) {
	t.Parallel()
	var problems []string
	h := Health(func() []string { return problems })
	for _, c := range []struct {
		name, path string
		problems   []string
		code       int
		body       string
	}{
		{"alive", "/healthz", []string{"the store is down"}, 200, "ok\n"},
		{"ready", "/readyz", nil, 200, "ok\n"},
		{"not ready", "/readyz", []string{"the store is down", "the clock is wrong"}, 503, "the store is down\nthe clock is wrong\n"},
		{"nothing else", "/", nil, 404, "404 page not found\n"},
	} {
		problems = c.problems
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: got %d %q", c.name, w.Code, w.Body)
		}
	}
}
