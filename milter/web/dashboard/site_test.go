package dashboard

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/milter/evidence"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/webtest"
)

// board is a daemon with its operator's pages, for tests.
type board struct {
	t        *testing.T
	pages    http.Handler
	store    *checktest.Store
	book     *records.Log
	history  *History
	operator *fakeOperator
	down     bool
	written  uint64
	deaf     atomic.Bool // requests are answered as if by a broken proxy

	watch  evidence.WatchReport
	action evidence.ActionReport
}

// fakeOperator has lists, and notes what is changed.
type fakeOperator struct {
	triplets []Triplet
	clients  []Client
	blocks   []Block
	did      []string
	err      error         // of everything
	refuse   error         // of changes
	hang     chan struct{} // lists wait for it
}

func list[T any](o *fakeOperator, ctx context.Context, all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if o.err != nil {
			yield(none, o.err)
			return
		}
		for _, v := range all {
			if ctx.Err() != nil {
				yield(none, ctx.Err())
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (o *fakeOperator) Triplets(ctx context.Context, what string) iter.Seq2[Triplet, error] {
	if o.hang != nil {
		<-o.hang
	}
	return list(o, ctx, slices.DeleteFunc(slices.Clone(o.triplets), func(t Triplet) bool { return !strings.Contains(t.From+t.Identity, what) }))
}

func (o *fakeOperator) Clients(ctx context.Context, what string) iter.Seq2[Client, error] {
	return list(o, ctx, slices.DeleteFunc(slices.Clone(o.clients), func(c Client) bool { return !strings.Contains(c.Identity, what) }))
}

func (o *fakeOperator) note(what ...string) error {
	if err := cmp.Or(o.err, o.refuse); err != nil {
		return err
	}
	o.did = append(o.did, strings.Join(what, " "))
	return nil
}

func (o *fakeOperator) Allow(_ context.Context, what string) error { return o.note("allow", what) }

func (o *fakeOperator) Forget(_ context.Context, what string) (int, error) {
	return 2, o.note("forget", what)
}

func (o *fakeOperator) Blocks(context.Context) ([]Block, error) {
	return slices.Clone(o.blocks), o.err
}

func (o *fakeOperator) Block(_ context.Context, client, length, why string) (Block, error) {
	return Block{Client: client, Until: checktest.Now.Add(time.Hour)}, o.note("block", client, length, why)
}

func (o *fakeOperator) Unblock(_ context.Context, client string) (bool, error) {
	return client != "192.0.2.99", o.note("lift", client)
}

var errOutage = errors.New("no route to the store")

// newBoard makes the pages of a daemon to which nothing has happened yet.
func newBoard(t *testing.T, change func(*Config)) *board {
	t.Helper()
	b := &board{t: t, store: checktest.NewStore(nil), operator: &fakeOperator{}, history: NewHistory(all.Checks, checks.PipelineReasons())}
	b.watch = evidence.WatchReport{Since: checktest.Now.AddDate(0, 0, -40), Until: checktest.Now, Threshold: evidence.Required()}
	b.book = records.Open(b.store, records.Options{Keep: 14 * 24 * time.Hour, Max: 1000, Now: func() time.Time { return checktest.Now }})
	t.Cleanup(func() { b.book.Close(5 * time.Second) })
	d := Config{
		Site: "mx.example.org", Version: "v1", Started: checktest.Now.Add(-26 * time.Hour), Profile: func() string { return "safe" },
		Components: web.Components{
			Connections: func() int { return 3 },
			LogDropped:  func() uint64 { return 0 },
			Records:     func() records.Stats { return records.Stats{Written: 1234} },
			Store: func() store.Status {
				return store.Status{Driver: "embedded", Place: "/var/lib/milterd", OK: !b.down, Since: checktest.Now.Add(-time.Hour), Records: 4567, Octets: 5 << 20}
			},
			DNS:    func() resolver.Stats { return resolver.Stats{Queries: 20, Hits: 60, ServFail: 12} },
			Checks: func() []checks.Condition { return nil },
		},
		Problems: func() []string {
			if b.down {
				return []string{"the store is down"}
			}
			return nil
		},
		History: b.history, Book: b.book, Operator: b.operator, Evidence: b.reports, Now: func() time.Time { return checktest.Now }, Zone: time.UTC,
	}
	if change != nil {
		change(&d)
	}
	pages, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	b.pages = Guard{}.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.deaf.Load() {
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return
		}
		pages.ServeHTTP(w, r)
	}))
	return b
}

func (b *board) reports(ctx context.Context) (evidence.WatchReport, evidence.ActionReport, error) {
	if b.operator.hang != nil {
		<-ctx.Done()
		return evidence.WatchReport{}, evidence.ActionReport{}, ctx.Err()
	}
	return b.watch, b.action, b.operator.err
}

// fail has the store fail.
func (b *board) fail() {
	b.down, b.operator.err = true, errOutage
	b.store.Fail(errOutage)
}

// mail is a session that has come to its recipient, some minutes ago.
func (b *board) mail(minutes int, client, helo, from, to string) *checks.Session {
	s := &checks.Session{ID: "session1", Time: checktest.Now.Add(-time.Duration(minutes) * time.Minute), ClientName: "unknown", Helo: helo}
	s.Client, _ = netip.ParseAddr(client)
	s.Envelope.QueueID = "4dDk2p1xQz"
	s.Envelope.MailFrom = checks.ParseAddress(from)
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(to)}}
	return s
}

// outcome is one of a reason of the registry.
func outcome(t testing.TB, id string, action checks.Action, text string) checks.Outcome {
	t.Helper()
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
			if r.ID == id {
				return checks.Outcome{
					Check: "rdns", Stage: checks.Connect, Reason: r, Action: action,
					Reply: checks.Reply{Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Text: text},
				}
			}
		}
	}
	t.Fatalf("no reason %s", id)
	return checks.Outcome{}
}

// decide has the last of the outcomes decide about a session, as the journals are told of it.
func (b *board) decide(s *checks.Session, results []checks.Result, outcomes ...checks.Outcome) {
	b.t.Helper()
	d := checks.Decision{Outcomes: outcomes, Results: results}
	if last := outcomes[len(outcomes)-1]; last.Action.Enforced() {
		reply := last.Reply
		d.Reply, d.Reason, d.Action = &reply, last.Reason, last.Action
	}
	b.book.Decided(checks.NewRequest(s, checks.RcptTo), d)
	b.history.Decided(checks.NewRequest(s, checks.RcptTo), d)
	b.settle()
}

func (b *board) accept(s *checks.Session) {
	b.t.Helper()
	b.book.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	b.history.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	b.settle()
}

// settle waits until the record is written.
func (b *board) settle() {
	b.t.Helper()
	b.written++
	for end := time.Now().Add(10 * time.Second); b.book.Stats().Written < b.written; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal("the record is not written")
		}
	}
}

func (b *board) get(path string) webtest.Page { return b.do(httptest.NewRequest("GET", path, nil)) }

// post sends a form of the pages.
func (b *board) post(path string, fields ...string) webtest.Page {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	r := httptest.NewRequest("POST", path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

var (
	outward    = regexp.MustCompile(`(?:href|src|action)="(/|[a-z]+:)`)
	attributes = regexp.MustCompile(`"[^"]*"`) // values of them
	handlers   = regexp.MustCompile(`<[a-z][^<>]* on[a-z]+ *=`)
)

// do asks for a page, and looks for what no page may have.
func (b *board) do(r *http.Request) webtest.Page {
	b.t.Helper()
	r.Host = "localhost:8893"
	p := webtest.Serve(b.pages, r)
	body := p.Body.String()
	if got := p.Header().Get("Content-Security-Policy"); got != Policy || strings.Contains(got, "unsafe") {
		b.t.Errorf("%s: policy %q", r.URL, got)
	}
	if strings.HasPrefix(p.Header().Get("Content-Type"), "text/html") {
		if n := strings.Count(strings.ToLower(body), "<script"); n != 1 || !strings.Contains(body, `live.js" defer></script>`) {
			b.t.Errorf("%s: %d scripts", r.URL, n)
		}
		for _, never := range []string{"javascript:", " style=", "<style", "http-equiv", "<img"} {
			if strings.Contains(strings.ToLower(body), never) {
				b.t.Errorf("%s: the page has %s", r.URL, never)
			}
		}
		if m := handlers.FindString(attributes.ReplaceAllString(body, "")); m != "" {
			b.t.Errorf("%s: the page has %s", r.URL, m)
		}
		if m := outward.FindString(body); m != "" {
			b.t.Errorf("%s: %s does not work below a path", r.URL, m)
		}
		if got := p.Header().Get("Cache-Control"); got != "no-store" {
			b.t.Errorf("%s: Cache-Control: %s", r.URL, got)
		}
	}
	return p
}

// follow goes where an answer sends the browser.
func (b *board) follow(p webtest.Page) webtest.Page {
	b.t.Helper()
	at := p.Header().Get("Location")
	if p.Code != http.StatusSeeOther || at == "" || strings.HasPrefix(at, "/") {
		b.t.Fatalf("%d to %q: %s", p.Code, at, p.Text)
	}
	return b.get("/" + at)
}
