package why

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/milter/records"
	"milterd/milter/web/webtest"
)

// brokenZone has no valid record for the client 192.0.2.9 with the HELO name mail.example.com. In partlyRepairedZone only the SPF
// record is wrong.
const (
	brokenZone = `
example.com. MX 10 mx.example.com.
mx.example.com. A 203.0.114.7
example.com. TXT "v=spf1 mx -all"
`
	partlyRepairedZone = brokenZone + `
9.2.0.192.in-addr.arpa. PTR mail.example.com.
mail.example.com. A 192.0.2.9
`
)

// TestEveryReasonHasAPage tests the page of each reason without a reference, and that all its texts exist.
func TestEveryReasonHasAPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	index := s.get("/why/")
	texts, err := loadTexts()
	if err != nil {
		t.Fatal(err)
	}
	titled := map[*checks.Reason]bool{}
	for check, r := range all.Reasons() {
		titled[r] = texts.Groups[check] != ""
	}
	for _, r := range allReasons() {
		t.Run(r.ID, func(t *testing.T) {
			p := s.get("/why/" + r.ID)
			if p.Code != 200 || p.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("%d %s", p.Code, p.Header())
			}
			p.Has(t, r.ID, r.Why, r.Remedy, "How to repair it")
			own, ok := texts.Reasons[r.ID]
			if ok && !titled[r] && !slices.Contains(checks.PipelineReasons(), r) {
				t.Error("pages/reasons.yaml has this reason, and no heading for its check under groups")
			}
			if !ok && !titled[r] {
				// A check without a title in the texts has pages with its own texts only.
				p.Lacks(t, "What the standards say")
			} else if own.Title == "" || len(own.Recipes) == 0 || len(own.RFC) == 0 {
				t.Fatalf("pages/reasons.yaml has the check of this reason under groups, but lacks its title, recipes or rfc under reasons: %+v", own)
			} else {
				p.Has(t, own.Title, "RFC ")
			}
			for _, id := range own.Recipes {
				rec, ok := texts.Recipes[id]
				if !ok || rec.Title == "" || rec.Text == "" || len(rec.Steps) == 0 {
					t.Errorf("recipe %s: %+v", id, rec)
				}
				p.Has(t, rec.Title)
			}
			for _, ref := range own.RFC {
				if rfc := texts.rfc(ref); rfc.Title == "" || !regexp.MustCompile(`^[0-9.]+$`).MatchString(rfc.Section) {
					t.Errorf("RFC %s: %+v", ref, rfc)
				}
			}
			if regexp.MustCompile(`\{[a-z]+\}`).MatchString(p.Text) {
				t.Errorf("a placeholder is not replaced: %s", p.Text)
			}
			if !strings.Contains(index.Body.String(), `href="`+r.ID+`"`) {
				t.Error("the index has no link to it")
			}
			if s.asked.Load()+s.read.Load() != 0 {
				t.Error("the page asked the DNS or the store")
			}
		})
	}
}

// TestTexts tests that titles are short, that every recipe is used, and that all notices exist.
func TestTexts(t *testing.T) {
	t.Parallel()
	texts, err := loadTexts()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for id, r := range texts.Reasons {
		if len(r.Title) > 70 || strings.HasSuffix(r.Title, ".") {
			t.Errorf("%s: title %q", id, r.Title)
		}
		for _, rec := range r.Recipes {
			used[rec] = true
		}
	}
	for id := range texts.Recipes {
		if !used[id] {
			t.Errorf("no reason uses the recipe %s", id)
		}
	}
	for _, name := range []string{"cut", "forged", "expired", "gone", "down", "limit"} {
		if texts.Notices[name] == "" {
			t.Errorf("no notice %s", name)
		}
	}
}

// TestRepairsAreNamed tests that the page of a reason that somebody has to repair has more to say than the address of the postmaster.
func TestRepairsAreNamed(t *testing.T) {
	t.Parallel()
	texts, err := loadTexts()
	if err != nil {
		t.Fatal(err)
	}
	for id, r := range texts.Reasons {
		if r.Do == todoRepair && slices.Equal(r.Recipes, []string{"contact"}) {
			t.Errorf("%s: no recipe", id)
		}
	}
}

// TestSPFRecordIsChanged tests that no page adds an SPF record to another one, and where a term goes: one after all has no effect.
func TestSPFRecordIsChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	for _, id := range []string{"spf-fail", "spf-helo-fail"} {
		s.get("/why/"+id).Has(t, "a second one makes both invalid", "If there is no record yet. Otherwise insert ip4:192.0.2.25 right after v=spf1 in the existing record.")
	}
}

// TestRepairsHaveRecords tests that each repair that a reason names has DNS records.
func TestRepairsHaveRecords(t *testing.T) {
	t.Parallel()
	for _, r := range allReasons() {
		if r.Repair > checks.Elsewhere && fixes[r.Repair] == nil {
			t.Errorf("no records for %s", r.ID)
		}
	}
}

// TestLocalPolicy tests which pages say that a reason is a policy of the site.
func TestLocalPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	for _, id := range []string{"helo-mismatch", "helo-literal"} {
		s.get("/why/"+id).Has(t, "This is the policy of this site.", "No standard requires it of you: RFC 5321 section 4.1.4 says")
	}
	s.get("/why/greylisted").Has(t, "This is the policy of this site.")
	s.get("/why/helo-syntax").Lacks(t, "This is the policy of this site.")
}

// TestLinkShowsTheRecord tests the page of a reason with a valid reference.
func TestLinkShowsTheRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "secret.bob@example.org", "rdns-missing")
	asked := s.asked.Load()
	for _, prefix := range []string{"", "/mail"} { // with and without a proxy that removes the path of the URL
		p := s.get(prefix + link)
		if p.Code != 200 || p.Header().Get("Cache-Control") != "no-store" || p.Header().Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%d %v", p.Code, p.Header())
		}
		p.Has(t, "What we saw", "550 5.7.25 192.0.2.9 has no reverse DNS name", "21 November 2026, 12:00:00 UTC",
			"Address of your server 192.0.2.9", "Its name in HELO mail.example.com", "Sender (MAIL FROM) ann@example.com",
			"Domain of the recipient example.org", "9.2.0.192.in-addr.arpa. PTR no such name", "Test again",
			"9.2.0.192.in-addr.arpa. IN PTR mail.example.com.", "kept until 22 November 2026")
		if form := `<form method="post" action="` + strings.TrimPrefix(link, "/why/") + `">`; !strings.Contains(p.Body.String(), form) {
			t.Errorf("no %s", form)
		}
		p.Lacks(t, "secret.bob")
	}
	if s.asked.Load() != asked {
		t.Error("the page asked the DNS")
	}
}

// TestInvalidReferences tests that invalid and expired references show nothing of a record, and ask neither DNS nor store.
func TestInvalidReferences(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")
	foreign := records.NewSigner([]byte(strings.Repeat("f", 32))).Sign(records.NewID(s.clock()), "rdns-missing")
	ref := link[strings.Index(link, "=")+1:]
	asked := s.asked.Load()
	for _, c := range []struct{ name, link, says string }{
		{"cut", link[:len(link)-1], "The link is incomplete"},
		{"cut to nothing", "/why/rdns-missing?r=x", "The link is incomplete"},
		{"forged", link[:len(link)-3] + "abc", "not valid here"},
		{"foreign", "/why/rdns-missing?r=" + foreign, "not valid here"},
		{"of another reason", "/why/helo-mismatch?r=" + ref, "not valid here"},
		{"markup", "/why/rdns-missing?r=" + url.QueryEscape("<script>alert(1)</script>"+ref), "not valid here"},
		{"of no record", "/why/rdns-missing?r=" + s.signer.Sign(records.NewID(s.clock()), "rdns-missing"), "no longer stored"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for what, p := range map[string]webtest.Page{"get": s.get(c.link), "post": s.again(c.link)} {
				if p.Code != 200 {
					t.Errorf("%s: %d", what, p.Code)
				}
				p.Has(t, c.says, "What it means")
				p.Lacks(t, "What we saw", "Test again", "ann@example.com", "192.0.2.9", "<script")
			}
		})
	}
	s.after(24*time.Hour + time.Second)
	for _, p := range []webtest.Page{s.get(link), s.again(link)} {
		p.Has(t, "has expired")
		p.Lacks(t, "What we saw", "ann@example.com", "192.0.2.9")
	}
	if s.asked.Load() != asked {
		t.Error("the DNS was asked")
	}
}

// TestForgedReferences tests that forged references cause no load on the DNS and the store. There are 141 of them, each sent in a
// link and in a form.
func TestForgedReferences(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")
	asked, read := s.asked.Load(), s.read.Load()
	for i := range 2 * 141 {
		forged := []byte(link)
		forged[len(forged)-1-i%47] ^= byte(1 + i%3)
		path := string(forged[:strings.Index(link, "=")+1]) + url.QueryEscape(string(forged[strings.Index(link, "=")+1:]))
		r := httptest.NewRequest("GET", path, nil)
		if i%2 == 1 {
			r = httptest.NewRequest("POST", "/why/rdns-missing", strings.NewReader(path[strings.Index(path, "?")+1:]))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		s.after(pageRate.Interval) // stay below the limit of all pages
		s.pages.ServeHTTP(w, r)
		if w.Code != 200 || strings.Contains(w.Body.String(), "What we saw") {
			t.Fatalf("%s: %d", path, w.Code)
		}
	}
	if s.asked.Load() != asked || s.read.Load() != read {
		t.Errorf("%d questions, %d records read", s.asked.Load()-asked, s.read.Load()-read)
	}
}

// TestMarkupIsEscaped tests pages with values that contain markup.
func TestMarkupIsEscaped(t *testing.T) {
	t.Parallel()
	const hostile = `"><script>alert(1)</script><img/src=x>{{.}}`
	s := newSite(t, `mx.example.com. A 203.0.114.7
example.com. MX 10 mx.example.com.
9.2.0.192.in-addr.arpa. PTR \"\>\<script\>alert.example.com.
example.com. TXT "v=spf1 -all exp=e.example.com" "<script>"
`)
	link := s.refuse("192.0.2.9", hostile, hostile+"@example.com", hostile+"@example.org", "rdns-mismatch")
	for _, p := range []webtest.Page{s.get(link), s.again(link)} {
		p.Has(t, `<script>alert(1)</script>`) // in the text
		if strings.Contains(p.Body.String(), "<script") || strings.Contains(p.Body.String(), "<img") {
			t.Error(p.Body)
		}
	}
	for _, path := range []string{"/why?sender=" + url.QueryEscape(hostile+"@example.com") + "&ip=192.0.2.9&receiver=" + url.QueryEscape(hostile), "/why/" + url.PathEscape(hostile)} {
		if body := s.get(path).Body.String(); strings.Contains(body, "<script") || strings.Contains(body, "<img") {
			t.Error(body)
		}
	}
}

// TestOpenSPF tests links in the form of openspf.org, and links that look similar.
func TestOpenSPF(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	for _, path := range []string{"/why", "/why/", "/mail/why"} {
		p := s.get(path + "?sender=ann%40example.com&ip=192.0.2.9&receiver=mx.example.org")
		if p.Code != 200 {
			t.Fatal(p.Code)
		}
		p.Has(t, "Why SPF refused the message", "mx.example.org refused a message with the sender ann@example.com from the server 192.0.2.9",
			"The SPF record of example.com", "It did not query the DNS.", `example.com. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`)
	}
	for _, query := range []string{"", "?sender=ann@example.com", "?sender=x&ip=192.0.2.9", "?sender=ann@example.com&ip=nothing", "?ip=192.0.2.9&receiver=Call+0900"} {
		p := s.get("/why" + query)
		p.Has(t, "Why was my mail refused?")
		p.Lacks(t, "0900", "ann@")
	}
	s.get("/why?sender=ann@example.com&ip=192.0.2.9&receiver=Call+0900").Lacks(t, "0900")
	if s.asked.Load()+s.read.Load() != 0 {
		t.Error("the page asked the DNS or the store")
	}
}

// TestOtherPaths tests redirects, the style, unknown paths and methods, and long forms.
func TestOtherPaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	for _, c := range []struct {
		method, path string
		code         int
		header, is   string
	}{
		{"GET", "/", 303, "Location", "why/"},
		{"GET", "/mail/", 303, "Location", "why/"},
		{"GET", "/why/style.css", 200, "Content-Type", "text/css; charset=utf-8"},
		{"GET", "/mail/why/style.css", 200, "Content-Type", "text/css; charset=utf-8"},
		{"HEAD", "/why/rdns-missing", 200, "Cache-Control", "public, max-age=300"},
		{"GET", "/why/nothing", 404, "Cache-Control", "no-store"},
		{"POST", "/why/nothing", 404, "Cache-Control", "no-store"},
		{"GET", "/why/rdns-missing/more", 404, "Cache-Control", "no-store"},
		{"GET", "/favicon.ico", 404, "Cache-Control", "no-store"},
		{"DELETE", "/why/rdns-missing", 404, "X-Content-Type-Options", "nosniff"},
	} {
		p := s.do(httptest.NewRequest(c.method, c.path, nil))
		if p.Code != c.code || p.Header().Get(c.header) != c.is {
			t.Errorf("%s %s: %d %v", c.method, c.path, p.Code, p.Header())
		}
	}
	big := httptest.NewRequest("POST", "/why/rdns-missing", strings.NewReader("r="+strings.Repeat("a", 1<<20)))
	big.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.do(big).Lacks(t, "What we saw")
}

// TestPagesAreWellFormed tests the structure of each kind of page.
func TestPagesAreWellFormed(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")
	for name, p := range map[string]webtest.Page{
		"index": s.get("/why/"), "reason": s.get("/why/spf-fail"), "seen": s.get(link), "tested": s.again(link),
		"openspf": s.get("/why?sender=a@example.com&ip=192.0.2.9"), "missing": s.get("/nothing"),
	} {
		p.WellFormed(t, name)
		if n := strings.Count(p.Body.String(), `<nav aria-label=`); n != 1 {
			t.Errorf("%s: %d navigations", name, n)
		}
		if !strings.Contains(fmt.Sprint(p.Header()), "default-src 'none'") {
			t.Errorf("%s: %v", name, p.Header())
		}
	}
}
