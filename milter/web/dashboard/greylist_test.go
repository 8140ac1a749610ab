package dashboard

import (
	"errors"
	"strings"
	"testing"

	"milterd/checks"
)

// TestGreylist tests the lists, the search and the forms of the page.
func TestGreylist(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	p := site.get("/greylist")
	p.Has(t, "waiting 1", "passed 1", "gone 0", "waiting rdns-missing 1 attempt, first at 2026-11-21 11:58:00, expires in 47 h 0 min", "<ann@example.com>", "to → <bob@example.org>",
		"3 attempts", "<>", "example.net 192.0.2.0/24 192.0.2.7 5", "never example.org 0 passes allowed by hand")
	if strings.Index(p.Text, "3 attempts") > strings.Index(p.Text, "1 attempt,") {
		t.Error("the latest delivery is not the first")
	}
	one := site.get("/greylist?what=ann@example.com")
	one.Has(t, "<ann@example.com>", "No client matches the search.")
	one.Lacks(t, "3 attempts")

	site.operator.err = checks.BadArgument("%q is not an address, network, domain or mailbox", "a b c")
	bad := site.get("/greylist?what=a+b+c")
	bad.Has(t, `Nothing was searched: "a b c" is not an address`)
	if bad.Lacks(t, "did not answer", "matches the search"); bad.Code != 422 {
		t.Errorf("a search for nonsense: %d", bad.Code)
	}
	site.operator.err = nil

	after := site.follow(site.post("/greylist?what=ann", "do", "allow", "client", "192.0.2.0/24"))
	after.Has(t, "192.0.2.0/24 is allowed: its mail is no longer greylisted.", "<ann@example.com>")
	after.Lacks(t, "3 attempts")
	site.follow(site.post("/greylist", "do", "forget", "client", "example.net 192.0.2.0/24")).Has(t, "Done: forget example.net 192.0.2.0/24. Undo", "3 attempts")
	site.operator.wantChanges(t, "allow 192.0.2.0/24", "forget example.net 192.0.2.0/24")

	site.operator.changeErr = errors.New("no client")
	if p := site.post("/greylist", "do", "allow", "client", "example"); p.Code != 422 || !strings.Contains(p.Body.String(), `value="example"`) {
		t.Errorf("%d: %s", p.Code, p.Body)
	}
	site.operator.wantChanges(t)
}
