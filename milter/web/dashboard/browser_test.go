package dashboard

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/milter/web/webtest"
)

// TestPagesInABrowser opens every page, with many entries, with none and with errors, and checks it with axe-core in all looks.
func TestPagesInABrowser(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	browser := webtest.Start(t)
	empty := func(t *testing.T) *testSite { return newTestSite(t, nil) }
	for _, c := range []struct {
		name, path, says string
		site             func(*testing.T) *testSite
	}{
		{"overview", "/", "Decisions by reason", crowdedSite},
		{"overview-week", "/?period=week", "spf-none", crowdedSite},
		{"overview-empty", "/", "No reason applied in this period.", empty},
		{"overview-alarm", "/", "it lists the world", func(t *testing.T) *testSite { return newTestSite(t, addProblems) }},
		{"refusals", "/refusals?action=all", "192.0.2.9 has no reverse DNS name", crowdedSite},
		{"refusals-filter", "/refusals?sender=ann@example.com&reason=rdns-missing&since=24h", "All refusals", crowdedSite},
		{"refusals-none", "/refusals?sender=nobody@example.com", "No decision matches the filter.", crowdedSite},
		{"refusals-off", "/refusals", "No records of decisions are kept", func(t *testing.T) *testSite { return newTestSite(t, func(d *Config) { d.Book = nil }) }},
		{"trace", "/session?id=session2&n=6", "failed: server misbehaving", crowdedSite},
		{"watched", "/watched", "To enforce it, set", crowdedSite},
		{"watched-empty", "/watched", "No mail was refused, greylisted or quarantined yet.", empty},
		{"greylist", "/greylist", "allowed by hand", crowdedSite},
		{"greylist-empty", "/greylist", "No client has passed yet.", empty},
		{"blocks", "/blocks", "the spam run", crowdedSite},
		{"blocks-empty", "/blocks", "No client is blocked.", empty},
		{"blocks-down", "/blocks", "The store did not answer", func(t *testing.T) *testSite { site := crowdedSite(t); site.fail(); return site }},
		{"mirror", "/mirror", "who demands it", crowdedSite},
		{"mirror-empty", "/mirror", "No mail of trusted clients to other sites was seen.", empty},
		{"nothing", "/nothing", "There is no such page", crowdedSite},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := browser.Visit(t, c.site(t).pages)
			r.Open(r.Home + c.path)
			if !strings.Contains(r.Text("main"), c.says) {
				t.Errorf("no %q in %s", c.says, r.Text("main"))
			}
			r.CheckLooks("operator-" + c.name)
			r.Harmless()
		})
	}
}

// open opens a page of a site in a browser.
func open(t *testing.T, site *testSite, path string) *webtest.Visit {
	t.Helper()
	r := webtest.Start(t).Visit(t, site.pages)
	if code := r.Open(r.Home + path); code != 200 {
		t.Fatalf("%s: %d", path, code)
	}
	return r
}

// refresh makes a live page load its content at once, as when its tab is shown again.
const refresh = `document.dispatchEvent(new Event("visibilitychange"));`

// waitFor waits until a live page shows a text.
func waitFor(t *testing.T, r *webtest.Visit, text string) {
	t.Helper()
	webtest.Evaluate[bool](r.Tab, `new Promise(done => {
		const look = () => { if (document.body.innerText.includes(`+strconv.Quote(text)+`)) done(true); };
		new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
		look();
	})`)
}

// TestPagesAreLive tests that a page shows new refusals without being loaded again, keeps the focus, can be paused, and says so
// while the daemon does not answer.
func TestPagesAreLive(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	site := busySite(t)
	refuse := func(from string) {
		site.decide(newSession(0, "192.0.2.9", "mail.example.com", from, "bob@example.org"), nil, outcome(t, "rdns-missing", checks.Reject, "no name"))
	}
	r := open(t, site, "/refusals")
	const focus = `document.activeElement.getAttribute("href")`
	at := webtest.Evaluate[string](r.Tab, `document.querySelector(".records a").focus(), window.same = true, `+focus)

	refuse("first@example.com")
	webtest.Evaluate[bool](r.Tab, refresh+"true")
	waitFor(t, r, "first@example.com")
	if now := webtest.Evaluate[string](r.Tab, focus); now != at || !strings.HasPrefix(at, "session?") {
		t.Errorf("the focus moved from %q to %q", at, now)
	}

	// A paused page requests nothing: the only request is the one of this test.
	const press = `document.querySelector("#fresh button").click();`
	webtest.Evaluate[bool](r.Tab, press+"true")
	refuse("second@example.com")
	before := len(r.Sent())
	webtest.Evaluate[int](r.Tab, refresh+`fetch("style.css", {cache: "no-store"}).then(a => a.status)`)
	if sent := r.Sent()[before:]; len(sent) != 1 || strings.Contains(r.Text("main"), "second@") {
		t.Errorf("while paused, it requests %q", sent)
	}
	webtest.Evaluate[bool](r.Tab, press+"true")
	waitFor(t, r, "second@example.com")
	if !webtest.Evaluate[bool](r.Tab, "window.same === true") {
		t.Error("the page was loaded again")
	}

	site.broken.Store(true)
	webtest.Evaluate[bool](r.Tab, refresh+"true")
	waitFor(t, r, "No answer from milterd.")
	site.broken.Store(false)
	refuse("third@example.com")
	webtest.Evaluate[bool](r.Tab, refresh+"true")
	waitFor(t, r, "third@example.com")
	if strings.Contains(r.Text("#fresh"), "No answer") {
		t.Errorf("still says %s", r.Text("#fresh"))
	}
	r.Harmless()
}

// TestMarkupDoesNothing tests pages, loaded and updated, with values that contain scripts, pictures and links.
func TestMarkupDoesNothing(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	const hostile = `"'></p></td></title></textarea><script>alert(1)</script><img src=//elsewhere.example/x onerror=alert(2)><a href=javascript:alert(3) autofocus onfocus=alert(4)>x</a>`
	site := busySite(t)
	r := open(t, site, "/refusals")
	site.addHostile(t, hostile)
	check := func(where string) {
		t.Helper()
		if n := webtest.Evaluate[int](r.Tab, `document.querySelectorAll("script:not([src='live.js']), img, style, [onerror], [onfocus], [href^=javascript]").length`); n != 0 {
			t.Errorf("%s: %d elements come from values", where, n)
		}
		if !strings.Contains(r.Text("main"), "<script>alert(1)</script>") {
			t.Errorf("%s: the value is not shown as text: %s", where, r.Text("main"))
		}
	}
	webtest.Evaluate[bool](r.Tab, refresh+"true")
	waitFor(t, r, "<script>alert(1)</script>")
	check("updated")
	for _, path := range []string{"/refusals", "/session?id=session3&n=6", "/watched", "/greylist", "/blocks", "/mirror"} {
		r.Open(r.Home + path)
		check(path)
	}
	r.Harmless()
}

// TestButtons clicks the buttons of the forms, and tests that forms of other sites change nothing.
func TestButtons(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	site := busySite(t)
	r := open(t, site, "/greylist")
	click := func(selector, says string) {
		t.Helper()
		if code := r.Click(selector); code != 200 || !strings.Contains(r.Text("main"), says) || r.Address().Query().Has("note") {
			t.Errorf("%s: %d at %s, no %q in %s", selector, code, r.Address(), says, r.Text("main"))
		}
	}
	click(`button[aria-label="Allow 192.0.2.0/24"]`, "192.0.2.0/24 is allowed")
	click(`button[aria-label="Forget example.org"]`, "Done: forget example.org.")
	r.Open(r.Home + "/session?id=session1&n=2")
	r.Click(`a[href^="blocks?"]`) // fills in the form
	click(`button[value="add"]`, "Done: block 192.0.2.7 1h")
	click(`button[aria-label="Remove the block of 203.0.113.7"]`, "Done: unblock 203.0.113.7.")
	click(`form[action="undo"] button`, "Undone: unblock 203.0.113.7.")
	site.operator.wantChanges(t, "allow 192.0.2.0/24", "forget example.org", "block 192.0.2.7 1h ", "unblock 203.0.113.7", "undo unblock 203.0.113.7")
	r.Open(r.Home + "/session?id=session1&n=2")
	// The form is filled in and sent with the keyboard alone.
	webtest.Evaluate[bool](r.Tab, `document.querySelector("#l-entry").focus(), true`)
	r.Press("D") // the domain
	r.Press("\tfriday\tasked by phone\t\t")
	if code := r.Enter(); code != 200 || !strings.Contains(r.Text("main"), "Done: deny @example.com friday asked by phone.") {
		t.Errorf("%d: %s", code, r.Text("main"))
	}
	click(`form[action="undo"] button`, "Undone: deny @example.com friday asked by phone.")
	site.operator.wantChanges(t, "deny @example.com friday asked by phone", "undo deny @example.com friday asked by phone")
	r.Harmless()

	page := fmt.Sprintf(`<form method="post" action="%s/blocks"><input name="client" value="203.0.113.7"><button name="do" value="remove">You have won</button></form>`, r.Home)
	for _, address := range []string{"127.0.0.2:0", "127.0.0.1:0"} { // another host, and another port of this host
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		evil := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
		}))
		_ = evil.Listener.Close()
		evil.Listener = ln
		evil.Start()
		t.Cleanup(evil.Close)
		r.Open(evil.URL)
		if code := r.Click("button"); code != 403 {
			t.Errorf("a form of %s: %d", address, code)
		}
	}
	site.operator.wantChanges(t)
}

// TestPassword opens the pages without and with the password. Live pages use it too.
func TestPassword(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	site := busySite(t)
	site.pages = Guard{Password: "secret"}.Protect(site.pages)
	r := webtest.Start(t).Visit(t, site.pages)
	if code := r.Open(r.Home + "/"); code != 401 || !strings.Contains(r.Text("body"), "Password required: enter admin.password") {
		t.Errorf("%d %s", code, r.Text("body"))
	}
	if code := r.Open(strings.Replace(r.Home, "http://", "http://me:secret@", 1) + "/refusals"); code != 200 {
		t.Fatal(code)
	}
	site.decide(newSession(0, "192.0.2.9", "h", "new@example.com", "bob@example.org"), nil, outcome(t, "rdns-missing", checks.Reject, "no name"))
	webtest.Evaluate[bool](r.Tab, refresh+"true")
	waitFor(t, r, "new@example.com")
}

// TestKeyboard goes through the pages without a mouse: the Tab key reaches each link, field and button, the focus is visible, and
// Enter follows a link.
func TestKeyboard(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	r := open(t, busySite(t), "/")
	for _, path := range []string{"/", "/refusals", "/watched", "/greylist", "/blocks", "/mirror"} {
		if code := r.Open(r.Home + path); code != 200 {
			t.Fatalf("%s: %d", path, code)
		}
		// A page that is paused does not replace what the Tab key is to reach.
		stops := webtest.Evaluate[int](r.Tab, `document.querySelector("#fresh button")?.click(), window.stops = new Set(document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")), `+
			`window.stops.forEach(e => e.checkVisibility({visibilityProperty: true}) || window.stops.delete(e)), window.stops.size`)
		for presses := 0; presses < stops+10 && webtest.Evaluate[int](r.Tab, `window.stops.size`) > 0; presses++ { // a part that scrolls is a stop too
			r.Press("\t")
			if hidden := webtest.Evaluate[string](r.Tab, `(e => (window.stops.delete(e), getComputedStyle(e).outlineStyle == "none" ? e.outerHTML : ""))(document.activeElement)`); hidden != "" {
				t.Errorf("%s: the focus is not visible on %.100s", path, hidden)
			}
		}
		if left := webtest.Evaluate[[]string](r.Tab, `[...window.stops].map(e => e.outerHTML.slice(0, 100))`); stops == 0 || len(left) > 0 {
			t.Errorf("%s: Tab does not reach %q", path, left)
		}
	}
	r.Open(r.Home + "/refusals")
	webtest.Evaluate[bool](r.Tab, `document.querySelector(".records a").focus(), true`)
	if code := r.Enter(); code != 200 || !strings.HasSuffix(r.Address().Path, "/session") {
		t.Errorf("Enter on a decision: %d at %s", code, r.Address())
	}
}
