package dashboard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/milter/evidence"
	"milterd/milter/mirror"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store/status"
	"milterd/milter/web"
	"milterd/milter/web/webtest"
)

// testSite serves the pages of a daemon that does not run.
type testSite struct {
	t        *testing.T
	pages    http.Handler
	store    *checktest.Store
	book     *records.Log
	history  *History
	operator *fakeOperator
	down     bool        // the store is down
	written  uint64      // records
	broken   atomic.Bool // all answers have status 502, as from a broken proxy

	watch    evidence.WatchReport
	action   evidence.ActionReport
	mirror   mirror.Report
	received []Received
}

// newTestSite returns the pages of a daemon without decisions. change may be nil.
func newTestSite(t *testing.T, change func(*Config)) *testSite {
	t.Helper()
	site := &testSite{t: t, store: checktest.NewStore(nil), operator: &fakeOperator{}, history: NewHistory()}
	site.watch = evidence.WatchReport{Since: checktest.Now.AddDate(0, 0, -40), Until: checktest.Now, Threshold: evidence.Required()}
	site.book = records.Open(site.store, records.Options{Keep: 14 * 24 * time.Hour, Max: 1000, Now: func() time.Time { return checktest.Now }})
	t.Cleanup(func() { site.book.Close(time.Minute) })
	d := Config{
		Site: "mx.example.org", Version: "v1", Started: checktest.Now.Add(-26 * time.Hour), Profile: func() string { return "safe" },
		Components: web.Components{
			Connections: func() int { return 3 },
			LogDropped:  func() uint64 { return 0 },
			Records:     func() records.Stats { return records.Stats{Written: 1234} },
			Store: func() status.Store {
				return status.Store{Driver: "embedded", Place: "/var/lib/milterd", OK: !site.down, Since: checktest.Now.Add(-time.Hour), Records: 4567, Bytes: 5 << 20}
			},
			DNS:    func() resolver.Stats { return resolver.Stats{Queries: 20, Hits: 60, ServFail: 12} },
			Checks: func() []checks.Condition { return nil }, ConfigValid: func() bool { return true },
		},
		Attention: func() []string {
			if site.down {
				return []string{"the store is down"}
			}
			return nil
		},
		Profiles: func() []string {
			return []string{"The profile safe would have refused 3 of 40 messages (spf-no-mail 3), and greylisted 0.", "The profile strict would have refused 9 of 40 messages (rdns-missing 6, spf-no-mail 3), and greylisted 0."}
		},
		Answer: func(r records.Record) (remedy, link string) {
			if r.Reply == "" {
				return "", ""
			}
			return "Set the PTR record.", "https://mx.example.org/why/" + r.Reason + "?r=" + r.ID
		},
		History: site.history, Book: site.book, Operator: site.operator, Evidence: site.reports, Mirror: site.mirrorReport, Received: site.receivedReports, now: func() time.Time { return checktest.Now }, zone: time.UTC,
	}
	if change != nil {
		change(&d)
	}
	pages, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	site.pages = Guard{}.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if site.broken.Load() {
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return
		}
		pages.ServeHTTP(w, r)
	}))
	return site
}

// reports implements Config.Evidence.
func (site *testSite) reports(ctx context.Context) (evidence.WatchReport, evidence.ActionReport, error) {
	if site.operator.hang != nil {
		<-ctx.Done()
		return evidence.WatchReport{}, evidence.ActionReport{}, ctx.Err()
	}
	return site.watch, site.action, site.operator.err
}

// mirrorReport implements Config.Mirror.
func (site *testSite) mirrorReport(context.Context) (mirror.Report, error) {
	return site.mirror, site.operator.err
}

// receivedReports implements Config.Received.
func (site *testSite) receivedReports(context.Context) ([]Received, error) {
	return site.received, site.operator.err
}

// fail lets the store and the operator functions fail.
func (site *testSite) fail() {
	site.down, site.operator.err = true, errOutage
	site.store.Fail(errOutage)
}

// newSession returns a session with a recipient some minutes ago.
func newSession(minutes int, client, helo, from, to string) *checks.Session {
	s := &checks.Session{ID: "session1", Time: checktest.Now.Add(-time.Duration(minutes) * time.Minute), ClientName: "unknown", Helo: helo}
	s.Client, _ = netip.ParseAddr(client)
	s.Envelope.QueueID = "4dDk2p1xQz"
	s.Envelope.MailFrom = checks.ParseAddress(from)
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(to)}}
	return s
}

// outcome returns an outcome of a reason in the registry.
func outcome(t testing.TB, id string, action checks.Action, text string) checks.Outcome {
	t.Helper()
	for _, r := range all.Reasons() {
		if r.ID == id {
			return checks.Outcome{
				Check: "rdns", Stage: checks.Connect, Reason: r, Action: action,
				Reply: checks.Reply{Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Text: text},
			}
		}
	}
	t.Fatalf("no reason %s", id)
	return checks.Outcome{}
}

// decide passes a decision to the records and the history. The last outcome decides.
func (site *testSite) decide(s *checks.Session, results []checks.Result, outcomes ...checks.Outcome) {
	site.t.Helper()
	d := checks.Decision{Outcomes: outcomes, Results: results}
	if last := outcomes[len(outcomes)-1]; last.Action.Enforced() {
		reply := last.Reply
		d.Reply, d.Reason, d.Action = &reply, last.Reason, last.Action
	}
	site.book.Decided(checks.NewRequest(s, checks.RcptTo), d)
	site.history.Decided(checks.NewRequest(s, checks.RcptTo), d)
	site.settle()
}

// accept passes an accepted message to the records and the history.
func (site *testSite) accept(s *checks.Session) {
	site.t.Helper()
	site.book.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	site.history.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	site.settle()
}

// settle waits until the record is written.
func (site *testSite) settle() {
	site.t.Helper()
	site.written++
	_, _, _ = site.book.Get(site.t.Context(), "none") // a reader makes it write at once
	for end := time.Now().Add(10 * time.Second); site.book.Stats().Written < site.written; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			site.t.Fatal("the record is not written")
		}
	}
}

func (site *testSite) get(path string) webtest.Page {
	return site.do(httptest.NewRequest("GET", path, nil))
}

// post sends a form as a browser does. fields are names and values in turn.
func (site *testSite) post(path string, fields ...string) webtest.Page {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest("POST", path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return site.do(r)
}

var (
	outward    = regexp.MustCompile(`(?:href|src|action)="(/|[a-z]+:)`)
	attributes = regexp.MustCompile(`"[^"]*"`) // their values
	handlers   = regexp.MustCompile(`<[a-z][^<>]* on[a-z]+ *=`)
)

// withoutSources returns a page without its links to the documents of the receivers, which are on other sites.
func withoutSources(body string) string {
	for _, f := range mirror.Findings() {
		for _, d := range f.Demands {
			body = strings.ReplaceAll(body, `<a href="`+d.Source.URL+`" rel="noreferrer">`, "")
		}
	}
	return body
}

// do serves a request. It fails the test if the page has scripts or styles of its own, or absolute links to anything but the documents
// of the receivers.
func (site *testSite) do(r *http.Request) webtest.Page {
	site.t.Helper()
	r.Host = "localhost:8893"
	p := webtest.Serve(site.pages, r)
	body := p.Body.String()
	if got := p.Header().Get("Content-Security-Policy"); got != contentPolicy || strings.Contains(got, "unsafe") {
		site.t.Errorf("%s: policy %q", r.URL, got)
	}
	if strings.HasPrefix(p.Header().Get("Content-Type"), "text/html") {
		if n := strings.Count(strings.ToLower(body), "<script"); n != 1 || !strings.Contains(body, `live.js" defer></script>`) {
			site.t.Errorf("%s: %d scripts", r.URL, n)
		}
		for _, never := range []string{"javascript:", " style=", "<style", "http-equiv", "<img"} {
			if strings.Contains(strings.ToLower(body), never) {
				site.t.Errorf("%s: the page has %s", r.URL, never)
			}
		}
		if m := handlers.FindString(attributes.ReplaceAllString(body, "")); m != "" {
			site.t.Errorf("%s: the page has %s", r.URL, m)
		}
		if m := outward.FindString(withoutSources(body)); m != "" {
			site.t.Errorf("%s: %s does not work below a path", r.URL, m)
		}
		if got := p.Header().Get("Cache-Control"); got != "no-store" {
			site.t.Errorf("%s: Cache-Control: %s", r.URL, got)
		}
	}
	return p
}

// follow follows a redirect.
func (site *testSite) follow(p webtest.Page) webtest.Page {
	site.t.Helper()
	at := p.Header().Get("Location")
	if p.Code != http.StatusSeeOther || at == "" || strings.HasPrefix(at, "/") {
		site.t.Fatalf("%d to %q: %s", p.Code, at, p.Text)
	}
	return site.get("/" + at)
}
