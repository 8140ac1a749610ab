package dashboard

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

// TestBlocks tests the list, the search and the forms of the page.
func TestBlocks(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	site.get("/blocks").Has(t, "Sat 21 Nov 12:59:00 in 59 min", "203.0.113.7", "naming too many unknown recipients block no. 1, since 2026-11-21 11:59:00",
		"2001:db8:1::/64", "the spam run by hand, since 2026-11-21 12:00:00, nothing refused yet")
	for what, found := range map[string]string{
		"203.0.113.7": "4", "203.0.113.0/24": "4", "2001:db8:1::9": "6", "2001:db8::/32": "6", "SPAM": "6", "recipients": "4", "203.0": "4", "2001:DB8": "6", "192.0.2.1": "", "::/0": "6",
	} {
		text := site.get("/blocks?what=" + url.QueryEscape(what)).Body.String()
		_, text, _ = strings.Cut(text, "data-live")
		if strings.Contains(text, "203.0.113.7") != strings.Contains(found, "4") || strings.Contains(text, "2001:db8:1::/64") != strings.Contains(found, "6") {
			t.Errorf("%s: want %q: %s", what, found, text)
		}
	}
	if p := site.get("/blocks?client=192.0.2.9"); !strings.Contains(p.Body.String(), `name="client" value="192.0.2.9"`) {
		t.Error("the link does not fill in the form")
	}
	site.follow(site.post("/blocks", "do", "add", "client", "192.0.2.9", "for", "4h", "why", "spam")).Has(t, "Done: block 192.0.2.9 4h spam. Undo")
	site.follow(site.post("/blocks?what=203", "do", "remove", "client", "203.0.113.7")).Has(t, "Done: unblock 203.0.113.7. Undo")
	site.operator.wantChanges(t, "block 192.0.2.9 4h spam", "unblock 203.0.113.7")
	site.operator.changeErr = errors.New("no address")
	p := site.post("/blocks", "do", "add", "client", "192.0.2.300", "for", "4h", "why", "because")
	p.Has(t, "Nothing was changed: no address")
	for _, want := range []string{`value="192.0.2.300"`, `value="because"`, `<option value="4h" selected>`} {
		if p.Code != 422 || !strings.Contains(p.Body.String(), want) {
			t.Errorf("%d: no %s", p.Code, want)
		}
	}
}
