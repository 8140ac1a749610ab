package dashboard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/evidence"
	"milterd/milter/mirror"
	"milterd/milter/store/status"
	"milterd/milter/web/webtest"
)

// busySite returns a site with a decision of each action, and entries in all lists.
func busySite(t *testing.T) *testSite {
	t.Helper()
	site := newTestSite(t, nil)
	site.decide(newSession(90, "192.0.2.7", "h7.example.net", "", "bob@example.org"), nil, outcome(t, "spf-none", checks.Watch, "no policy"))
	site.decide(newSession(12, "192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org"), nil,
		outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), outcome(t, "rdns-missing", checks.Reject, "192.0.2.9 has no reverse DNS name"))
	site.decide(newSession(11, "192.0.2.9", "mail.example.com", "ann@example.com", "carl@example.org"), nil,
		outcome(t, "greylisted", checks.Tempfail, "greylisted for 180 s more"))
	site.decide(newSession(3, "2001:db8::5", "six.example.net", "eve@sub.example.net", "bob@example.org"), nil, outcome(t, "rdns-missing", checks.Greylist, "x"))
	site.accept(newSession(2, "198.51.100.3", "good.example.com", "dan@example.com", "carl@example.org"))
	site.operator.triplets = []Triplet{
		{Identity: "192.0.2.0/24", From: "ann@example.com", To: "bob@example.org", Client: "192.0.2.9", Suspicion: "rdns-missing", State: "waiting",
			Attempts: 1, First: checktest.Now.Add(-2 * time.Minute), Last: checktest.Now.Add(-2 * time.Minute), Until: checktest.Now.Add(47 * time.Hour)},
		{Identity: "example.net 192.0.2.0/24", From: "", To: "carl@example.org", Client: "192.0.2.7", State: "passed",
			Attempts: 3, First: checktest.Now.Add(-time.Hour), Last: checktest.Now.Add(-time.Minute)},
	}
	site.operator.clients = []Client{
		{Identity: "example.net 192.0.2.0/24", Passes: 5, Used: checktest.Now.Add(-time.Minute), Client: "192.0.2.7"},
		{Identity: "example.org", Allowed: true},
	}
	site.addEvidence()
	site.addMirror()
	site.received = []Received{
		{Source: "203.0.113.9", From: "news.example.org", Messages: 2, DKIM: "fail", SPF: "fail", Did: "reject", Reporter: "google.com", Begin: checktest.Now.AddDate(0, 0, -3), End: checktest.Now.AddDate(0, 0, -2)},
		{Source: "2001:db8:8000:1234:5678:9abc:def0:1234", From: "example.org", Messages: 1240, DKIM: "pass", SPF: "fail", Did: "accept", Reporter: "Enterprise Outlook", Begin: checktest.Now.AddDate(0, 0, -9), End: checktest.Now.AddDate(0, 0, -1)},
	}
	site.operator.blocks = []Block{
		{Client: "203.0.113.7", Since: checktest.Now.Add(-time.Minute), Until: checktest.Now.Add(59 * time.Minute), Level: 1, Why: "naming too many unknown recipients", InForce: true},
		{Client: "2001:db8:1::/64", Since: checktest.Now, Until: checktest.Now.Add(72 * time.Hour), Why: "the spam run"},
	}
	return site
}

// addEvidence sets reports with a reason of each verdict.
func (site *testSite) addEvidence() {
	day := func(ago int) time.Time { return checktest.Now.AddDate(0, 0, -ago) }
	forged := evidence.Sender{Sender: "bank.example", Client: "192.0.2.0/24", Occasions: 2, First: day(3), Last: day(2), Clean: 0}
	partner := evidence.Sender{Sender: "partner.example", Client: "partner.example", Verified: true, SPF: true, Occasions: 12, First: day(20), Last: day(1), Clean: 30, Good: "answered"}
	bounces := evidence.Sender{Client: "relay.example", Verified: true, Occasions: 1, First: day(9), Last: day(9), Clean: 8, Good: "delivers"}
	site.watch = evidence.WatchReport{Since: day(40), Until: checktest.Now, Threshold: evidence.Required(), Lost: 7, Reasons: []evidence.Watched{
		{Reason: "helo-mismatch", Action: "watch", Verdict: evidence.Unsafe, Why: "because of partner.example (12, answered), <> of relay.example (1, delivers)", First: day(39), Last: day(1),
			Occasions: 1412, Days: 38, Passed: 1012, RefusedOtherwise: 400, Good: 13, Clients: 311, Accepted: 5, SPF: 160, Answered: 1, Senders: 62, GoodSenders: 2,
			Affected: append([]evidence.Sender{partner, bounces}, slices.Repeat([]evidence.Sender{forged}, 48)...)},
		{Reason: "helo-underscore", Action: "watch", Verdict: evidence.Unknown, Why: "40 of 100 occasions, 7 of 20 clients, over 3 of 14 days", First: day(3), Last: day(0),
			Occasions: 40, Days: 4, Passed: 40, Clients: 7, Senders: 1, Affected: []evidence.Sender{forged}},
		{Reason: "helo-cname", Action: "watch", Verdict: evidence.Unknown, Why: "never seen"},
		{Reason: "rdns-missing", Action: "greylist", Verdict: evidence.Safe, Why: "none of these is a known good sender", First: day(30), Last: day(0),
			Occasions: 2200, Days: 30, Passed: 12, RefusedOtherwise: 900, Clients: 800, Senders: 1, Affected: []evidence.Sender{forged}},
		{Reason: "spf-none", Action: "watch", Verdict: evidence.Never, First: day(1), Last: day(1), Occasions: 1, Days: 1, Passed: 1, Clients: 1, Senders: 1, Affected: []evidence.Sender{forged}},
	}}
	site.action = evidence.ActionReport{Since: day(40), Until: checktest.Now, Reasons: []evidence.Enforced{
		{Reason: "rdns-missing", Action: "greylist", Held: 300, HeldSenders: 290, CameBack: 4, Clients: 120, First: day(39), Last: day(0), Wronged: []evidence.Sender{}},
		{Reason: "spf-fail", Action: "reject", Refused: 900, Clients: 400, First: day(39), Last: day(0), WrongedSenders: 1, Wronged: []evidence.Sender{partner}},
	}}
}

// addMirror sets a report with a right domain, one with faults and one of another site.
func (site *testSite) addMirror() {
	subject := func(name string, own bool, messages int, faults ...mirror.Fault) mirror.Subject {
		var found []*mirror.Finding
		for i := range faults {
			faults[i].Messages, faults[i].Last, faults[i].Queue = messages/2, checktest.Now.Add(-time.Hour), "4dDk2p1xQz"
			found = append(found, faults[i].About())
		}
		return mirror.Subject{
			Name: name, Own: own, Messages: messages, Busiest: messages / 3, To: map[string]int{"Gmail": messages / 4}, Faults: faults,
			Verdicts: mirror.VerdictsOn(found, func(string) bool { return false }),
		}
	}
	rdns := mirror.Fault{Finding: "mirror-rdns", Seen: "198.51.100.7 has no PTR record", Repair: []string{"7.100.51.198.in-addr.arpa. IN PTR mx.example.org."}}
	unsubscribe := mirror.Fault{Finding: "mirror-unsubscribe", Seen: "a message to 240 recipients: there is no List-Unsubscribe field"}
	right := subject("example.org", true, 1240)
	right.Unsigned = 3
	site.mirror = mirror.Report{Since: checktest.Now.AddDate(0, 0, -6), Until: checktest.Now, Lost: 2, Domains: []mirror.Subject{
		right,
		subject("news.example.org", true, 480, rdns,
			mirror.Fault{Finding: "mirror-spf-fail", Seen: "softfail for news.example.org from 198.51.100.7", Repair: []string{`news.example.org. IN TXT "v=spf1 ip4:198.51.100.7 include:_spf.esp.example ~all"`}},
			mirror.Fault{Finding: "mirror-dmarc-none", Seen: "there is no record at _dmarc.example.org", Repair: []string{`_dmarc.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"`}},
			unsubscribe),
		subject("partner.example", false, 2, mirror.Fault{Finding: "mirror-dmarc-fail", Seen: "From is of partner.example, MAIL FROM of example.org with SPF pass from 198.51.100.7"}),
	}, Users: []mirror.Subject{subject("newsletter", false, 480, unsubscribe), subject("ann@example.org", false, 12)}}
}

// allPages are the URLs of all pages of busySite.
var allPages = []string{
	"/", "/?period=day", "/?period=week", "/refusals", "/refusals?action=all", "/session?id=session1&n=2", "/watched", "/greylist", "/blocks", "/mirror", "/nothing",
}

// crowdedSite returns a site with many decisions and with values as long as they can be.
func crowdedSite(t *testing.T) *testSite {
	site := busySite(t)
	long := newSession(1, "2001:db8:8000:1234:5678:9abc:def0:1234", webtest.LongName, strings.Repeat("a-very-long-local-part.", 3)[:64]+"@"+webtest.LongName[:180]+".example",
		strings.Repeat("a-very-long-recipient.", 3)[:60]+"@example.org")
	long.ID = "session2"
	o := outcome(t, "spf-fail", checks.Reject, "SPF of "+webtest.LongName[:200]+" does not allow 2001:db8:8000:1234:5678:9abc:def0:1234")
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "example.net.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("ip4:198.51.100.0/24 ", 12), strings.Repeat("x", 250)}}
	site.decide(long, []checks.Result{
		{Check: "rdns", Stage: checks.Connect, Took: 3 * time.Millisecond},
		{Check: "spf", Stage: checks.MailFrom, Outcomes: []checks.Outcome{o}, Took: 1234567 * time.Microsecond, Notes: []string{"a note"}, Asked: []checks.Asked{
			{Question: checks.Question{Name: webtest.LongName + ".", Type: dns.TypeTXT}, Answer: checks.Answer{Records: []dns.RR{txt}}, Took: 345 * time.Millisecond},
			{Question: checks.Ask("example.net", dns.TypeMX), Took: time.Millisecond},
		}},
		{Check: "dnsbl", Stage: checks.MailFrom, Err: fmt.Errorf("server misbehaving")},
	}, outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), o)
	for i := range 40 { // fill the chart
		site.history.Decided(checks.NewRequest(newSession(i*17%60, "192.0.2.9", "h", "", ""), checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{outcome(t, "spf-fail", checks.Watch, "x")}})
		site.history.Accepted(checks.NewRequest(newSession(i*7%60, "192.0.2.9", "h", "", ""), checks.EndOfHeader))
	}
	site.operator.triplets = append(site.operator.triplets, Triplet{Identity: webtest.LongName, From: webtest.LongName + "@example.com", To: "bob@" + webtest.LongName, Client: "192.0.2.9", State: "gone"})
	site.operator.clients = append(site.operator.clients, Client{Identity: webtest.LongName, Passes: 123456, Client: "2001:db8:8000:1234:5678:9abc:def0:1234"})
	site.operator.state = fullState
	site.operator.state.Lists = append(site.operator.state.Lists, ListEntry{List: "deny", Entry: strings.Repeat("a", 64) + "@" + webtest.LongName, Why: strings.Repeat("because ", 24)})
	site.mirror.Domains = append(site.mirror.Domains, mirror.Subject{Name: webtest.LongName, Messages: 123456, Faults: []mirror.Fault{
		{Finding: "mirror-helo", Seen: webtest.LongName + " does not have the address 2001:db8:8000:1234:5678:9abc:def0:1234", Repair: []string{webtest.LongName + ". IN AAAA 2001:db8:8000:1234:5678:9abc:def0:1234"}},
	}})
	site.mirror.Users = append(site.mirror.Users, mirror.Subject{Name: strings.Repeat("a-very-long-user.", 9), Messages: 123456})
	site.operator.blocks = append(site.operator.blocks, Block{Client: "2001:db8:8000:1234::/64", Why: strings.Repeat("because", 14), Until: checktest.Now.Add(time.Hour), Level: 3, InForce: true})
	return site
}

// addHostile adds a decision with id session3 and an entry in each list, all of whose values are the given one.
func (site *testSite) addHostile(t *testing.T, value string) {
	t.Helper()
	s := newSession(0, "192.0.2.9", value, value+"@example.com", value+"@example.org")
	s.ID, s.ClientName, s.Envelope.QueueID = "session3", value, value
	o := outcome(t, "rdns-missing", checks.Reject, value)
	o.Detail = map[string]string{"helo": value}
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "x.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{value}}
	site.decide(s, []checks.Result{{
		Check: "rdns", Outcomes: []checks.Outcome{o}, Err: errors.New(value), Notes: []string{value},
		Asked: []checks.Asked{{Question: checks.Question{Name: value, Type: dns.TypeTXT}, Answer: checks.Answer{Records: []dns.RR{txt}}}},
	}}, outcome(t, "helo-mismatch", checks.Watch, value), o)
	site.operator.triplets = []Triplet{{Identity: value, From: value, To: value, Client: value, Suspicion: value, State: "waiting"}}
	site.operator.clients = []Client{{Identity: value, Client: value}}
	site.operator.blocks = []Block{{Client: value, Why: value}}
	site.operator.state = State{
		Lists: []ListEntry{{List: "deny", Entry: value, Why: value}, {List: "allow", Entry: value, File: value}}, Blocks: site.operator.blocks,
		Greylisted: 1, Rates: []Rate{{Text: value, Key: value}}, Domain: value,
	}
	site.watch.Reasons = []evidence.Watched{{
		Reason: "helo-mismatch", Verdict: evidence.Unsafe, Why: value, Occasions: 1, Senders: 1, Affected: []evidence.Sender{{Sender: value, Client: value, Good: value}},
	}}
	site.action.Reasons = []evidence.Enforced{{Reason: "rdns-missing", WrongedSenders: 1, Wronged: []evidence.Sender{{Client: value}}}}
	fault := mirror.Fault{Finding: value, Queue: value, Seen: value, Repair: []string{value}, Last: checktest.Now}
	site.mirror.Domains = []mirror.Subject{{Name: value, Faults: []mirror.Fault{fault}}}
	site.mirror.Users = []mirror.Subject{{Name: value, Faults: []mirror.Fault{fault}}}
}

// addProblems adds all problems that the overview can show.
func addProblems(d *Config) {
	d.Attention = func() []string {
		return []string{"the store is down since 2026-11-21T11:00:00Z: " + webtest.LongName[:120]}
	}
	d.Components.Checks = func() []checks.Condition {
		return []checks.Condition{
			{Check: "dnsbl", Name: "bl.example (client)", State: "off", Why: "it lists the world", Since: checktest.Now, Counts: map[string]uint64{"queries": 14000, "left_out": 2}},
			{Check: "access", Name: "/etc/milterd/" + webtest.LongName[:90], State: "on"},
		}
	}
	d.Components.Store = func() status.Store {
		return status.Store{Driver: "redis", Place: "redis://192.0.2.1:6379", Error: "connection refused", ErrorAt: checktest.Now, Records: -1, Bytes: -1}
	}
}
