package why

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
	"milterd/milter/records"
	"milterd/milter/web/webtest"
)

// site is a mail site with its pages. A test can change its DNS; the site counts what the pages ask.
type site struct {
	t        *testing.T
	pipeline *checks.Pipeline
	pages    http.Handler
	book     *records.Log
	signer   records.Signer
	zone     atomic.Pointer[checks.Resolver]
	now      atomic.Pointer[time.Time]

	asked, read, lifted atomic.Int64 // DNS questions, records read, calls of Repaired
	down                atomic.Bool  // records cannot be read
}

// Lookup implements checks.Resolver.
func (s *site) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	s.asked.Add(1)
	return (*s.zone.Load()).Lookup(ctx, q)
}

// Record, Again and Repaired implement Tester.
func (s *site) Record(ctx context.Context, id string) (records.Record, bool, error) {
	s.read.Add(1)
	if s.down.Load() {
		return records.Record{}, false, errors.New("the store is down")
	}
	return s.book.Get(ctx, id)
}

func (s *site) Again(ctx context.Context, r records.Record, names []string) []checks.Result {
	return s.pipeline.Again(ctx, s.session(r.Client.String(), r.Helo, r.MailFrom, r.Rcpts...), names)
}

func (s *site) Repaired(context.Context, records.Record) (bool, error) {
	s.lifted.Add(1)
	return true, nil
}

// setZone replaces the DNS.
func (s *site) setZone(text string) {
	var z checks.Resolver = checktest.NewZone(s.t, text)
	s.zone.Store(&z)
}

func (s *site) clock() time.Time { return *s.now.Load() }

// after advances the clock.
func (s *site) after(d time.Duration) { now := s.clock().Add(d); s.now.Store(&now) }

const testURL = "https://mx.example.org/mail"

// newSite returns a site with all checks in the profile strict.
func newSite(t *testing.T, zone string) *site {
	t.Helper()
	s := &site{t: t, signer: records.NewSigner([]byte(strings.Repeat("k", 32)))}
	now := checktest.Now
	s.now.Store(&now)
	s.setZone(zone)
	env := checktest.Env(t, "")
	env.DNS = checks.Traced(s)
	store := checktest.NewStore(s.clock)
	env.Store = store
	var instances []checks.Instance
	actions := map[string]checks.Action{}
	for _, info := range all.Checks {
		c, err := info.New(func(any) error { return nil }, env)
		if err != nil {
			t.Fatal(err)
		}
		instances = append(instances, checks.Instance{Info: info, Check: c})
		for _, r := range info.Reasons {
			actions[r.ID] = r.Strict
		}
	}
	p, err := checks.New(instances, checks.Options{
		Actions: actions, ReplyAt: checks.RcptTo, Budget: 5 * time.Second, Trace: checks.TraceAll,
		Link: func(r *checks.Reason, at time.Time) (string, string) {
			id := records.NewID(at)
			return id, testURL + "/why/" + r.ID + "?r=" + s.signer.Sign(id, r.ID)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.pipeline = p
	s.book = records.Open(store, records.Options{Keep: 24 * time.Hour, Max: 1000, Now: s.clock})
	t.Cleanup(func() { s.book.Close(time.Minute) })
	s.pages, err = New(Config{
		Checks: all.Checks, Site: "mx.example.org", URL: testURL, Signer: s.signer,
		Keep: 24 * time.Hour, now: s.clock, Tester: s,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) session(client, helo, from string, rcpts ...string) *checks.Session {
	out := &checks.Session{ID: "test", Time: s.clock(), Helo: helo}
	out.Client, _ = netip.ParseAddr(client)
	out.Envelope.MailFrom = checks.ParseAddress(from)
	for _, r := range rcpts {
		out.Envelope.Rcpts = append(out.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(r)})
	}
	return out
}

// refuse runs a session that is refused for a reason, and returns the path of the link in the reply.
func (s *site) refuse(client, helo, from, rcpt, reason string) string {
	s.t.Helper()
	d, sess := s.run(client, helo, from, rcpt)
	if d.Reply == nil || d.Reason.ID != reason {
		s.t.Fatalf("got %v %+v, want %s", d.Reply, d.Outcomes, reason)
	}
	return s.record(sess, d)
}

// try runs a session. If the reply has the reason decides and the reason applies is among the outcomes, it returns the path of
// the link in the reply.
func (s *site) try(client, helo, from, decides, applies string) (string, bool) {
	s.t.Helper()
	d, sess := s.run(client, helo, from, "bob@example.org")
	applied := slices.ContainsFunc(d.Outcomes, func(o checks.Outcome) bool { return o.Reason.ID == applies })
	if d.Reply == nil || d.Reason.ID != decides || !applied {
		return fmt.Sprint(d.Reply), false
	}
	return s.record(sess, d), true
}

// run runs a session up to its recipient.
func (s *site) run(client, helo, from, rcpt string) (checks.Decision, *checks.Session) {
	ctx := context.Background()
	sess := s.session(client, "", "")
	run := s.pipeline.NewRun(sess)
	run.Judge(ctx, checks.Connect)
	sess.SetHelo(helo, false)
	run.Judge(ctx, checks.Helo)
	sess.Envelope.MailFrom = checks.ParseAddress(from)
	run.Judge(ctx, checks.MailFrom)
	sess.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(rcpt)}}
	return run.Judge(ctx, checks.RcptTo), sess
}

// record records a decision and returns the path of the link in its reply.
func (s *site) record(sess *checks.Session, d checks.Decision) string {
	s.t.Helper()
	before := s.book.Stats().Written
	s.book.Decided(checks.NewRequest(sess, checks.RcptTo), d)
	_, _, _ = s.book.Get(s.t.Context(), "none") // a reader makes it write at once
	for s.book.Stats().Written == before {
		time.Sleep(time.Millisecond)
	}
	lines := d.Reply.Lines()
	_, link, _ := strings.Cut(lines[len(lines)-1], testURL)
	if len(lines) < 2 || !strings.HasPrefix(link, "/why/"+d.Reason.ID+"?r=") || strings.Contains(link, " ") {
		s.t.Fatalf("no link alone on the last line of %q", lines)
	}
	return link
}

func (s *site) get(path string) webtest.Page { return s.do(httptest.NewRequest("GET", path, nil)) }

// do serves a request. It fails the test if the page has scripts, styles of its own, or links to other sites' content.
func (s *site) do(r *http.Request) webtest.Page {
	s.t.Helper()
	p := webtest.Serve(s.pages, r)
	body := p.Body.String()
	if got := p.Header().Get("Content-Security-Policy"); got != contentPolicy {
		s.t.Errorf("%s: policy %q", r.URL, got)
	}
	for _, never := range []string{"<script", "javascript:", " style=", "onclick", "http-equiv", " src="} {
		if strings.Contains(strings.ToLower(body), never) {
			s.t.Errorf("%s: the page has %s", r.URL, never)
		}
	}
	return p
}

// again sends the form "Test again".
func (s *site) again(link string) webtest.Page {
	return s.do(httptest.NewRequest("POST", link, nil))
}

// allReasons returns the reasons that have pages.
func allReasons() []*checks.Reason {
	var list []*checks.Reason
	for _, r := range all.Reasons() {
		list = append(list, r)
	}
	return list
}
