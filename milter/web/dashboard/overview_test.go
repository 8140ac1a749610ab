package dashboard

import (
	"html"
	"regexp"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/records"
	"milterd/milter/store/status"
)

// TestOverview compares the overview with what was decided, for each period.
func TestOverview(t *testing.T) {
	t.Parallel()
	site := busySite(t)
	p := site.get("/")
	p.Has(t, "milterd mx.example.org", "As of 12:00:00 UTC", "reject 1", "tempfail 1", "greylist 1", "watch 0", "accept 1",
		"11:48 to 11:49: 1 reject", "11:58 to 11:59: 1 accept", "Connections 3 open", "Profile safe", "for 26 h 0 min, since 2026-11-20 10:00:00",
		"ok since 2026-11-21 11:00:00", "embedded /var/lib/milterd", "4 567 records, 5.0 MiB", "60 answered from the cache (75 %)", "12 SERVFAIL", "1 234 written, 0 dropped",
		"What the profiles would have done The profile safe would have refused 3 of 40 messages (spf-no-mail 3), and greylisted 0.", "The profile strict would")
	p.Lacks(t, "spf-none", "Needs attention")
	// Actions that were not taken have no column.
	if !regexp.MustCompile(`Reason Over time reject tempfail greylist all rdns-missing.* 1 · 1 2 .*greylisted.* · 1 · 1 `).MatchString(p.Text) {
		t.Errorf("reasons: %s", p.Text)
	}
	site.get("/?period=day").Has(t, "watch 1", "spf-none", "Sat 21 Nov, 10:30 to 10:45: 1 watch")
	site.get("/?period=week").Has(t, "watch 1", "Sat 21 Nov, 10:00 to 11:00: 1 watch", "Sun 15")
	site.get("/?period=century").Has(t, "11:48 to 11:49: 1 reject")
	// Each reason has a link to its decisions.
	m := regexp.MustCompile(`href="(refusals\?reason=rdns-missing[^"]*)"`).FindStringSubmatch(p.Body.String())
	if m == nil {
		t.Fatal("no link to the decisions")
	}
	site.get("/"+html.UnescapeString(m[1])).Has(t, "192.0.2.9", "2001:db8::5")
}

// TestOverviewShowsProblems tests the overview, and the number of problems on another page.
func TestOverviewShowsProblems(t *testing.T) {
	t.Parallel()
	site := newTestSite(t, func(d *Config) {
		d.Attention = func() []string {
			return []string{"the store is down", "dnsbl bl.example is off: it lists the\x1b world"}
		}
		d.Components.LogDropped = func() uint64 { return 7 }
		d.Components.Records = func() records.Stats { return records.Stats{Dropped: 8} }
		d.Components.Checks = func() []checks.Condition {
			return []checks.Condition{
				{Check: "dnsbl", Name: "bl.example (client)", State: "off", Why: "it lists the world", Since: checktest.Now, Counts: map[string]uint64{"queries": 14000, "left_out": 2}},
				{Check: "access", Name: "/etc/deny", State: "on"},
			}
		}
		d.Components.Store = func() status.Store {
			return status.Store{Driver: "redis", Error: "connection\x1b refused", ErrorAt: checktest.Now, Records: -1, Bytes: -1}
		}
	})
	site.down = true
	p := site.get("/")
	p.Has(t, "Needs attention the store is down dnsbl bl.example is off: it lists the? world", "bl.example (client)", "down since",
		"connection? refused", "2 left out, 14 000 queries", "/etc/deny access on daemon start", "No decisions in this period")
	p.Lacks(t, "-1 records")
	site.get("/blocks").Has(t, "Overview 2 to look at")
}
