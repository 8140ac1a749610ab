package dashboard

import (
	"errors"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
)

const sessionPath = "/session?id=session1&n=2"

// fullState is a state with everything that the page can show.
var fullState = State{
	Lists: []ListEntry{
		{List: "allow", Entry: "192.0.2.0/24", Until: checktest.Now.Add(48 * time.Hour), Why: "asked by phone"},
		{List: "deny", Entry: "@example.com", File: "/etc/milterd/deny.txt", Line: 7},
	},
	Blocks: []Block{
		{Client: "192.0.2.7", Until: checktest.Now.Add(time.Hour), Why: "too many errors"},
		{Client: "192.0.2.7", Sender: "example.com", Until: checktest.Now.Add(time.Hour), Why: "too many errors in mail from example.com"},
	},
	Greylisted: 3,
	Rates:      []Rate{{Text: "192.0.2.0/24 has sent to 2 of 50 recipients in an hour", Until: checktest.Now.Add(time.Hour), Key: "checks.rate.client"}},
	Domain:     "example.com",
	Good:       true,
}

// TestStateOfSession tests what the page of a session shows of lists, blocks and the greylist, and what its form offers.
func TestStateOfSession(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	p := site.get(sessionPath)
	p.Has(t, "List no entry for the client", "Block none · block the client", "Greylist no record of the client")
	for _, want := range []string{`<option value="192.0.2.9">Client`, `<option value="192.0.2.0/24">Network`, `<option value="@example.com">Domain`} {
		if !strings.Contains(p.Body.String(), want) {
			t.Errorf("the form does not offer %s", want)
		}
	}
	site.operator.state = fullState
	site.get(sessionPath).Has(t, "List allow 192.0.2.0/24 until 2026-11-23 12:00:00, asked by phone Remove",
		"List deny @example.com in /etc/milterd/deny.txt, line 7: edit the file to change it",
		"Block 192.0.2.7 until 2026-11-21 13:00:00 for too many errors Remove", "Greylist 3 records Forget",
		"192.0.2.0/24 has sent to 2 of 50 recipients in an hour, until 2026-11-21 13:00:00 to change it, edit checks.rate.client",
		"example.com is known as a good sender")
	site.operator.err = errOutage
	if p := site.get(sessionPath); p.Code != 503 {
		t.Errorf("without the store: %d", p.Code)
	}
}

// TestFormsOfSession tests the forms of the page of a session: what they change, that a change is undone once, also after a failure,
// and that many are not removed without a question.
func TestFormsOfSession(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	site.operator.state = fullState
	undo := func(page string) string {
		t.Helper()
		m := regexp.MustCompile(`action="undo"><input type="hidden" name="note" value="([A-Z0-9]+)">`).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no form to undo the change: %s", page)
		}
		return m[1]
	}
	after := site.follow(site.post(sessionPath, "do", "deny", "entry", "@example.com", "until", "2026-12-04", "why", "spam"))
	after.Has(t, "Done: deny @example.com 2026-12-04 spam. Undo", "Session session1")
	site.operator.changeErr = errors.New("the disk is full")
	failed := site.post("/undo", "note", undo(after.Body.String()))
	failed.Has(t, "The change was not undone", "Nothing was changed: the disk is full")
	site.operator.changeErr = nil
	id := undo(failed.Body.String())
	undone := site.follow(site.post("/undo", "note", id))
	undone.Has(t, "Undone: deny @example.com 2026-12-04 spam.", "Session session1")
	if strings.Contains(undone.Body.String(), `action="undo"`) {
		t.Error("what was undone can be undone again")
	}
	for _, id := range []string{id, "", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		if p := site.post("/undo", "note", id); p.Code != 410 {
			t.Errorf("undo %q: %d", id, p.Code)
		}
	}
	for _, fields := range [][]string{
		{"do", "allow", "entry", "192.0.2.7"}, {"do", "remove", "entry", "192.0.2.7"}, {"do", "unblock", "entry", "192.0.2.7", "sender", "example.com"}, {"do", "forget", "entry", "192.0.2.7"},
	} {
		site.follow(site.post(sessionPath, fields...)).Has(t, "Done: "+fields[1], "Undo")
	}
	site.operator.wantChanges(t, "deny @example.com 2026-12-04 spam", "undo deny @example.com 2026-12-04 spam", "allow 192.0.2.7  ",
		"remove 192.0.2.7", "unblock 192.0.2.7 example.com", "forget 192.0.2.7")

	asked := site.post(sessionPath, "do", "remove", "entry", "192.0.2.0/24")
	asked.Has(t, "192.0.2.0/24 is 2 records. Nothing was removed yet. Remove all 2 Keep them")
	site.operator.wantChanges(t)
	for _, want := range []string{`name="do" value="remove"`, `name="entry" value="192.0.2.0/24"`, `name="many" value="yes"`, `action="session?id=session1&n=2&what="`} {
		if !strings.Contains(html.UnescapeString(asked.Body.String()), want) {
			t.Errorf("the question has no %s", want)
		}
	}
	site.follow(site.post(sessionPath, "do", "remove", "entry", "192.0.2.0/24", "many", "yes")).Has(t, "Done: remove 192.0.2.0/24.")
	site.operator.wantChanges(t, "remove 192.0.2.0/24")

	site.operator.changeErr = errors.New("it is trusted")
	p := site.post(sessionPath, "do", "deny", "entry", "192.0.2.0/24", "until", "2026-12-04", "why", "because")
	p.Has(t, "Nothing was changed: it is trusted")
	for _, want := range []string{`value="192.0.2.0/24" selected`, `value="2026-12-04"`, `value="because"`} {
		if p.Code != 422 || !strings.Contains(p.Body.String(), want) {
			t.Errorf("%d: the form has lost %s", p.Code, want)
		}
	}
	for _, fields := range [][]string{{"do", "deny"}, {"do", "explode", "entry", "192.0.2.7"}, {"entry", "192.0.2.7"}} {
		if p := site.post(sessionPath, fields...); p.Code != 422 {
			t.Errorf("%v: %d", fields, p.Code)
		}
	}
	site.operator.wantChanges(t)
}
