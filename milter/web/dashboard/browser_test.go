package dashboard

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/evidence"
	"milterd/milter/store"
	"milterd/milter/web/webtest"
)

// crowded is a board on which much has happened, and some of it has long names.
func crowded(t *testing.T) *board {
	b := busy(t)
	long := b.mail(1, "2001:db8:8000:1234:5678:9abc:def0:1234", webtest.LongName, strings.Repeat("a-very-long-local-part.", 3)[:64]+"@"+webtest.LongName[:180]+".example",
		strings.Repeat("a-very-long-recipient.", 3)[:60]+"@example.org")
	long.ID = "session2"
	o := outcome(t, "spf-fail", checks.Reject, "SPF of "+webtest.LongName[:200]+" does not allow 2001:db8:8000:1234:5678:9abc:def0:1234")
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "example.net.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("ip4:198.51.100.0/24 ", 12), strings.Repeat("x", 250)}}
	b.decide(long, []checks.Result{
		{Check: "rdns", Stage: checks.Connect, Took: 3 * time.Millisecond},
		{Check: "spf", Stage: checks.MailFrom, Outcomes: []checks.Outcome{o}, Took: 1234567 * time.Microsecond, Notes: []string{"a note"}, Asked: []checks.Asked{
			{Question: checks.Question{Name: webtest.LongName + ".", Type: dns.TypeTXT}, Answer: checks.Answer{Records: []dns.RR{txt}}, Took: 345 * time.Millisecond},
			{Question: checks.Ask("example.net", dns.TypeMX), Took: time.Millisecond},
		}},
		{Check: "dnsbl", Stage: checks.MailFrom, Err: fmt.Errorf("server misbehaving")},
	}, outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), o)
	for i := range 40 { // so that the chart has something to show
		b.history.Decided(checks.NewRequest(b.mail(i*17%60, "192.0.2.9", "h", "", ""), checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{outcome(t, "spf-fail", checks.Watch, "x")}})
		b.history.Accepted(checks.NewRequest(b.mail(i*7%60, "192.0.2.9", "h", "", ""), checks.EndOfHeader))
	}
	b.operator.triplets = append(b.operator.triplets, Triplet{Identity: webtest.LongName, From: webtest.LongName + "@example.com", To: "bob@" + webtest.LongName, Client: "192.0.2.9", State: "gone"})
	b.operator.clients = append(b.operator.clients, Client{Identity: webtest.LongName, Passes: 123456, Client: "2001:db8:8000:1234:5678:9abc:def0:1234"})
	b.operator.blocks = append(b.operator.blocks, Block{Client: "2001:db8:8000:1234::/64", Why: strings.Repeat("because", 14), Until: checktest.Now.Add(time.Hour), Level: 3, InForce: true})
	return b
}

// alarming has everything wrong that the overview tells of.
func alarming(d *Config) {
	d.Problems = func() []string {
		return []string{"the store is down since 2026-11-21T11:00:00Z: " + webtest.LongName[:120]}
	}
	d.Components.Checks = func() []checks.Condition {
		return []checks.Condition{
			{Check: "dnsbl", Name: "bl.example (client)", State: "off", Why: "it lists the world", Since: checktest.Now, Counts: map[string]uint64{"queries": 14000, "left_out": 2}},
			{Check: "access", Name: "/etc/milterd/" + webtest.LongName[:90], State: "on"},
		}
	}
	d.Components.Store = func() store.Status {
		return store.Status{Driver: "redis", Place: "redis://192.0.2.1:6379", Error: "connection refused", ErrorAt: checktest.Now, Records: -1, Octets: -1}
	}
}

// TestOperatorPagesInABrowser looks at each kind of the operator's pages on a desk and on a telephone, by day and by night.
func TestOperatorPagesInABrowser(t *testing.T) {
	webtest.Require(t)
	browser := webtest.Start(t)
	empty := func(t *testing.T) *board { return newBoard(t, nil) }
	for _, c := range []struct {
		name, path, says string
		board            func(*testing.T) *board
	}{
		{"overview", "/", "Decisions by reason", crowded},
		{"overview-week", "/?period=week", "spf-none", crowded},
		{"overview-empty", "/", "No reason applied in this period.", empty},
		{"overview-alarm", "/", "it lists the world", func(t *testing.T) *board { return newBoard(t, alarming) }},
		{"refusals", "/refusals?action=all", "192.0.2.9 has no reverse DNS name", crowded},
		{"refusals-filter", "/refusals?sender=ann@example.com&reason=rdns-missing&since=24h", "All refusals", crowded},
		{"refusals-none", "/refusals?sender=nobody@example.com", "No decision matches the filter.", crowded},
		{"refusals-off", "/refusals", "No records of decisions are kept", func(t *testing.T) *board { return newBoard(t, func(d *Config) { d.Book = nil }) }},
		{"trace", "/session?id=session2&n=6", "failed: server misbehaving", crowded},
		{"watched", "/watched", "To enforce it, set", crowded},
		{"watched-empty", "/watched", "No mail was refused or greylisted yet.", empty},
		{"greylist", "/greylist", "allowed by the operator", crowded},
		{"greylist-empty", "/greylist", "No client has passed yet.", empty},
		{"blocks", "/blocks", "the spam run", crowded},
		{"blocks-empty", "/blocks", "No client is blocked.", empty},
		{"blocks-down", "/blocks", "The store did not answer", func(t *testing.T) *board { b := crowded(t); b.fail(); return b }},
		{"nothing", "/nothing", "There is no such page", crowded},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := browser.Visit(t, c.board(t).pages)
			r.Open(r.Home + c.path)
			if !strings.Contains(r.Text("main"), c.says) {
				t.Errorf("no %q in %s", c.says, r.Text("main"))
			}
			r.CheckLooks("operator-" + c.name)
			r.Harmless()
		})
	}
}

// watching is somebody who looks at a page of a board.
func watching(t *testing.T, b *board, path string) *webtest.Visit {
	t.Helper()
	r := webtest.Start(t).Visit(t, b.pages)
	if code := r.Open(r.Home + path); code != 200 {
		t.Fatalf("%s: %d", path, code)
	}
	return r
}

// renew has the page bring itself up to date at once, as when somebody comes back to it.
const renew = `document.dispatchEvent(new Event("visibilitychange"));`

// comes waits until the page shows a text by itself.
func comes(t *testing.T, r *webtest.Visit, text string) {
	t.Helper()
	webtest.Evaluate[bool](r.Tab, `new Promise(done => {
		const look = () => { if (document.body.innerText.includes(`+strconv.Quote(text)+`)) done(true); };
		new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
		look();
	})`)
}

// TestPagesAreLive has refusals come while somebody looks at them.
func TestPagesAreLive(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	b := busy(t)
	refuse := func(from string) {
		b.decide(b.mail(0, "192.0.2.9", "mail.example.com", from, "bob@example.org"), nil, outcome(t, "rdns-missing", checks.Reject, "no name"))
	}
	r := watching(t, b, "/refusals")
	const focus = `document.activeElement.getAttribute("href")`
	at := webtest.Evaluate[string](r.Tab, `document.querySelector(".records a").focus(), window.same = true, `+focus)

	refuse("first@example.com")
	webtest.Evaluate[bool](r.Tab, renew+"true")
	comes(t, r, "first@example.com")
	if now := webtest.Evaluate[string](r.Tab, focus); now != at || !strings.HasPrefix(at, "session?") {
		t.Errorf("the focus was on %q, and is on %q", at, now)
	}

	// While it is paused, it asks for nothing. A request of our own is the only one then.
	const press = `document.querySelector("#fresh button").click();`
	webtest.Evaluate[bool](r.Tab, press+"true")
	refuse("second@example.com")
	before := len(r.Sent())
	webtest.Evaluate[int](r.Tab, renew+`fetch("style.css", {cache: "no-store"}).then(a => a.status)`)
	if sent := r.Sent()[before:]; len(sent) != 1 || strings.Contains(r.Text("main"), "second@") {
		t.Errorf("paused: asks for %q", sent)
	}
	webtest.Evaluate[bool](r.Tab, press+"true")
	comes(t, r, "second@example.com")
	if !webtest.Evaluate[bool](r.Tab, "window.same === true") {
		t.Error("the page was loaded again")
	}

	// It says so when it hears no more, and goes on when it does again.
	b.deaf.Store(true)
	webtest.Evaluate[bool](r.Tab, renew+"true")
	comes(t, r, "No answer from milterd.")
	b.deaf.Store(false)
	refuse("third@example.com")
	webtest.Evaluate[bool](r.Tab, renew+"true")
	comes(t, r, "third@example.com")
	if strings.Contains(r.Text("#fresh"), "No answer") {
		t.Errorf("still says %s", r.Text("#fresh"))
	}
	r.Harmless()
}

// TestMarkupOfOthersDoesNothing has a client whose every word would be a script, a picture or a link if a browser took it for one:
// in pages that are loaded, and in those that bring themselves up to date.
func TestMarkupOfOthersDoesNothing(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	const nasty = `"'></p></td></title></textarea><script>alert(1)</script><img src=//elsewhere.example/x onerror=alert(2)><a href=javascript:alert(3) autofocus onfocus=alert(4)>x</a>`
	b := busy(t)
	r := watching(t, b, "/refusals")
	s := b.mail(0, "192.0.2.9", nasty, nasty+"@example.com", nasty+"@example.org")
	s.ClientName, s.ID = nasty, "session3"
	o := outcome(t, "rdns-missing", checks.Reject, nasty)
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "x.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{nasty}}
	b.decide(s, []checks.Result{{Check: "rdns", Outcomes: []checks.Outcome{o}, Notes: []string{nasty}, Asked: []checks.Asked{
		{Question: checks.Question{Name: nasty, Type: dns.TypeTXT}, Answer: checks.Answer{Records: []dns.RR{txt}}},
	}}}, o)
	b.operator.triplets = []Triplet{{Identity: nasty, From: nasty, To: nasty, Client: nasty, Suspicion: nasty, State: "waiting"}}
	b.operator.blocks = []Block{{Client: nasty, Why: nasty}}
	b.watch.Reasons[0].Affected[0] = evidence.Sender{Sender: nasty, Client: nasty, Good: nasty}
	clean := func(where string) {
		t.Helper()
		if n := webtest.Evaluate[int](r.Tab, `document.querySelectorAll("script:not([src='live.js']), img, style, [onerror], [onfocus], [href^=javascript]").length`); n != 0 {
			t.Errorf("%s: %d elements that nobody wrote", where, n)
		}
		if !strings.Contains(r.Text("main"), "<script>alert(1)</script>") {
			t.Errorf("%s: the words are not shown as they are: %s", where, r.Text("main"))
		}
	}
	webtest.Evaluate[bool](r.Tab, renew+"true")
	comes(t, r, "<script>alert(1)</script>")
	clean("live")
	for _, path := range []string{"/refusals", "/session?id=session3&n=6", "/watched", "/greylist", "/blocks"} {
		r.Open(r.Home + path)
		clean(path)
	}
	r.Harmless()
}

// TestButtonsInABrowser clicks what changes something, and has a page of somebody else try it.
func TestButtonsInABrowser(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	b := busy(t)
	r := watching(t, b, "/greylist")
	click := func(selector, says string) {
		t.Helper()
		if code := r.Click(selector); code != 200 || !strings.Contains(r.Text("main"), says) || r.Address().Query().Has("note") {
			t.Errorf("%s: %d at %s, no %q in %s", selector, code, r.Address(), says, r.Text("main"))
		}
	}
	click(`button[aria-label="Allow 192.0.2.0/24"]`, "192.0.2.0/24 is allowed")
	click(`button[aria-label="Forget example.org"]`, "Entries of example.org deleted: 2.")
	r.Open(r.Home + "/session?id=session1&n=2")
	r.Click(`a[href^="blocks?"]`) // which fills the form in
	click(`button[value="add"]`, "192.0.2.7 is blocked until")
	click(`button[aria-label="Lift the block of 203.0.113.7"]`, "The block of 203.0.113.7 is lifted")
	b.operator.want(t, "allow 192.0.2.0/24", "forget example.org", "block 192.0.2.7 1h ", "lift 203.0.113.7")
	r.Harmless()

	page := fmt.Sprintf(`<form method="post" action="%s/blocks"><input name="client" value="203.0.113.7"><button name="do" value="lift">You have won</button></form>`, r.Home)
	for _, address := range []string{"127.0.0.2:0", "127.0.0.1:0"} { // another site, and another program of this machine
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
	b.operator.want(t)
}

// TestThePasswordInABrowser opens the pages with and without it.
func TestThePasswordInABrowser(t *testing.T) {
	webtest.Require(t)
	t.Parallel()
	b := busy(t)
	b.pages = Guard{Password: "secret"}.Protect(b.pages)
	r := webtest.Start(t).Visit(t, b.pages)
	if code := r.Open(r.Home + "/"); code != 401 || !strings.Contains(r.Text("body"), "Password required: enter admin.password") {
		t.Errorf("%d %s", code, r.Text("body"))
	}
	if code := r.Open(strings.Replace(r.Home, "http://", "http://me:secret@", 1) + "/refusals"); code != 200 {
		t.Fatal(code)
	}
	b.decide(b.mail(0, "192.0.2.9", "h", "new@example.com", "bob@example.org"), nil, outcome(t, "rdns-missing", checks.Reject, "no name"))
	webtest.Evaluate[bool](r.Tab, renew+"true")
	comes(t, r, "new@example.com")
}
