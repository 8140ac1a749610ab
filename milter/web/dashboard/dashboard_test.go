package dashboard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"milterd/checks"
	"milterd/milter/store/status"
	"milterd/milter/web/webtest"
)

// TestEmptyPages tests what the pages say if there is nothing to show.
func TestEmptyPages(t *testing.T) {
	t.Parallel()
	site := newTestSite(t, nil)
	for path, says := range map[string]string{
		"/": "No reason applied in this period.", "/refusals": "No mail was refused yet.", "/refusals?sender=a@example.com": "No decision matches the filter.",
		"/greylist": "No delivery was greylisted yet. Clients that passed No client has passed yet.", "/greylist?what=x": "No delivery matches the search.",
		"/watched": "No watched reason applied to any mail yet.", "/blocks": "No client is blocked.", "/blocks?what=x": "No block matches the search.",
		"/mirror": "No mail of trusted clients to other sites was seen.",
	} {
		p := site.get(path)
		if p.Code != 200 {
			t.Errorf("%s: %d", path, p.Code)
		}
		p.Has(t, says)
	}
}

// TestWithoutRecords tests the pages of a daemon that keeps no records.
func TestWithoutRecords(t *testing.T) {
	t.Parallel()
	site := newTestSite(t, func(d *Config) { d.Book = nil })
	site.get("/").Has(t, "Records not kept, because records.max is 0")
	for _, path := range []string{"/refusals?sender=x&ref=y", "/session?id=a&n=1"} {
		p := site.get(path)
		if p.Code != 200 {
			t.Errorf("%s: %d", path, p.Code)
		}
		p.Has(t, "No records of decisions are kept")
	}
}

// TestStoreDown tests what the pages and forms say while the store is down.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	site.fail()
	if p := site.get("/"); p.Code != 200 {
		t.Errorf("the overview needs the store: %d", p.Code)
	}
	for _, path := range []string{"/refusals", "/refusals?ref=session1", "/session?id=session3&n=1", "/watched", "/greylist", "/blocks", "/mirror"} {
		p := site.get(path)
		if p.Code != 503 {
			t.Errorf("%s: %d", path, p.Code)
		}
		p.Has(t, "The store did not answer: no route to the store")
		p.Lacks(t, "No client is blocked", "No mail was refused", "was greylisted yet", "any mail yet", "was seen")
	}
	for _, p := range []webtest.Page{
		site.post("/greylist", "do", "allow", "client", "192.0.2.1"), site.post("/blocks", "do", "remove", "client", "192.0.2.1"),
		site.post("/blocks", "do", "add", "client", "192.0.2.1", "for", "1h"),
	} {
		if p.Code != 503 {
			t.Errorf("%d", p.Code)
		}
		p.Has(t, "The change failed, perhaps after a part of it: no route to the store")
	}
}

// TestInvalidForms sends forms that no page has.
func TestInvalidForms(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	long := strings.Repeat("a", 1<<20)
	for name, p := range map[string]webtest.Page{
		"GET":                    site.get("/greylist?do=forget&client=192.0.2.9"),
		"in the address":         site.post("/blocks?do=remove&client=192.0.2.9"),
		"no client":              site.post("/greylist", "do", "forget"),
		"white space":            site.post("/greylist", "do", "forget", "client", " \t"),
		"no action":              site.post("/greylist", "client", "192.0.2.9"),
		"unknown action":         site.post("/blocks", "do", "burn", "client", "192.0.2.9"),
		"action of another page": site.post("/blocks", "do", "forget", "client", "192.0.2.9"),
		"too long":               site.post("/blocks", "why", long, "do", "remove", "client", "192.0.2.9"),
		"to the overview":        site.post("/", "do", "remove", "client", "192.0.2.9"),
		"another encoding":       site.do(httptest.NewRequest("POST", "/blocks", strings.NewReader(`{"do":"remove","client":"192.0.2.9"}`))),
		"PUT":                    site.do(httptest.NewRequest("PUT", "/blocks", strings.NewReader("do=remove&client=192.0.2.9"))),
	} {
		if p.Code == 303 {
			t.Errorf("%s: %d", name, p.Code)
		}
	}
	site.operator.wantChanges(t)
	site.get("/blocks?note=text+of+a+link").Lacks(t, "text of a link")
}

// TestMarkupIsEscaped tests all pages with values that contain markup and control characters.
func TestMarkupIsEscaped(t *testing.T) {
	t.Parallel()
	const hostile = "\"'><script>alert(1)</script><img/src=x onerror=alert(1)>{{.}}\x1b[2J\r\nReply: 250\u202e</title></textarea>"
	site := newTestSite(t, func(c *Config) {
		c.Attention = func() []string { return []string{hostile} }
		c.Components.Checks = func() []checks.Condition {
			return []checks.Condition{{Check: "dnsbl", Name: hostile, State: hostile, Why: hostile, Counts: map[string]uint64{hostile: 1}}}
		}
		c.Components.Store = func() status.Store { return status.Store{Driver: "redis", Place: hostile, Error: hostile} }
	})
	site.addHostile(t, hostile)
	escaped := url.QueryEscape(hostile)
	paths := append(slices.Clone(allPages), "/session?id=session3&n=1", "/refusals?sender="+escaped+"&rcpt="+escaped+"&client="+escaped+"&reason="+escaped+"&ref="+escaped,
		"/session?id="+escaped+"&n=1", "/greylist?what="+escaped, "/blocks?what="+escaped+"&client="+escaped+"&note="+escaped, "/"+url.PathEscape(hostile))
	for _, path := range paths {
		p := site.get(path) // fails the test if there are scripts
		// The values of form fields are not changed.
		if body := attributes.ReplaceAllString(p.Body.String(), ""); strings.ContainsAny(body, "\x1b\u202e") {
			t.Errorf("%s: a control character", path)
		}
		if n := strings.Count(p.Body.String(), "</title>"); n != 1+strings.Count(p.Body.String(), "<g><title>") {
			t.Errorf("%s: </title> occurs %d times", path, n)
		}
	}
	site.get("/session?id=session3&n=1").Has(t, `HELO "'><script>alert(1)</script>`, "[2J Reply: 250")
	for _, p := range []webtest.Page{
		site.post("/greylist?what="+escaped, "do", "allow", "client", hostile), site.post("/blocks?what="+escaped, "do", "remove", "client", hostile),
		site.post("/blocks", "do", "add", "client", hostile, "why", hostile, "for", hostile),
		site.post("/session?id=session3&n=1&what="+escaped, "do", "deny", "entry", hostile, "why", hostile, "until", hostile),
	} {
		if at := p.Header().Get("Location"); p.Code != 303 || strings.ContainsAny(at, "\r\n<\"") {
			t.Errorf("%d %q", p.Code, at)
		}
		site.follow(p)
	}
}

// TestPagesAreWellFormed tests the structure of the pages, the labels of the forms and the headings of the tables.
func TestPagesAreWellFormed(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	for _, path := range allPages {
		p := site.get(path)
		p.WellFormed(t, path)
		body := p.Body.String()
		for _, m := range regexp.MustCompile(`<(input|select)[^>]*>`).FindAllString(body, -1) {
			id := regexp.MustCompile(` id="([^"]*)"`).FindStringSubmatch(m)
			if !strings.Contains(m, `type="hidden"`) && (id == nil || !strings.Contains(body, `<label for="`+id[1]+`"`)) {
				t.Errorf("%s: %s has no label", path, m)
			}
		}
		if n := strings.Count(body, `aria-current="page"`); n != 1 && path != "/nothing" && !strings.HasPrefix(path, "/session") {
			t.Errorf("%s: %d current pages", path, n)
		}
		for _, table := range regexp.MustCompile(`(?s)<table.*?</table>`).FindAllString(body, -1) {
			if !strings.Contains(table, `scope="col"`) {
				t.Errorf("%s: a table without headings", path)
			}
		}
	}
}

// TestStaticFiles tests the style and the script, and that a page in another folder finds them.
func TestStaticFiles(t *testing.T) {
	t.Parallel()
	site := newTestSite(t, nil)
	for path, kind := range map[string]string{"/style.css": "text/css; charset=utf-8", "/live.js": "text/javascript; charset=utf-8"} {
		p := site.get(path)
		if p.Code != 200 || p.Header().Get("Content-Type") != kind || p.Body.Len() < 1000 || strings.Contains(p.Body.String(), "http") {
			t.Errorf("%s: %d %s", path, p.Code, p.Header())
		}
	}
	p := site.get("/a/b/nothing")
	if p.Code != 404 || !strings.Contains(p.Body.String(), `href="../../style.css"`) {
		t.Errorf("%d %s", p.Code, p.Body)
	}
}

// TestPagesWaitForTheStore opens more pages at the same time than may read the store.
func TestPagesWaitForTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		site := newTestSite(t, nil)
		site.operator.hang = make(chan struct{})
		reading, waiting := make(chan int), make(chan int)
		for range maxReading {
			go func() { reading <- site.get("/greylist").Code }()
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := httptest.NewRequest("GET", "/greylist", nil).WithContext(ctx)
		go func() { waiting <- site.do(r).Code }()
		synctest.Wait()
		cancel() // the client of one more closes the connection
		if code := <-waiting; code != http.StatusServiceUnavailable {
			t.Errorf("%d", code)
		}
		close(site.operator.hang)
		for range maxReading {
			if code := <-reading; code != http.StatusOK {
				t.Errorf("%d", code)
			}
		}
	})
}
