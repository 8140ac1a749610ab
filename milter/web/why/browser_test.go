package why

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/web/webtest"
)

// kind is a kind of page.
type kind struct {
	name string
	path func(*site) string // prepares the site and returns the path
	test bool               // click "Test again"
	code int                // 0: 200
	says string
}

// at returns a path that needs no preparation.
func at(path string) func(*site) string { return func(*site) string { return path } }

// refused refuses a mail and lets change prepare the site and change the link.
func refused(change func(s *site, link string) string) func(*site) string {
	return func(s *site) string {
		return change(s, s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing"))
	}
}

// then refuses a mail and changes the zone after it.
func then(zone string) func(*site) string {
	return refused(func(s *site, link string) string { s.setZone(zone); return link })
}

var (
	repairedZone = strings.Replace(partlyRepairedZone, "mx -all", "mx ip4:192.0.2.9 -all", 1)
	// longTXT is an SPF record of several strings.
	longTXT = `"v=spf1 include:` + strings.Repeat("spf-of-a-provider-with-a-long-name.", 3) + `example.net" " ` +
		strings.Repeat("ip6:2001:db8:1234:5678::/64 ", 8) + `" "` + strings.Repeat("ip4:198.51.100.0/24 ", 10) + `-all"`
)

// kinds are all kinds of pages.
var kinds = []kind{
	{name: "index", path: at("/why/"), says: "Why was my mail refused?"},
	{name: "reason", path: at("/why/rdns-missing"), says: "The address of your server has no reverse DNS name"},
	{name: "reason-policy", path: at("/why/helo-mismatch"), says: "This is the policy of this site."},
	{name: "reason-long", path: at("/why/spf-fail"), says: "allow"},
	{name: "openspf", path: at("/why?sender=ann@example.com&ip=192.0.2.9&receiver=mx.example.org"), says: "Why SPF refused the message"},
	{name: "missing", path: at("/why/nothing"), code: 404, says: "There is no such page"},

	{name: "seen", path: then(brokenZone), says: "What we saw"},
	{name: "seen-ipv6", says: "2001:db8:8000:1234:5678:9abc:def0:1234", path: func(s *site) string {
		s.setZone(brokenZone + "example.net. MX 10 mx.example.com.\nexample.net. TXT " + longTXT + "\n")
		return s.refuse("2001:db8:8000:1234:5678:9abc:def0:1234", webtest.LongName,
			strings.Repeat("a-very-long-local-part.", 3)[:64]+"@example.net", "bob@example.org", "rdns-missing")
	}},
	{name: "seen-not-testable", says: "it cannot be tested here", path: func(s *site) string {
		s.setZone(repairedZone)
		return s.refuse("192.0.2.9", "mail.example.com", "ann@-example-.com", "bob@example.org", "sender-syntax")
	}},
	{name: "seen-helo", says: "Name that your server will send in HELO or EHLO", path: func(s *site) string {
		s.setZone(repairedZone)
		return s.refuse("192.0.2.9", "bad..name", "ann@example.com", "bob@example.org", "helo-syntax")
	}},
	{name: "again-wrong", path: then(brokenZone), test: true, says: "Not yet repaired"},
	{name: "again-partly", path: then(partlyRepairedZone), test: true, says: "Not yet repaired"},
	{name: "again-repaired", path: then(repairedZone), test: true, says: "The temporary block of your server is lifted."},
	{name: "again-unknown", path: then("!TIMEOUT 9.2.0.192.in-addr.arpa.\n" + repairedZone), test: true, says: "Some answers are missing"},
	{name: "again-limit", test: true, code: 429, says: "Too many tests", path: refused(func(s *site, link string) string {
		for range recordRate.Burst {
			s.again(link)
		}
		return link
	})},
	{name: "cut", says: "The link is incomplete", path: refused(func(_ *site, link string) string { return link[:len(link)-5] })},
	{name: "forged", says: "not valid here", path: refused(func(_ *site, link string) string { return link[:len(link)-5] + "aaaaa" })},
	{name: "foreign", says: "not valid here", path: refused(func(_ *site, link string) string {
		return strings.Replace(link, "rdns-missing", "helo-mismatch", 1)
	})},
	{name: "expired", says: "has expired", path: refused(func(s *site, link string) string { s.after(25 * time.Hour); return link })},
	{name: "gone", says: "no longer stored", path: func(s *site) string {
		return "/why/rdns-missing?r=" + s.signer.Sign(records.NewID(s.clock()), "rdns-missing")
	}},
	{name: "down", code: 503, says: "cannot be read at the moment", path: refused(func(s *site, link string) string { s.down.Store(true); return link })},
}

// TestPagesInABrowser opens each kind of page and checks it with axe-core in all looks.
func TestPagesInABrowser(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	browser := webtest.Start(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, brokenZone)
			r := browser.Visit(t, s.pages)
			code := r.Open(r.Home + k.path(s))
			if k.test {
				code = r.Click("button")
			}
			if code != max(k.code, 200) || !strings.Contains(r.Text("main"), k.says) {
				t.Errorf("%d, no %q in %s", code, k.says, r.Text("main"))
			}
			r.CheckLooks(k.name)
			r.Harmless()
		})
	}
}

// refuseFor records a refusal for any reason and returns the path of the link in its reply.
func (s *site) refuseFor(reason *checks.Reason) string {
	s.t.Helper()
	d, sess := s.run("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org")
	reply := reason.Reply
	d.Record = records.NewID(s.clock())
	reply.Link = testURL + "/why/" + reason.ID + "?r=" + s.signer.Sign(d.Record, reason.ID)
	d.Reply, d.Reason, d.Action = &reply, reason, checks.Reject
	d.Outcomes = append(d.Outcomes, checks.Outcome{Reason: reason, Action: checks.Reject, Reply: reply})
	return s.record(sess, d)
}

// TestEveryReasonInABrowser opens the page of each reason without and with a reference, and tests again if that is possible. Each page
// must fit a narrow screen. The last one is checked with axe-core in one of the looks, in turn: it has all kinds of parts.
func TestEveryReasonInABrowser(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	browser := webtest.Start(t)
	for i, reason := range allReasons() {
		t.Run(reason.ID, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, brokenZone)
			r := browser.Visit(t, s.pages)
			link := s.refuseFor(reason)
			narrow := webtest.Looks[2]
			r.Open(r.Home + "/why/" + reason.ID)
			r.CheckFits(narrow)
			r.Open(r.Home + link)
			if !strings.Contains(r.Text("main"), "What we saw") {
				t.Errorf("the link opens: %s", r.Text("main"))
			}
			r.CheckFits(narrow)
			if reason.Repair != checks.NoRepair {
				if code := r.Click("button"); code != 200 || !strings.Contains(r.Text("main"), "Not yet repaired") {
					t.Errorf("Test again: %d %s", code, r.Text("main"))
				}
				r.CheckFits(narrow)
			}
			r.CheckLook(webtest.Looks[i%len(webtest.Looks)])
			r.Harmless()
		})
	}
}

// TestMarkupDoesNothing tests pages with values, of the session and of the DNS, that contain scripts, pictures and links.
func TestMarkupDoesNothing(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	const hostile = `"'></p></code><script>alert(1)</script><img src=//elsewhere.example/x onerror=alert(2)><a href=javascript:alert(3) autofocus onfocus=alert(4)>`
	s := newSite(t, `mx.example.com. A 203.0.114.7
example.com. MX 10 mx.example.com.
9.2.0.192.in-addr.arpa. PTR \"\>\<script\>alert\(5\)\<\/script\>.example.com.
example.com. TXT "v=spf1 -all exp=e.example.com"
e.example.com. TXT "<script>alert(6)</script><style>*{display:none}</style>"
`)
	link := s.refuse("192.0.2.9", hostile, hostile+"@example.com", hostile+"@example.org", "rdns-mismatch")
	r := webtest.Start(t).Visit(t, s.pages)
	query := url.QueryEscape(hostile)
	for _, path := range []string{
		link, link + query, link + "&x=" + query, "/why/" + url.PathEscape(hostile), "/why/rdns-missing?r=" + query,
		"/why?sender=" + query + "@example.com&ip=192.0.2.9&receiver=" + query, "/" + query,
	} {
		r.Open(r.Home + path)
		if n := webtest.Evaluate[int](r.Tab, `document.querySelectorAll("script, img, style, [onerror], [onfocus], [href^=javascript]").length`); n != 0 {
			t.Errorf("%s: %d elements come from values", path, n)
		}
	}
	r.Open(r.Home + link)
	for what, page := range map[string]string{"seen": r.Text("main"), "tested": func() string { r.Click("button"); return r.Text("main") }()} {
		if !strings.Contains(page, `<script>alert(1)</script><img src=//elsewhere.example/x onerror=alert(2)>`) {
			t.Errorf("%s: the values are not shown as text: %s", what, page)
		}
	}
	r.Harmless()
}

// TestKeyboard uses a page without a mouse: the first Tab goes to the link that skips the header, and Enter presses the button.
func TestKeyboard(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	s := newSite(t, brokenZone)
	r := webtest.Start(t).Visit(t, s.pages)
	r.Open(r.Home + then(repairedZone)(s))
	r.Press("\t")
	if at := webtest.Evaluate[string](r.Tab, `document.activeElement.innerText`); at != "Skip to the content" {
		t.Errorf("the first focused element is %q", at)
	}
	for stop := 0; webtest.Evaluate[string](r.Tab, `document.activeElement.tagName`) != "BUTTON"; stop++ {
		if stop == 50 {
			t.Fatal("Tab does not reach the button")
		}
		r.Press("\t")
	}
	if width := webtest.Evaluate[string](r.Tab, `getComputedStyle(document.activeElement).outlineWidth`); width == "0px" {
		t.Error("the focus is not visible")
	}
	r.Enter()
	if !strings.Contains(r.Text("main"), "The DNS records are correct now.") {
		t.Errorf("after Enter: %s", r.Text("main"))
	}
}
