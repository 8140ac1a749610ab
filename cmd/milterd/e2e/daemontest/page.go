package daemontest

import (
	"html"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"milterd/milter/miltertest"
)

// Get returns the status and the body of a page.
func Get(t testing.TB, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: miltertest.WaitTimeout}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var tag = regexp.MustCompile(`<[^>]*>`)

// GetText returns the status and the text of an HTML page, without its tags.
func GetText(t testing.TB, url string) (status int, text string) {
	t.Helper()
	status, body := Get(t, url)
	return status, html.UnescapeString(tag.ReplaceAllString(body, ""))
}

// Metric returns a metric without labels from the page at url.
func Metric(t testing.TB, url, name string) float64 {
	t.Helper()
	_, page := Get(t, url)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("%s does not have %s", url, name)
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
