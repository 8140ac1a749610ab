package dashboard

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
)

// TestRefusalsAreFiltered tests which decisions each filter shows, and that the form keeps the filter.
func TestRefusalsAreFiltered(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	site.get("/refusals?action=reject").Has(t, "Refusals · milterd")
	site.get("/refusals?action=all").Has(t, "Decisions · milterd") // not all of them are refusals
	all := map[string]string{
		"none": "h7.example.net", "missing": "has no reverse DNS name", "grey": "greylisted for 180 s more", "six": "2001:db8::5", "good": "198.51.100.3",
	}
	for query, want := range map[string]string{
		"":                              "missing grey",
		"sender=ann@example.com":        "missing grey",
		"sender=example.com&action=all": "missing grey good",
		"sender=%3C%3E&action=all":      "none",
		"rcpt=bob@example.org":          "missing",
		"rcpt=bob@example.org&action=all&since=1h":        "missing six",
		"client=192.0.2.0/24":                             "missing grey",
		"client=2001:db8::5&action=all":                   "six",
		"client=example.net&action=all":                   "none six",
		"reason=rdns-missing":                             "missing",
		"reason=helo-mismatch&action=all":                 "missing",
		"action=reject":                                   "missing",
		"action=tempfail":                                 "grey",
		"action=greylist":                                 "six",
		"action=watch":                                    "none",
		"action=accept":                                   "good",
		"action=all&since=24h":                            "none missing grey six good",
		"action=nonsense&since=nonsense&before=-1&zzz=1":  "missing grey",
		"sender=nobody@example.com":                       "",
		"sender=ann@example.com&reason=greylisted&rcpt=x": "",
	} {
		t.Run(query, func(t *testing.T) {
			p := site.get("/refusals?" + query)
			if p.Code != 200 {
				t.Fatal(p.Code)
			}
			for name, says := range all {
				_, table, _ := strings.Cut(p.Body.String(), "<tbody>")
				if got, want := strings.Contains(table, says), slices.Contains(strings.Fields(want), name); got != want {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
			}
		})
	}
	body := site.get("/refusals?sender=ann@example.com&action=tempfail&since=24h").Body.String()
	for _, want := range []string{`name="sender" value="ann@example.com"`, `<option value="tempfail" selected>`, `<option value="24h" selected>`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestRefusalsHavePages tests the links to older and to the newest decisions.
func TestRefusalsHavePages(t *testing.T) {
	t.Parallel()
	site := newTestSite(t, nil)
	o := outcome(t, "rdns-missing", checks.Reject, "x")
	for i := range decisionsPerPage + 10 {
		site.decide(newSession(100-i, "192.0.2.9", "h", fmt.Sprintf("a%d@example.com", i), "bob@example.org"), nil, o)
	}
	p := site.get("/refusals?client=192.0.2.9")
	p.Has(t, fmt.Sprintf("<a%d@example.com>", decisionsPerPage+9), "<a10@example.com>")
	p.Lacks(t, "&lt;a9@", "Newest")
	m := regexp.MustCompile(`href="(refusals\?[^"]*)" rel="next"`).FindStringSubmatch(p.Body.String())
	if m == nil {
		t.Fatal("no link to older decisions")
	}
	older := site.get("/" + html.UnescapeString(m[1]))
	older.Has(t, "<a9@example.com>", "<a0@example.com>", "Newest")
	older.Lacks(t, "&lt;a10@", `rel="next"`, "data-refresh")
	if !strings.Contains(older.Body.String(), `name="client" value="192.0.2.9"`) {
		t.Error("the filter is lost")
	}
	if !strings.Contains(p.Body.String(), `data-refresh="`) {
		t.Error("the first page is not live")
	}
}
