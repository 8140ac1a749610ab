package webtest

import (
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// Page is an HTTP response to a test without a browser.
type Page struct {
	*httptest.ResponseRecorder
	Text string // visible text of the body, in one line
}

// Serve lets a handler answer a request.
func Serve(h http.Handler, r *http.Request) Page {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return Page{ResponseRecorder: w, Text: text(w.Body.String())}
}

// text removes the tags and unescapes the rest.
func text(body string) string {
	var b strings.Builder
	for i, part := range strings.Split(body, "<") {
		if _, after, ok := strings.Cut(part, ">"); ok && i > 0 {
			part = after
		}
		b.WriteString(part + " ")
	}
	return strings.Join(strings.Fields(html.UnescapeString(b.String())), " ")
}

// Has fails the test if a phrase is missing in the text.
func (p Page) Has(t testing.TB, phrases ...string) {
	t.Helper()
	for _, want := range phrases {
		if !strings.Contains(p.Text, want) {
			t.Errorf("no %q in: %s", want, p.Text)
		}
	}
}

// Lacks fails the test if a phrase is in the text or anywhere else in the body.
func (p Page) Lacks(t testing.TB, phrases ...string) {
	t.Helper()
	for _, never := range phrases {
		if strings.Contains(p.Text, never) || strings.Contains(p.Body.String(), never) {
			t.Errorf("%q in: %s", never, p.Text)
		}
	}
}

var (
	idAttribute  = regexp.MustCompile(` id="([^"]*)"`)
	ariaID       = regexp.MustCompile(`aria-(?:labelledby|describedby)="([^"]*)"`)
	headingLevel = regexp.MustCompile(`<h([1-6])`)
)

// WellFormed fails the test if the body lacks a landmark, has an id twice, refers to an unknown id, or skips a level of
// headings. Tab.Axe finds more, but needs a browser.
func (p Page) WellFormed(t testing.TB, name string) {
	t.Helper()
	body := p.Body.String()
	for _, want := range []string{`<html lang="en">`, `<meta name="viewport"`, "<header", "<main", "<footer", `href="#main"`} {
		if n := strings.Count(body, want); n != 1 {
			t.Errorf("%s: %s occurs %d times", name, want, n)
		}
	}
	if head, _, _ := strings.Cut(body, "<body>"); strings.Count(head, "<title>") != 1 {
		t.Errorf("%s: no title", name)
	}
	if n := strings.Count(body, "<h1>"); n != 1 {
		t.Errorf("%s: %d main headings", name, n)
	}
	ids := map[string]bool{}
	for _, m := range idAttribute.FindAllStringSubmatch(body, -1) {
		if ids[m[1]] {
			t.Errorf("%s: id %s occurs twice", name, m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range ariaID.FindAllStringSubmatch(body, -1) {
		if !ids[m[1]] {
			t.Errorf("%s: no element has the id %s", name, m[1])
		}
	}
	level := 1
	for _, m := range headingLevel.FindAllStringSubmatch(body, -1) {
		n := int(m[1][0] - '0')
		if n > level+1 {
			t.Errorf("%s: heading level %d follows level %d", name, n, level)
		}
		level = n
	}
}

// LongName is a host name of 504 bytes, twice the length that the DNS allows, for tests of the layout.
var LongName = strings.TrimSuffix(strings.Repeat("an-unusually-long-label-which-says-nothing.", 12), ".")[:504]
