package dashboard

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/evidence"
	"milterd/milter/records"
	"milterd/milter/store"
	"milterd/milter/web/webtest"
)

// busy is a board to which several things have happened.
func busy(t *testing.T) *board {
	t.Helper()
	b := newBoard(t, nil)
	b.decide(b.mail(90, "192.0.2.7", "h7.example.net", "", "bob@example.org"), nil, outcome(t, "spf-none", checks.Watch, "no policy"))
	b.decide(b.mail(12, "192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org"), nil,
		outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), outcome(t, "rdns-missing", checks.Reject, "192.0.2.9 has no reverse DNS name"))
	b.decide(b.mail(11, "192.0.2.9", "mail.example.com", "ann@example.com", "carl@example.org"), nil,
		outcome(t, "greylisted", checks.Tempfail, "greylisted for 180 s more"))
	b.decide(b.mail(3, "2001:db8::5", "six.example.net", "eve@sub.example.net", "bob@example.org"), nil, outcome(t, "rdns-missing", checks.Greylist, "x"))
	b.accept(b.mail(2, "198.51.100.3", "good.example.com", "dan@example.com", "carl@example.org"))
	b.operator.triplets = []Triplet{
		{Identity: "192.0.2.0/24", From: "ann@example.com", To: "bob@example.org", Client: "192.0.2.9", Suspicion: "rdns-missing", State: "waiting",
			Attempts: 1, First: checktest.Now.Add(-2 * time.Minute), Last: checktest.Now.Add(-2 * time.Minute), Until: checktest.Now.Add(47 * time.Hour)},
		{Identity: "example.net 192.0.2.0/24", From: "", To: "carl@example.org", Client: "192.0.2.7", State: "passed",
			Attempts: 3, First: checktest.Now.Add(-time.Hour), Last: checktest.Now.Add(-time.Minute)},
	}
	b.operator.clients = []Client{
		{Identity: "example.net 192.0.2.0/24", Passes: 5, Used: checktest.Now.Add(-time.Minute), Client: "192.0.2.7"},
		{Identity: "example.org", Allowed: true},
	}
	b.evidence()
	b.operator.blocks = []Block{
		{Client: "203.0.113.7", Since: checktest.Now.Add(-time.Minute), Until: checktest.Now.Add(59 * time.Minute), Level: 1, Why: "naming too many unknown recipients", InForce: true},
		{Client: "2001:db8:1::/64", Since: checktest.Now, Until: checktest.Now.Add(72 * time.Hour), Why: "the spam run"},
	}
	return b
}

// evidence has a reason for each verdict.
func (b *board) evidence() {
	day := func(ago int) time.Time { return checktest.Now.AddDate(0, 0, -ago) }
	forged := evidence.Sender{Sender: "bank.example", Client: "192.0.2.0/24", Occasions: 2, First: day(3), Last: day(2), Clean: 0}
	partner := evidence.Sender{Sender: "partner.example", Client: "partner.example", Own: true, SPF: true, Occasions: 12, First: day(20), Last: day(1), Clean: 30, Good: "answered"}
	bounces := evidence.Sender{Client: "relay.example", Own: true, Occasions: 1, First: day(9), Last: day(9), Clean: 8, Good: "delivers"}
	b.watch = evidence.WatchReport{Since: day(40), Until: checktest.Now, Threshold: evidence.Required(), Lost: 7, Reasons: []evidence.Watched{
		{Reason: "helo-mismatch", Action: "watch", Verdict: evidence.Unsafe, Why: "because of partner.example (12, answered), <> of relay.example (1, delivers)", First: day(39), Last: day(1),
			Occasions: 1412, Days: 38, Passed: 1012, Anyway: 400, Good: 13, Clients: 311, Accepted: 5, SPF: 160, Answered: 1, Senders: 62, GoodSenders: 2,
			Affected: append([]evidence.Sender{partner, bounces}, slices.Repeat([]evidence.Sender{forged}, 48)...)},
		{Reason: "helo-underscore", Action: "watch", Verdict: evidence.Unknown, Why: "40 of 100 occasions, 7 of 20 clients, 3 of 14 days", First: day(3), Last: day(0),
			Occasions: 40, Days: 4, Passed: 40, Clients: 7, Senders: 1, Affected: []evidence.Sender{forged}},
		{Reason: "helo-cname", Action: "watch", Verdict: evidence.Unknown, Why: "never seen"},
		{Reason: "rdns-missing", Action: "greylist", Verdict: evidence.Safe, Why: "none of these is a known good sender", First: day(30), Last: day(0),
			Occasions: 2200, Days: 30, Passed: 12, Anyway: 900, Clients: 800, Senders: 1, Affected: []evidence.Sender{forged}},
		{Reason: "spf-none", Action: "watch", Verdict: evidence.Never, First: day(1), Last: day(1), Occasions: 1, Days: 1, Passed: 1, Clients: 1, Senders: 1, Affected: []evidence.Sender{forged}},
	}}
	b.action = evidence.ActionReport{Since: day(40), Until: checktest.Now, Reasons: []evidence.Enforced{
		{Reason: "rdns-missing", Action: "greylist", Held: 300, HeldSenders: 290, CameBack: 4, Clients: 120, First: day(39), Last: day(0), Wronged: []evidence.Sender{}},
		{Reason: "spf-fail", Action: "reject", Refused: 900, Clients: 400, First: day(39), Last: day(0), WrongedSenders: 1, Wronged: []evidence.Sender{partner}},
	}}
}

// eachPage are the addresses of all pages.
func (b *board) eachPage() []string {
	return []string{"/", "/?period=day", "/?period=week", "/refusals", "/refusals?action=all", "/session?id=session1&n=2", "/watched", "/greylist", "/blocks", "/nothing"}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	b := busy(t)
	p := b.get("/")
	p.Has(t, "milterd mx.example.org", "As of 12:00:00 UTC", "reject 1", "tempfail 1", "greylist 1", "watch 0", "accept 1",
		"11:48 to 11:49: 1 reject", "11:58 to 11:59: 1 accept", "Connections 3 open", "Profile safe", "for 26 h 0 min, since 2026-11-20 10:00:00",
		"works since 2026-11-21 11:00:00", "embedded /var/lib/milterd", "4 567 records, 5.0 MiB", "60 answered from the cache (75 %)", "12 SERVFAIL", "1 234 written, 0 lost")
	p.Lacks(t, "spf-none", "Problems")
	if !regexp.MustCompile(`rdns-missing.* 1 · 1 · 2 .*greylisted.* · 1 · · 1 `).MatchString(p.Text) {
		t.Errorf("reasons: %s", p.Text)
	}
	b.get("/?period=day").Has(t, "watch 1", "spf-none", "Sat 21 Nov, 10:30 to 10:45: 1 watch")
	b.get("/?period=week").Has(t, "watch 1", "Sat 21 Nov, 10:00 to 11:00: 1 watch", "Sun 15")
	b.get("/?period=century").Has(t, "11:48 to 11:49: 1 reject")
	// The reasons lead to their decisions.
	m := regexp.MustCompile(`href="(refusals\?reason=rdns-missing[^"]*)"`).FindStringSubmatch(p.Body.String())
	if m == nil {
		t.Fatal("no link to the decisions")
	}
	b.get("/"+html.UnescapeString(m[1])).Has(t, "192.0.2.9", "2001:db8::5")
}

func TestOverviewTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := newBoard(t, func(d *Config) {
		d.Components.LogDropped = func() uint64 { return 7 }
		d.Components.Records = func() records.Stats { return records.Stats{Dropped: 8} }
		d.Components.Checks = func() []checks.Condition {
			return []checks.Condition{
				{Check: "dnsbl", Name: "bl.example (client)", State: "off", Why: "it lists the world", Since: checktest.Now, Counts: map[string]uint64{"queries": 14000, "left_out": 2}},
				{Check: "access", Name: "/etc/deny", State: "on"},
			}
		}
		d.Components.Store = func() store.Status {
			return store.Status{Driver: "redis", Error: "connection\x1b refused", ErrorAt: checktest.Now, Records: -1, Octets: -1}
		}
	})
	b.down = true
	p := b.get("/")
	p.Has(t, "Problems the store is down dnsbl bl.example (client) is off: it lists the world 8 decision records were lost", "7 log lines were lost",
		"down since", "connection? refused", "2 left out, 14 000 queries", "/etc/deny access on start", "No decisions in this period")
	p.Lacks(t, "-1 records")
	b.get("/blocks").Has(t, "Overview 4 problems")
}

func TestEmptyPages(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	for path, says := range map[string]string{
		"/": "No reason applied in this period.", "/refusals": "No mail was refused yet.", "/refusals?sender=a@example.com": "No decision matches the filter.",
		"/greylist": "No delivery was greylisted yet. Clients that passed No client has passed yet.", "/greylist?what=x": "No delivery matches the search.",
		"/watched": "No watched reason applied to any mail yet.", "/blocks": "No client is blocked.", "/blocks?what=x": "No block matches the search.",
	} {
		p := b.get(path)
		if p.Code != 200 {
			t.Errorf("%s: %d", path, p.Code)
		}
		p.Has(t, says)
	}
}

func TestWithoutRecords(t *testing.T) {
	t.Parallel()
	b := newBoard(t, func(d *Config) { d.Book = nil })
	b.get("/").Has(t, "Records not kept, because records.max is 0")
	for _, path := range []string{"/refusals?sender=x&ref=y", "/session?id=a&n=1"} {
		p := b.get(path)
		if p.Code != 200 {
			t.Errorf("%s: %d", path, p.Code)
		}
		p.Has(t, "No records of decisions are kept")
	}
}

func TestWhileTheStoreIsDown(t *testing.T) {
	t.Parallel()
	b := busy(t)
	b.fail()
	if p := b.get("/"); p.Code != 200 {
		t.Errorf("the overview needs the store: %d", p.Code)
	}
	for _, path := range []string{"/refusals", "/refusals?ref=session1", "/session?id=session1&n=1", "/watched", "/greylist", "/blocks"} {
		p := b.get(path)
		if p.Code != 503 {
			t.Errorf("%s: %d", path, p.Code)
		}
		p.Has(t, "The store did not answer: no route to the store")
		p.Lacks(t, "No client is blocked", "No mail was refused", "was greylisted yet", "any mail yet")
	}
	for _, p := range []webtest.Page{
		b.post("/greylist", "do", "allow", "client", "192.0.2.1"), b.post("/blocks", "do", "lift", "client", "192.0.2.1"),
		b.post("/blocks", "do", "add", "client", "192.0.2.1", "for", "1h"),
	} {
		if p.Code != 503 {
			t.Errorf("%d", p.Code)
		}
		p.Has(t, "Nothing was changed: no route to the store")
	}
}

func TestRefusalsAreFiltered(t *testing.T) {
	t.Parallel()
	b := busy(t)
	all := map[string]string{
		"none": "h7.example.net", "missing": "has no reverse DNS name", "grey": "greylisted for 180 s more", "six": "2001:db8::5", "good": "198.51.100.3",
	}
	for query, want := range map[string]string{
		"":                              "missing grey",
		"sender=ann@example.com":        "missing grey",
		"sender=example.com&action=all": "missing grey good",
		"sender=%3C%3E&action=all":      "none",
		"rcpt=bob@example.org":          "missing",
		"rcpt=bob@example.org&action=all&since=1h":        "missing six",
		"client=192.0.2.0/24":                             "missing grey",
		"client=2001:db8::5&action=all":                   "six",
		"client=example.net&action=all":                   "none six",
		"reason=rdns-missing":                             "missing",
		"reason=helo-mismatch&action=all":                 "missing",
		"action=reject":                                   "missing",
		"action=tempfail":                                 "grey",
		"action=greylist":                                 "six",
		"action=watch":                                    "none",
		"action=accept":                                   "good",
		"action=all&since=24h":                            "none missing grey six good",
		"action=nonsense&since=nonsense&before=-1&zzz=1":  "missing grey",
		"sender=nobody@example.com":                       "",
		"sender=ann@example.com&reason=greylisted&rcpt=x": "",
	} {
		t.Run(query, func(t *testing.T) {
			p := b.get("/refusals?" + query)
			if p.Code != 200 {
				t.Fatal(p.Code)
			}
			for name, says := range all {
				_, table, _ := strings.Cut(p.Body.String(), "<tbody>")
				if got, want := strings.Contains(table, says), slices.Contains(strings.Fields(want), name); got != want {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
			}
		})
	}
	// The form shows what was asked for.
	body := b.get("/refusals?sender=ann@example.com&action=tempfail&since=24h").Body.String()
	for _, want := range []string{`name="sender" value="ann@example.com"`, `<option value="tempfail" selected>`, `<option value="24h" selected>`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestRefusalsInParts(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	o := outcome(t, "rdns-missing", checks.Reject, "x")
	for i := range decisionsPerPage + 10 {
		b.decide(b.mail(100-i, "192.0.2.9", "h", fmt.Sprintf("a%d@example.com", i), "bob@example.org"), nil, o)
	}
	p := b.get("/refusals?client=192.0.2.9")
	p.Has(t, fmt.Sprintf("<a%d@example.com>", decisionsPerPage+9), "<a10@example.com>")
	p.Lacks(t, "&lt;a9@", "Newest")
	m := regexp.MustCompile(`href="(refusals\?[^"]*)" rel="next"`).FindStringSubmatch(p.Body.String())
	if m == nil {
		t.Fatal("no older part")
	}
	older := b.get("/" + html.UnescapeString(m[1]))
	older.Has(t, "<a9@example.com>", "<a0@example.com>", "Newest")
	older.Lacks(t, "&lt;a10@", `rel="next"`, "data-refresh")
	if !strings.Contains(older.Body.String(), `name="client" value="192.0.2.9"`) {
		t.Error("the filter is lost")
	}
	if !strings.Contains(p.Body.String(), `data-refresh="`) {
		t.Error("the first part is not live")
	}
}

// TestTrace opens the session of a refusal.
func TestTrace(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	rr, err := dns.NewRR("9.2.0.192.in-addr.arpa. 60 IN PTR a.example.")
	if err != nil {
		t.Fatal(err)
	}
	other := b.mail(14, "192.0.2.77", "other.example", "eve@example.com", "bob@example.org")
	other.ID = "session2"
	b.decide(other, nil, outcome(t, "spf-fail", checks.Reject, "x"))
	first := b.mail(12, "192.0.2.9", "mail.example.com", "ann@example.com", "bob@example.org")
	reject := outcome(t, "rdns-missing", checks.Reject, "192.0.2.9 has no reverse DNS name")
	b.decide(first, []checks.Result{
		{Check: "rdns", Stage: checks.Connect, Outcomes: []checks.Outcome{reject}, Took: 1234567 * time.Nanosecond, Notes: []string{"a note"},
			Asked: []checks.Asked{{Question: checks.Ask("9.2.0.192.in-addr.arpa", dns.TypePTR), Answer: checks.Answer{Records: []dns.RR{rr}}, Took: 345 * time.Millisecond}}},
		{Check: "dnsbl", Stage: checks.MailFrom, Err: errors.New("server misbehaving")},
		{Check: "helo", Stage: checks.Helo},
	}, outcome(t, "helo-mismatch", checks.Watch, "HELO is another name"), reject)
	b.accept(b.mail(11, "192.0.2.9", "mail.example.com", "zoe@example.com", "carl@example.org"))

	list := b.get("/refusals?reason=rdns-missing")
	m := regexp.MustCompile(`href="(session\?[^"]*)"`).FindStringSubmatch(list.Body.String())
	if m == nil {
		t.Fatal("no link to the trace")
	}
	p := b.get("/" + html.UnescapeString(m[1]))
	p.Has(t, "Session session1", "Client 192.0.2.9", "HELO mail.example.com", "Sender <ann@example.com>",
		"reject rdns-missing Sat 21 Nov 11:48:00", "550 5.7.25 192.0.2.9 has no reverse DNS name", "Recipient <bob@example.org>", "Queue id 4dDk2p1xQz",
		"Also applied watch helo-mismatch HELO is another name", "3 results, 1 DNS question, 1.2 ms",
		"rdns connect rdns-missing a note 1.2", "9.2.0.192.in-addr.arpa. PTR", "a.example.", "345", "failed: server misbehaving", "no reason applies",
		"accept message accepted Sat 21 Nov 11:49:00 Sender <zoe@example.com> Recipient <carl@example.org>")
	if strings.Index(p.Text, "rdns-missing") > strings.Index(p.Text, "message accepted") {
		t.Error("out of order")
	}
	p.Lacks(t, "eve@example.com", "data-refresh")

	for _, ref := range []string{"session1", "https://mx.example.org/why/rdns-missing?r=" + b.id(t, "rdns-missing"), strings.ToUpper(b.id(t, "rdns-missing"))} {
		found := b.follow(b.get("/refusals?ref=" + url.QueryEscape(ref)))
		found.Has(t, "Session session1", "rdns-missing", "message accepted")
	}
	b.get("/refusals?ref="+records.NewID(checktest.Now)).Has(t, "No record has this link or session", "192.0.2.9")
	b.get("/refusals?ref=session9").Has(t, "No record has this link or session")
	for _, path := range []string{"/session", "/session?id=session1", "/session?id=session1&n=0", "/session?id=session1&n=x", "/session?id=session9&n=2"} {
		if p := b.get(path); p.Code != 404 {
			t.Errorf("%s: %d", path, p.Code)
		}
	}
}

// id is that of the record of a reason.
func (b *board) id(t *testing.T, reason string) string {
	t.Helper()
	list, err := b.book.Find(t.Context(), records.Query{Reason: reason, Max: 1})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0].ID
}

func TestGreylistPage(t *testing.T) {
	t.Parallel()
	b := busy(t)
	p := b.get("/greylist")
	p.Has(t, "waiting 1", "passed 1", "gone 0", "waiting rdns-missing 1 attempt, first at 2026-11-21 11:58:00, expires in 47 h 0 min", "<ann@example.com>", "to → <bob@example.org>",
		"3 attempts", "<>", "example.net 192.0.2.0/24 192.0.2.7 5", "never example.org 0 allowed by the operator")
	if strings.Index(p.Text, "3 attempts") > strings.Index(p.Text, "1 attempt,") {
		t.Error("the last ones do not come first")
	}
	one := b.get("/greylist?what=ann@example.com")
	one.Has(t, "<ann@example.com>", "No client matches the search.")
	one.Lacks(t, "3 attempts")

	after := b.follow(b.post("/greylist?what=ann", "do", "allow", "client", "192.0.2.0/24"))
	after.Has(t, "192.0.2.0/24 is allowed: its mail is no longer greylisted.", "<ann@example.com>")
	after.Lacks(t, "3 attempts")
	b.follow(b.post("/greylist", "do", "forget", "client", "example.net 192.0.2.0/24")).Has(t, "Entries of example.net 192.0.2.0/24 deleted: 2.", "3 attempts")
	b.operator.want(t, "allow 192.0.2.0/24", "forget example.net 192.0.2.0/24")

	b.operator.refuse = errors.New("no client")
	if p := b.post("/greylist", "do", "allow", "client", "example"); p.Code != 422 || !strings.Contains(p.Body.String(), `value="example"`) {
		t.Errorf("%d: %s", p.Code, p.Body)
	}
	b.operator.want(t)
}

// TestWatchedPage shows a reason for each verdict, first what can be enforced.
func TestWatchedPage(t *testing.T) {
	t.Parallel()
	b := busy(t)
	p := b.get("/watched")
	p.Has(t, "from 2026-10-12 to 2026-11-21", "This daemon lost the evidence of 7 transactions since its start.",
		"safe to enforce 1 not safe 1 too little seen yet 1 can only be watched 1",
		"rdns-missing now greylist safe to enforce none of these is a known good sender To enforce it, set actions: {rdns-missing: reject} 1 sender bank.example from 192.0.2.0/24 2 occasions",
		"2 200 occasions on 30 days 2026-10-22 to 2026-11-21 12 accepted, 900 refused for another reason 800 clients 0 also send clean mail, 0 pass SPF, 0 got mail from here",
		"helo-mismatch now watch not safe 13 of 1 412 occasions affect good senders 62 senders partner.example answered 12 occasions, last on 2026-11-20, passes SPF, 30 clean messages",
		"<> of relay.example delivers 1 occasion,", "More senders: milterd report watch --reason helo-mismatch",
		"too little seen yet 40 of 100 occasions, 7 of 20 clients, 3 of 14 days",
		"A reason is safe to enforce after 100 occasions from 20 clients over 14 days or more, if at most one occasion in 1 000 affects",
		"1 watched reason without any occasion helo-cname",
		"spf-fail now reject 1 sender 1 sender partner.example", "900 refused, 0 greylisted", "rdns-missing now greylist none 0 refused, 300 greylisted", "4 of 290 greylisted senders came back")
	p.Lacks(t, "--reason rdns-missing", "--reason spf-fail")
	at := func(says string) int { return strings.Index(p.Text, says) }
	if at("now greylist safe") > at("now watch not safe") || at("now watch not safe") > at("now watch too little") || at("spf-fail now") > at("rdns-missing now greylist none") {
		t.Error("out of order")
	}
	// The good senders are in sight without a click, and lead to what they sent.
	if body := p.Body.String(); strings.Count(body, "<details open>") != 2 || !strings.Contains(body, `href="refusals?sender=partner.example&amp;action=all"`) {
		t.Error(body)
	}

	// What takes too long to be read leads to the command.
	b.operator.hang = make(chan struct{})
	r := httptest.NewRequest("GET", "/watched", nil)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if p := b.do(r.WithContext(ctx)); p.Code != 503 || !strings.Contains(p.Text, "milterd report watch") && !strings.Contains(p.Text, "Too many pages") {
		t.Errorf("%d %s", p.Code, p.Text)
	}
}

// want compares what was done since the last call.
func (o *fakeOperator) want(t *testing.T, did ...string) {
	t.Helper()
	if !slices.Equal(o.did, did) {
		t.Errorf("did %q, want %q", o.did, did)
	}
	o.did = nil
}

func TestBlocksPage(t *testing.T) {
	t.Parallel()
	b := busy(t)
	b.get("/blocks").Has(t, "Sat 21 Nov 12:59:00 in 59 min", "203.0.113.7", "naming too many unknown recipients block no. 1, since 2026-11-21 11:59:00",
		"2001:db8:1::/64", "the spam run by the operator, since 2026-11-21 12:00:00, nothing refused yet")
	for what, found := range map[string]string{
		"203.0.113.7": "4", "203.0.113.0/24": "4", "2001:db8:1::9": "6", "2001:db8::/32": "6", "SPAM": "6", "recipients": "4", "203.0": "4", "192.0.2.1": "", "::/0": "6",
	} {
		text := b.get("/blocks?what=" + url.QueryEscape(what)).Body.String()
		_, text, _ = strings.Cut(text, "data-live")
		if strings.Contains(text, "203.0.113.7") != strings.Contains(found, "4") || strings.Contains(text, "2001:db8:1::/64") != strings.Contains(found, "6") {
			t.Errorf("%s: want %q: %s", what, found, text)
		}
	}
	if p := b.get("/blocks?client=192.0.2.9"); !strings.Contains(p.Body.String(), `name="client" value="192.0.2.9"`) {
		t.Error("a link does not fill the form in")
	}
	b.follow(b.post("/blocks", "do", "add", "client", "192.0.2.9", "for", "4h", "why", "spam")).Has(t, "192.0.2.9 is blocked until 2026-11-21 13:00:00.")
	b.follow(b.post("/blocks?what=203", "do", "lift", "client", "203.0.113.7")).Has(t, "The block of 203.0.113.7 is lifted, and the counts that led to it are deleted.")
	b.follow(b.post("/blocks", "do", "lift", "client", "192.0.2.99")).Has(t, "192.0.2.99 was not blocked.")
	b.operator.want(t, "block 192.0.2.9 4h spam", "lift 203.0.113.7", "lift 192.0.2.99")
	b.operator.refuse = errors.New("no address")
	p := b.post("/blocks", "do", "add", "client", "192.0.2.300", "for", "4h", "why", "because")
	p.Has(t, "Nothing was changed: no address")
	for _, want := range []string{`value="192.0.2.300"`, `value="because"`, `<option value="4h" selected>`} {
		if p.Code != 422 || !strings.Contains(p.Body.String(), want) {
			t.Errorf("%d: no %s", p.Code, want)
		}
	}
}

// TestWhatChangesNothing sends what no form of the pages sends.
func TestWhatChangesNothing(t *testing.T) {
	t.Parallel()
	b := busy(t)
	long := strings.Repeat("a", 1<<20)
	for name, p := range map[string]webtest.Page{
		"GET":              b.get("/greylist?do=forget&client=192.0.2.9"),
		"in the address":   b.post("/blocks?do=lift&client=192.0.2.9"),
		"no client":        b.post("/greylist", "do", "forget"),
		"white space":      b.post("/greylist", "do", "forget", "client", " \t"),
		"nothing to do":    b.post("/greylist", "client", "192.0.2.9"),
		"something else":   b.post("/blocks", "do", "burn", "client", "192.0.2.9"),
		"of another page":  b.post("/blocks", "do", "forget", "client", "192.0.2.9"),
		"too long":         b.post("/blocks", "why", long, "do", "lift", "client", "192.0.2.9"),
		"to the overview":  b.post("/", "do", "lift", "client", "192.0.2.9"),
		"another encoding": b.do(httptest.NewRequest("POST", "/blocks", strings.NewReader(`{"do":"lift","client":"192.0.2.9"}`))),
		"PUT":              b.do(httptest.NewRequest("PUT", "/blocks", strings.NewReader("do=lift&client=192.0.2.9"))),
	} {
		if p.Code == 303 {
			t.Errorf("%s: %d", name, p.Code)
		}
	}
	b.operator.want(t)
	// Nobody puts words on a page by a link.
	b.get("/blocks?note=All+is+lost").Lacks(t, "All is lost")
}

// TestMarkupOfOthersIsHarmless has everything that comes from outside be as nasty as it can.
func TestMarkupOfOthersIsHarmless(t *testing.T) {
	t.Parallel()
	const nasty = "\"'><script>alert(1)</script><img/src=x onerror=alert(1)>{{.}}\x1b[2J\r\nReply: 250\u202e</title></textarea>"
	b := newBoard(t, func(d *Config) {
		d.Problems = func() []string { return []string{nasty} }
		d.Components.Checks = func() []checks.Condition {
			return []checks.Condition{{Check: "dnsbl", Name: nasty, State: nasty, Why: nasty, Counts: map[string]uint64{nasty: 1}}}
		}
		d.Components.Store = func() store.Status { return store.Status{Driver: "redis", Place: nasty, Error: nasty} }
	})
	s := b.mail(5, "192.0.2.9", nasty, nasty+"@example.com", nasty+"@example.org")
	s.ClientName, s.Envelope.QueueID = nasty, nasty
	o := outcome(t, "rdns-missing", checks.Reject, nasty)
	o.Detail = map[string]string{"helo": nasty}
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "x.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{nasty}}
	b.decide(s, []checks.Result{{
		Check: "rdns", Outcomes: []checks.Outcome{o}, Err: errors.New(nasty), Notes: []string{nasty},
		Asked: []checks.Asked{{Question: checks.Question{Name: nasty, Type: dns.TypeTXT}, Answer: checks.Answer{Records: []dns.RR{txt}}}},
	}}, outcome(t, "helo-mismatch", checks.Watch, nasty), o)
	b.operator.triplets = []Triplet{{Identity: nasty, From: nasty, To: nasty, Client: nasty, Suspicion: nasty, State: "waiting"}}
	b.operator.clients = []Client{{Identity: nasty, Client: nasty}}
	b.operator.blocks = []Block{{Client: nasty, Why: nasty}}
	b.watch.Reasons = []evidence.Watched{{Reason: "helo-mismatch", Verdict: evidence.Unsafe, Why: nasty, Occasions: 1, Senders: 1, Affected: []evidence.Sender{{Sender: nasty, Client: nasty, Good: nasty}}}}
	b.action.Reasons = []evidence.Enforced{{Reason: "rdns-missing", WrongedSenders: 1, Wronged: []evidence.Sender{{Client: nasty}}}}
	escaped := url.QueryEscape(nasty)
	paths := append(b.eachPage(), "/session?id=session1&n=1", "/refusals?sender="+escaped+"&rcpt="+escaped+"&client="+escaped+"&reason="+escaped+"&ref="+escaped,
		"/session?id="+escaped+"&n=1", "/greylist?what="+escaped, "/blocks?what="+escaped+"&client="+escaped+"&note="+escaped, "/"+url.PathEscape(nasty))
	for _, path := range paths {
		p := b.get(path) // which looks for scripts
		// What the form said stands in it as it was, and so does the name that a button is about.
		if body := attributes.ReplaceAllString(p.Body.String(), ""); strings.ContainsAny(body, "\x1b\u202e") {
			t.Errorf("%s: a character that nobody sees", path)
		}
		if n := strings.Count(p.Body.String(), "</title>"); n != 1+strings.Count(p.Body.String(), "<g><title>") {
			t.Errorf("%s: %d ends of titles", path, n)
		}
	}
	b.get("/session?id=session1&n=1").Has(t, `HELO "'><script>alert(1)</script>`, "[2J Reply: 250")
	for _, p := range []webtest.Page{
		b.post("/greylist?what="+escaped, "do", "allow", "client", nasty), b.post("/blocks?what="+escaped, "do", "lift", "client", nasty),
		b.post("/blocks", "do", "add", "client", nasty, "why", nasty, "for", nasty),
	} {
		if at := p.Header().Get("Location"); p.Code != 303 || strings.ContainsAny(at, "\r\n<\"") {
			t.Errorf("%d %q", p.Code, at)
		}
		b.follow(p)
	}
}

// TestOperatorPagesAreAccessible looks for what a program can see; a browser's checker sees more.
func TestOperatorPagesAreAccessible(t *testing.T) {
	t.Parallel()
	b := busy(t)
	for _, path := range b.eachPage() {
		p := b.get(path)
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

func TestStaticFiles(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	for path, kind := range map[string]string{"/style.css": "text/css; charset=utf-8", "/live.js": "text/javascript; charset=utf-8"} {
		p := b.get(path)
		if p.Code != 200 || p.Header().Get("Content-Type") != kind || p.Body.Len() < 1000 || strings.Contains(p.Body.String(), "http") {
			t.Errorf("%s: %d %s", path, p.Code, p.Header())
		}
	}
	p := b.get("/a/b/nothing")
	if p.Code != 404 || !strings.Contains(p.Body.String(), `href="../../style.css"`) {
		t.Errorf("%d %s", p.Code, p.Body)
	}
}

// TestFewPagesReadTheStore has more pages wait for a store than may read it.
func TestFewPagesReadTheStore(t *testing.T) {
	t.Parallel()
	b := newBoard(t, nil)
	b.operator.hang = make(chan struct{})
	done := make(chan int)
	for range maxReading {
		go func() { done <- b.get("/greylist").Code }()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	go func() { // one more, whose reader goes away
		r := httptest.NewRequest("GET", "/greylist", nil).WithContext(ctx)
		close(ready)
		done <- b.do(r).Code
	}()
	<-ready
	cancel()
	if code := <-done; code != http.StatusServiceUnavailable && code != http.StatusOK {
		t.Errorf("%d", code)
	}
	close(b.operator.hang)
	for range maxReading {
		if code := <-done; code != http.StatusOK {
			t.Errorf("%d", code)
		}
	}
}
