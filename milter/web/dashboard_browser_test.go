package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/store"
	"milterd/milter/web/webtest"
)

// crowded is a board on which much has happened, and some of it has long names.
func crowded(t *testing.T) *board {
	b := busy(t)
	long := b.mail(1, "2001:db8:8000:1234:5678:9abc:def0:1234", longHelo, strings.Repeat("a-very-long-local-part.", 3)[:64]+"@"+longHelo[:180]+".example",
		strings.Repeat("a-very-long-recipient.", 3)[:60]+"@example.org")
	long.ID = "session2"
	o := outcome(t, "spf-fail", checks.Reject, "SPF of "+longHelo[:200]+" does not allow 2001:db8:8000:1234:5678:9abc:def0:1234")
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "example.net.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("ip4:198.51.100.0/24 ", 12), strings.Repeat("x", 250)}}
	b.decide(long, []checks.Result{
		{Check: "rdns", Stage: checks.Connect, Took: 3 * time.Millisecond},
		{Check: "spf", Stage: checks.MailFrom, Outcomes: []checks.Outcome{o}, Took: 1234567 * time.Microsecond, Notes: []string{"a note"}, Asked: []checks.Asked{
			{Question: checks.Question{Name: longHelo + ".", Type: dns.TypeTXT}, Answer: checks.Answer{Records: []dns.RR{txt}}, Took: 345 * time.Millisecond},
			{Question: checks.Ask("example.net", dns.TypeMX), Took: time.Millisecond},
		}},
		{Check: "dnsbl", Stage: checks.MailFrom, Err: fmt.Errorf("server misbehaving")},
	}, outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), o)
	for i := range 40 { // so that the chart has something to show
		b.history.Decided(b.mail(i*17%60, "192.0.2.9", "h", "", ""), checks.Decision{Outcomes: []checks.Outcome{outcome(t, "spf-fail", checks.Watch, "x")}})
		b.history.Accepted(b.mail(i*7%60, "192.0.2.9", "h", "", ""))
	}
	b.operator.triplets = append(b.operator.triplets, Triplet{Identity: longHelo, From: longHelo + "@example.com", To: "bob@" + longHelo, Client: "192.0.2.9", State: "gone"})
	b.operator.clients = append(b.operator.clients, Client{Identity: longHelo, Passes: 123456, Client: "2001:db8:8000:1234:5678:9abc:def0:1234"})
	b.operator.blocks = append(b.operator.blocks, Block{Client: "2001:db8:8000:1234::/64", Why: strings.Repeat("because", 14), Until: checktest.Now.Add(time.Hour), Level: 3, InForce: true})
	return b
}

// alarming has everything wrong that the overview tells of.
func alarming(d *Dashboard) {
	d.Problems = func() []string { return []string{"the store is down since 2026-11-21T11:00:00Z: " + longHelo[:120]} }
	d.Parts.Checks = func() []checks.Condition {
		return []checks.Condition{
			{Check: "dnsbl", Name: "bl.example (client)", State: "off", Why: "it lists the world", Since: checktest.Now, Counts: map[string]uint64{"queries": 14000, "left_out": 2}},
			{Check: "access", Name: "/etc/milterd/" + longHelo[:90], State: "on"},
		}
	}
	d.Parts.Store = func() store.Status {
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
		{"overview", "/", "By reason", crowded},
		{"overview-week", "/?period=week", "spf-none", crowded},
		{"overview-empty", "/", "Nothing was said against anybody", empty},
		{"overview-alarm", "/", "it lists the world", func(t *testing.T) *board { return newBoard(t, alarming) }},
		{"refusals", "/refusals?action=all", "192.0.2.9 has no reverse DNS name", crowded},
		{"refusals-filter", "/refusals?sender=ann@example.com&reason=rdns-missing&since=24h", "All refusals", crowded},
		{"refusals-none", "/refusals?sender=nobody@example.com", "No decision fits the filter.", crowded},
		{"refusals-off", "/refusals", "No records of decisions are kept", func(t *testing.T) *board { return newBoard(t, func(d *Dashboard) { d.Book = nil }) }},
		{"trace", "/session?id=session2&n=6", "could not find out", crowded},
		{"watched", "/watched", "To enforce it", crowded},
		{"watched-empty", "/watched", "Nothing was refused or held yet.", empty},
		{"greylist", "/greylist", "allowed by hand", crowded},
		{"greylist-empty", "/greylist", "No client has passed yet.", empty},
		{"blocks", "/blocks", "the spam run", crowded},
		{"blocks-empty", "/blocks", "Nobody is blocked.", empty},
		{"blocks-down", "/blocks", "The store did not answer", func(t *testing.T) *board { b := crowded(t); b.fail(); return b }},
		{"nothing", "/nothing", "There is no such page", crowded},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := read(t, browser, c.board(t).pages)
			r.Open(r.home + c.path)
			if !strings.Contains(r.Text("main"), c.says) {
				t.Errorf("no %q in %s", c.says, r.Text("main"))
			}
			for i, l := range webtest.Looks {
				if i == 0 {
					r.accessible(l)
				} else {
					r.accessible(l, ofLook...)
				}
				r.Screenshot("operator-" + c.name + "-" + l.Name)
			}
			r.harmless()
		})
	}
}
