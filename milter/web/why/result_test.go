package why

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"milterd/milter/web/webtest"
)

// TestAgain tests a refused mail again, before and after parts of its DNS are repaired, and while the DNS does not answer.
func TestAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")

	p := s.again(link)
	p.Has(t, "Not yet repaired", "Still wrong 192.0.2.9 has no reverse DNS name rdns-missing",
		"Also wrong HELO name mail.example.com has neither an A nor an AAAA record helo-unresolvable The records above repair this too.",
		"To repair it, add these records: 9.2.0.192.in-addr.arpa. IN PTR mail.example.com. mail.example.com. IN A 192.0.2.9",
		`To repair it, replace the record by this one: example.com. IN TXT "v=spf1 ip4:192.0.2.9 mx -all"`,
		"DNS answers now", "example.com. TXT \"v=spf1 mx -all\"")
	if s.lifted.Load() != 0 {
		t.Error("a block was lifted although nothing is repaired")
	}

	s.setZone(partlyRepairedZone)
	s.again(link).Has(t, "Not yet repaired", "Repaired 192.0.2.9 has no reverse DNS name rdns-missing", "Also wrong", "spf-fail")

	s.setZone(strings.Replace(partlyRepairedZone, "mx -all", "mx ip4:192.0.2.9 -all", 1))
	p = s.again(link)
	p.Has(t, "Repaired The DNS records are correct now. Send the message again. The temporary block of your server is lifted.",
		"Repaired 192.0.2.9 has no reverse DNS name", "9.2.0.192.in-addr.arpa. PTR mail.example.com.")
	p.Lacks(t, "Still wrong", "Also wrong", "To repair it")
	if s.lifted.Load() != 1 {
		t.Error("Repaired was not called")
	}

	s.setZone("!TIMEOUT 9.2.0.192.in-addr.arpa.\n" + strings.Replace(partlyRepairedZone, "mx -all", "mx ip4:192.0.2.9 -all", 1))
	p = s.again(link)
	p.Has(t, "Some answers are missing", "No answer 192.0.2.9 has no reverse DNS name")
	p.Lacks(t, "Repaired The DNS records")
	if s.lifted.Load() != 1 {
		t.Error("a failed check counts as repaired")
	}
}

// fixCases are faults of a zone and the record that repairs each.
var fixCases = []struct{ name, client, helo, from, reason, zone, fix string }{
	{"no PTR", "192.0.2.9", "mail.example.com", "", "rdns-missing", "mail.example.com. A 192.0.2.9",
		"9.2.0.192.in-addr.arpa. IN PTR mail.example.com."},
	{"no PTR, IPv6", "2001:db8::9", "mail.example.com", "", "rdns-missing", "mail.example.com. AAAA 2001:db8::9",
		"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. IN PTR mail.example.com."},
	{"PTR does not lead back", "192.0.2.9", "mail.example.com", "", "rdns-mismatch",
		"9.2.0.192.in-addr.arpa. PTR mail.example.com.\nmail.example.com. A 192.0.2.1", "mail.example.com. IN A 192.0.2.9"},
	{"HELO does not resolve", "192.0.2.9", "mail.example.com", "", "helo-unresolvable",
		"9.2.0.192.in-addr.arpa. PTR a.example.com.\na.example.com. A 192.0.2.9", "mail.example.com. IN A 192.0.2.9"},
	{"HELO of another", "192.0.2.9", "mail.example.com", "", "helo-mismatch",
		"9.2.0.192.in-addr.arpa. PTR a.example.com.\na.example.com. A 192.0.2.9\nmail.example.com. A 192.0.2.1", "mail.example.com. IN A 192.0.2.9"},
	{"HELO is an alias", "192.0.2.9", "mail.example.com", "", "helo-cname",
		"9.2.0.192.in-addr.arpa. PTR a.example.com.\na.example.com. A 192.0.2.9\nmail.example.com. CNAME a.example.com.", "mail.example.com. IN A 192.0.2.9"},
	{"no MX", "192.0.2.9", "a.example.com", "x@example.net", "sender-no-domain", "",
		"example.net. IN MX 10 mail.example.net."},
	{"null MX", "192.0.2.9", "a.example.com", "x@example.net", "sender-null-mx", "example.net. MX 0 .",
		"example.net. IN MX 10 mail.example.net."},
	{"no SPF", "192.0.2.9", "a.example.com", "x@example.net", "spf-none", "example.net. MX 10 mx.example.com.\nmx.example.com. A 203.0.114.7",
		`example.net. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
	{"no mail", "192.0.2.9", "a.example.com", "x@example.net", "spf-no-mail", "example.net. MX 10 mx.example.com.\nmx.example.com. A 203.0.114.7\nexample.net. TXT \"v=spf1 -all\"",
		`example.net. IN TXT "v=spf1 ip4:192.0.2.9 -all"`},
	{"softfail", "192.0.2.9", "a.example.com", "x@example.net", "spf-softfail", "example.net. MX 10 mx.example.com.\nmx.example.com. A 203.0.114.7\nexample.net. TXT \"v=spf1 ip4:192.0.2.1 ~all\"",
		`example.net. IN TXT "v=spf1 ip4:192.0.2.9 ip4:192.0.2.1 ~all"`},
	{"softfail, and a backslash in the record", "192.0.2.9", "a.example.com", "x@example.net", "spf-softfail",
		"example.net. MX 10 mx.example.com.\nmx.example.com. A 203.0.114.7\nexample.net. TXT \"v=spf1 exp=a\\\\b.example.net ~all\"",
		`example.net. IN TXT "v=spf1 ip4:192.0.2.9 exp=a\\b.example.net ~all"`},
	{"too wide", "192.0.2.9", "a.example.com", "x@example.net", "spf-too-wide", "example.net. MX 10 mx.example.com.\nmx.example.com. A 203.0.114.7\nexample.net. TXT \"v=spf1 +all\"",
		`example.net. IN TXT "v=spf1 mx ip4:192.0.2.9 -all"`},
	{"HELO's SPF", "192.0.2.9", "a.example.com", "", "spf-helo-fail", "a.example.com. TXT \"v=spf1 -all\"",
		`a.example.com. IN TXT "v=spf1 ip4:192.0.2.9 -all"`},
}

// TestFixes tests the records that the page shows for each fault.
func TestFixes(t *testing.T) {
	t.Parallel()
	for _, c := range fixCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			zone := c.zone + "\n"
			if c.helo == "a.example.com" { // its other records are valid
				zone += "9.2.0.192.in-addr.arpa. PTR a.example.com.\na.example.com. A 192.0.2.9\n"
			}
			s := newSite(t, zone)
			link := s.refuseOrDefer(c.client, c.helo, c.from, c.reason)
			s.again(link).Has(t, c.fix)
		})
	}
}

// refuseOrDefer is like refuse, but accepts that the reason leads to greylisting only.
func (s *site) refuseOrDefer(client, helo, from, reason string) string {
	s.t.Helper()
	for _, id := range []string{reason, "greylisted"} {
		if link, ok := s.try(client, helo, from, id, reason); ok {
			return link
		}
	}
	s.t.Fatalf("the mail was not refused for %s", reason)
	return ""
}

// TestTestsAreLimited tests the limits for one reference and for all together.
func TestTestsAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")
	for i := range recordRate.Burst {
		if p := s.again(link); p.Code != 200 {
			t.Fatalf("test %d: %d", i, p.Code)
		}
	}
	asked := s.asked.Load()
	p := s.again(link)
	if p.Code != 429 || p.Header().Get("Retry-After") == "" || s.asked.Load() != asked {
		t.Errorf("%d, %d questions", p.Code, s.asked.Load()-asked)
	}
	p.Has(t, "Too many tests", "What we saw", "Test again")
	s.after(recordRate.Interval)
	if p := s.again(link); p.Code != 200 {
		t.Errorf("after a minute: %d", p.Code)
	}
	for range testRate.Burst { // each with a reference of its own
		link = s.refuse("192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org", "rdns-missing")
		p = s.again(link)
	}
	if p.Code != 429 {
		t.Errorf("no limit for all references: %d", p.Code)
	}
}

// TestPagesAreLimited tests the limit of pages.
func TestPagesAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, brokenZone)
	get := func() webtest.Page { return s.get("/why/rdns-missing") }
	for i := range pageRate.Burst {
		if p := get(); p.Code != 200 {
			t.Fatalf("page %d: %d", i, p.Code)
		}
	}
	if p := get(); p.Code != 429 || p.Header().Get("Retry-After") == "" {
		t.Errorf("after the last allowed page: %d", p.Code)
	} else {
		p.Has(t, "Too many requests")
	}
	s.after(pageRate.Interval)
	if p := get(); p.Code != 200 {
		t.Errorf("later: %d", p.Code)
	}
}

// TestLimiter tests that the limiter does not keep old references, and limits the tests that run at the same time.
func TestLimiter(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	l := newLimiter(func() time.Time { return now })
	for i := range 3000 {
		if !l.beginTest(fmt.Sprint(i)) {
			t.Fatalf("test %d", i)
		}
		l.endTest()
		now = now.Add(testRate.Interval)
	}
	if len(l.records) > 100 {
		t.Errorf("the limiter keeps %d references", len(l.records))
	}
	for range testsAtATime {
		now = now.Add(testRate.Interval)
		if !l.beginTest("a") {
			t.Fatal("too few tests at the same time")
		}
	}
	if now = now.Add(time.Hour); l.beginTest("b") {
		t.Error("too many tests at the same time")
	}
}

// TestNotTestable tests that a page offers no test for a reason that does not depend on the DNS.
func TestNotTestable(t *testing.T) {
	t.Parallel()
	s := newSite(t, repairedZone)
	link := s.refuse("192.0.2.9", "mail.example.com", "ann@-example-.com", "bob@example.org", "sender-syntax")
	asked := s.asked.Load()
	for _, p := range []webtest.Page{s.get(link), s.again(link)} {
		p.Has(t, "What we saw", "it cannot be tested here")
		p.Lacks(t, "<form")
	}
	if s.asked.Load() != asked {
		t.Error("the DNS was asked")
	}
}

// TestHostName tests valid and invalid host names.
func TestHostName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"mail.example.com": true, "MAIL.example.com.": true, "_spf.example.com": true, "a": false, "": false, ".": false, "192.0.2.1": false,
		"[192.0.2.1]": false, "a b.example": false, "a..b": false, "-a.example": false, `a".example.com`: false, "a.example\n": false,
		strings.Repeat("a.", 130) + "example": false, "é.example": false, "mail.example.com. IN A 1": false,
		"mail.example.com..": false, "mail.example-.com": false, "-": false, "..": false,
	} {
		if _, got := hostName(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
