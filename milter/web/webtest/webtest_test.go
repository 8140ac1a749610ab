package webtest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

// server serves pages with everything that tests look for.
func server(t *testing.T) *httptest.Server {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/bad":
			_, _ = w.Write([]byte(`<!doctype html><title>bad</title><body><img src="http://elsewhere.example/x.png">
				<p style="color:#ccc;background:#fff">pale</p><p style="width:3000px">wide</p>
				<script>alert("ran"); console.log("x"); nothing()</script>`))
		case "/guarded":
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
			_, _ = w.Write([]byte(`<!doctype html><title>guarded</title><script>alert("ran")</script>`))
		case "/form":
			_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>form</title><meta name="viewport" content="width=device-width">
				<style>@media (prefers-color-scheme: dark) and (max-width: 500px) { h1::after { content: "at night" } }</style>
				<main><h1>Form</h1><form method="post"><button>Go</button></form></main>`))
		}
		if r.Method == http.MethodPost {
			_, _ = w.Write([]byte(`<p id=done>gone</p>`))
		}
	}))
	t.Cleanup(site.Close)
	return site
}

// TestFaultsAreFound opens a page with scripts, a request to another host, and violations of the guidelines.
func TestFaultsAreFound(t *testing.T) {
	Require(t)
	site := server(t)
	bad := Start(t).Tab(t)
	if code := bad.Open(site.URL + "/bad"); code != 200 {
		t.Error(code)
	}
	for _, want := range []string{"dialog: ran", "console.log", "exception: "} {
		if !slices.ContainsFunc(bad.Ran(), func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no %q in %q", want, bad.Ran())
		}
	}
	if !slices.Contains(bad.Sent(), "http://elsewhere.example/x.png") {
		t.Errorf("requests: %q", bad.Sent())
	}
	var rules []string
	for _, c := range bad.Axe() {
		rules = append(rules, c.Rule)
	}
	for _, want := range []string{"image-alt", "color-contrast", "html-has-lang"} {
		if !slices.Contains(rules, want) {
			t.Errorf("axe-core finds %v, not %s", rules, want)
		}
	}
	if len(bad.Axe("document-title")) != 0 {
		t.Error("a rule that was not requested, or that the page follows, has a complaint")
	}
	if over := bad.Overflow(); !slices.Contains(over, "p: wide") {
		t.Errorf("overflow: %q", over)
	}
}

// TestPolicyIsReported opens a page whose content security policy stops its script.
func TestPolicyIsReported(t *testing.T) {
	Require(t)
	site := server(t)
	guarded := Start(t).Tab(t)
	guarded.Open(site.URL + "/guarded")
	if ran := guarded.Ran(); len(ran) != 1 || !strings.HasPrefix(ran[0], "refused: ") {
		t.Errorf("ran: %q", ran)
	}
}

// TestForm opens a page without faults, changes its look, sends its form and takes a picture.
func TestForm(t *testing.T) {
	Require(t)
	site := server(t)
	form := Start(t).Tab(t)
	form.Look(Looks[3])
	form.Open(site.URL + "/form")
	if night := Evaluate[string](form, `getComputedStyle(document.querySelector("h1"), "::after").content`); night != `"at night"` {
		t.Errorf("look: %s", night)
	}
	if c := form.Axe(); len(c) != 0 {
		t.Errorf("axe-core: %+v", c)
	}
	if code := form.Click("button"); code != 200 || form.Text("#done") != "gone" || form.Address().Path != "/form" {
		t.Errorf("click: %d, %q at %s", code, form.Text("body"), form.Address())
	}
	dir := t.TempDir()
	t.Setenv("MILTERD_SCREENSHOTS", dir)
	form.Screenshot("form")
	if info, err := os.Stat(dir + "/form.png"); err != nil || info.Size() < 500 {
		t.Error(err)
	}
	if ran := form.Ran(); len(ran) != 0 {
		t.Errorf("ran: %q", ran)
	}
}

// TestBrowserLeavesNoFiles looks for temporary files after the test of a browser.
func TestBrowserLeavesNoFiles(t *testing.T) {
	Require(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Run("browser", func(t *testing.T) { Start(t).Tab(t) })
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}
