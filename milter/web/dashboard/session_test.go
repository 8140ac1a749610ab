package dashboard

import (
	"errors"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/records"
)

// TestSession opens the page of a session from the list, by a link and by its id.
func TestSession(t *testing.T) {
	t.Parallel()
	site := newTestSite(t, nil)
	rr, err := dns.NewRR("9.2.0.192.in-addr.arpa. 60 IN PTR a.example.")
	if err != nil {
		t.Fatal(err)
	}
	other := newSession(14, "192.0.2.77", "other.example", "eve@example.com", "bob@example.org")
	other.ID = "session2"
	site.decide(other, nil, outcome(t, "spf-fail", checks.Reject, "x"))
	first := newSession(12, "192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org")
	reject := outcome(t, "rdns-missing", checks.Reject, "192.0.2.9 has no reverse DNS name")
	site.decide(first, []checks.Result{
		{Check: "rdns", Stage: checks.Connect, Outcomes: []checks.Outcome{reject}, Took: 1234567 * time.Nanosecond, Notes: []string{"a note"},
			Asked: []checks.Asked{{Question: checks.Ask("9.2.0.192.in-addr.arpa", dns.TypePTR), Answer: checks.Answer{Records: []dns.RR{rr}}, Took: 345 * time.Millisecond}}},
		{Check: "dnsbl", Stage: checks.MailFrom, Err: errors.New("server misbehaving")},
		{Check: "helo", Stage: checks.Helo},
	}, outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), reject)
	site.accept(newSession(11, "192.0.2.9", "mail.example.com", "zoe@example.com", "carl@example.org"))

	list := site.get("/refusals?reason=rdns-missing")
	m := regexp.MustCompile(`href="(session\?[^"]*)"`).FindStringSubmatch(list.Body.String())
	if m == nil {
		t.Fatal("no link to the session")
	}
	p := site.get("/" + html.UnescapeString(m[1]))
	p.Has(t, "Session session1", "Client 192.0.2.9", "HELO mail.example.com", "Sender <ann@example.com>",
		"reject rdns-missing Sat 21 Nov 11:48:00", "550 5.7.25 192.0.2.9 has no reverse DNS name", "Recipient <bob@example.org>", "Queue id 4dDk2p1xQz",
		"To answer the sender Set the PTR record. The sender's page https://mx.example.org/why/rdns-missing?r=",
		"Also applied watch helo-mismatch HELO is another name", "3 results, 1 DNS question, 1.2 ms",
		"rdns connect rdns-missing a note 1.2", "9.2.0.192.in-addr.arpa. PTR", "a.example.", "345", "failed: server misbehaving", "no reason applies",
		"accept message accepted Sat 21 Nov 11:49:00 Sender <zoe@example.com> Recipient <carl@example.org>")
	if strings.Index(p.Text, "rdns-missing") > strings.Index(p.Text, "message accepted") {
		t.Error("the decisions are not in order")
	}
	p.Lacks(t, "eve@example.com", "data-refresh")

	for _, ref := range []string{"session1", "https://mx.example.org/why/rdns-missing?r=" + site.recordID(t, "rdns-missing"), strings.ToUpper(site.recordID(t, "rdns-missing"))} {
		found := site.follow(site.get("/refusals?ref=" + url.QueryEscape(ref)))
		found.Has(t, "Session session1", "rdns-missing", "message accepted")
	}
	site.get("/refusals?ref="+records.NewID(checktest.Now)).Has(t, "No record has this link or session", "192.0.2.9")
	site.get("/refusals?ref=session9").Has(t, "No record has this link or session")
	for _, path := range []string{"/session", "/session?id=session1", "/session?id=session1&n=0", "/session?id=session1&n=x", "/session?id=session9&n=2"} {
		if p := site.get(path); p.Code != 404 {
			t.Errorf("%s: %d", path, p.Code)
		}
	}
}

// recordID returns the id of the only record with a reason.
func (site *testSite) recordID(t *testing.T, reason string) string {
	t.Helper()
	list, err := site.book.Find(t.Context(), records.Query{Reason: reason, Max: 1})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0].ID
}
