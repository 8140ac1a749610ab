package main

import (
	"context"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/checks/greylist"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter"
	"milterd/milter/log"
	"milterd/milter/resolver"
	"milterd/milter/store"
	"milterd/milter/web"
	"milterd/milter/web/dashboard"
)

// withPages returns a daemon and the URL of its operator's pages.
func withPages(t *testing.T, change func(*config.Config)) (*daemon, string) {
	t.Helper()
	d := withRecords(t, func(c *config.Config) {
		c.Hostname = "mx.example.org"
		if change != nil {
			change(c)
		}
	})
	var err error
	if d.resolver, err = resolver.New(resolver.Config{Servers: []string{"127.0.0.1:53"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.resolver.Close)
	d.output = log.ToWriter(io.Discard, false, false)
	t.Cleanup(func() { d.output.Close(time.Second) })
	d.server, d.started = &milter.Server{}, time.Now()
	p, err := checks.New(nil, checks.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.pipeline.Store(p)
	pages, err := d.adminPages()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(pages)
	t.Cleanup(srv.Close)
	return d, srv.URL
}

// fetch sends a request, follows redirects, and returns the status and the text of the page.
func fetch(t *testing.T, method, address string, form url.Values, change func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, html.UnescapeString(string(body))
}

// TestButtonsChangeTheStore uses every button of the operator's pages.
func TestButtonsChangeTheStore(t *testing.T) {
	t.Parallel()
	d, address := withPages(t, nil)
	ctx := context.Background()
	press := func(page, says string, fields ...string) {
		t.Helper()
		form := url.Values{}
		for i := 0; i < len(fields); i += 2 {
			form.Set(fields[i], fields[i+1])
		}
		if code, body := fetch(t, "POST", address+page, form, nil); code > 299 && code != 422 || !strings.Contains(body, says) {
			t.Errorf("%s %v: %d, no %q in %s", page, fields, code, says, body)
		}
	}
	blocked := func() int {
		t.Helper()
		list, err := counters.Blocks(ctx, d.store, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	press("/blocks", "192.0.2.9 is blocked until", "do", "add", "client", "192.0.2.9", "for", "4h", "why", "the run of today")
	state, err := counters.Show(ctx, d.store, netip.MustParsePrefix("192.0.2.9/32"), time.Now())
	if err != nil || state.Block == nil || state.Block.Why != "the run of today" || time.Until(state.Block.Until) < 3*time.Hour {
		t.Errorf("%+v, %v", state, err)
	}
	press("/blocks", "2001:db8::/64 is blocked until", "do", "add", "client", "2001:db8::1", "for", "30d")
	if n := blocked(); n != 2 {
		t.Errorf("%d blocks", n)
	}
	press("/blocks", `"192.0.2.x" is no address`, "do", "add", "client", "192.0.2.x", "for", "1h")
	press("/blocks", "Nothing was changed", "do", "add", "client", "192.0.2.1", "for", "-1h")
	press("/blocks", "Nothing was changed", "do", "add", "client", "192.0.2.0/24", "for", "1h")
	press("/blocks", "The block of 192.0.2.9 is lifted", "do", "lift", "client", "192.0.2.9")
	press("/blocks", "The block of 2001:db8::/64 is lifted", "do", "lift", "client", "2001:db8::/64")
	press("/blocks", "192.0.2.9 was not blocked", "do", "lift", "client", "192.0.2.9")
	if n := blocked(); n != 0 {
		t.Errorf("%d blocks", n)
	}

	press("/greylist", "example.com is allowed", "do", "allow", "client", "example.com")
	press("/greylist", "192.0.2.0/24 is allowed", "do", "allow", "client", "192.0.2.0/24")
	press("/greylist", "Nothing was changed", "do", "allow", "client", "192.0.2.0/20")
	if s, err := greylist.Show(ctx, d.store, time.Now(), ""); err != nil || len(s.Clients) != 2 || !s.Clients[0].Allowed {
		t.Errorf("%+v, %v", s, err)
	}
	press("/greylist?what=example.com", "Entries of example.com deleted: 1.", "do", "forget", "client", "example.com")
	if s, err := greylist.Show(ctx, d.store, time.Now(), ""); err != nil || len(s.Clients) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, body := fetch(t, "GET", address+"/greylist", nil, nil); !strings.Contains(body, "192.0.2.0/24") || strings.Contains(body, "example.com") {
		t.Error(body)
	}
}

// TestRefusalOnPages tests that every page shows a refusal.
func TestRefusalOnPages(t *testing.T) {
	t.Parallel()
	d, address := withPages(t, nil)
	s := &checks.Session{ID: "s1", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9"), Helo: "h.example"}
	s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
	o := checks.Outcome{Check: "rdns", Reason: missingPTR, Action: checks.Reject, Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "no name"}}
	d.journal().Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{
		Reply: &o.Reply, Reason: missingPTR, Action: checks.Reject, Outcomes: []checks.Outcome{o}, Results: []checks.Result{{Check: "rdns", Outcomes: []checks.Outcome{o}}},
	})
	for d.recorded().Written < 1 {
		time.Sleep(time.Millisecond)
	}
	for path, says := range map[string]string{
		"/": "1 reject", "/refusals?client=192.0.2.9": "550 5.7.25 no name", "/refusals?ref=s1": "Session s1", "/session?id=s1&n=1": "<bob@example.org>",
		"/watched": "rdns-missing</a><span class=\"sub\">now ",
		"/metrics": `milterd_verdicts_total{action="reject"`, "/healthz": "ok", "/readyz": "ok", "/live.js": "DOMParser",
	} {
		if code, body := fetch(t, "GET", address+path, nil, nil); code != 200 || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// TestAccessToPages requests every page with and without password, from other sites and under other host names.
func TestAccessToPages(t *testing.T) {
	t.Parallel()
	_, open := withPages(t, nil)
	_, shut := withPages(t, func(c *config.Config) { c.Admin.Password = "secret" })
	auth := func(r *http.Request) { r.SetBasicAuth("me", "secret") }
	rebound := func(r *http.Request) { r.Host = "evil.example" }
	foreign := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	for _, path := range []string{"/", "/refusals", "/session?id=a&n=1", "/watched", "/greylist", "/blocks", "/metrics", "/style.css", "/nothing"} {
		for _, c := range []struct {
			name, method, address string
			change                func(*http.Request)
			codes                 []int
		}{
			{"rebound", "GET", open, rebound, []int{421}},
			{"without password", "GET", shut, nil, []int{401}},
			{"form without password", "POST", shut, nil, []int{401}},
			{"form of another site", "POST", open, foreign, []int{403}},
			{"form of another site with password", "POST", shut, func(r *http.Request) { auth(r); foreign(r) }, []int{403}},
			{"with password", "GET", shut, auth, []int{200, 404}},
			{"on loopback", "GET", open, nil, []int{200, 404}},
			{"by the hostname", "GET", open, func(r *http.Request) { r.Host = "mx.example.org" }, []int{200, 404}},
		} {
			if code, _ := fetch(t, c.method, c.address+path, nil, c.change); !slices.Contains(c.codes, code) {
				t.Errorf("%s %s: %d", c.name, path, code)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, address := range []string{open, shut} {
			if code, body := fetch(t, "GET", address+path, nil, rebound); code != 200 || body != "ok\n" {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
	}
}

// TestChartsAreSeeded tests that the charts of a new daemon begin with the records of the one before.
func TestChartsAreSeeded(t *testing.T) {
	t.Parallel()
	d := withRecords(t, nil)
	s := &checks.Session{ID: "s1", Time: time.Now().Add(-2 * time.Hour)}
	for range 3 {
		d.explain.book.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	}
	for d.recorded().Written < 3 {
		time.Sleep(time.Millisecond)
	}
	d.started = time.Now().Add(-time.Hour)
	live := &checks.Session{ID: "s2", Time: time.Now()} // is counted by the new daemon itself
	d.explain.book.Accepted(checks.NewRequest(live, checks.EndOfHeader))
	for d.recorded().Written < 4 {
		time.Sleep(time.Millisecond)
	}
	if err := d.seed(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	pages, err := dashboard.New(dashboard.Config{
		Profile: func() string { return "" }, Components: web.Components{
			Connections: func() int { return 0 }, LogDropped: func() uint64 { return 0 }, Records: d.recorded, Store: d.store.Status,
			DNS: func() resolver.Stats { return resolver.Stats{} }, Checks: func() []checks.Condition { return nil },
		}, Problems: d.problems, History: d.history,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequest("GET", "/?period=day", nil))
	if !strings.Contains(w.Body.String(), `accept</span> <strong>3</strong>`) {
		t.Error(w.Body)
	}
	_ = d.store.Close()
	if err := d.seed(t.Context(), time.Millisecond); !errors.Is(err, store.ErrClosed) {
		t.Errorf("without a store: %v", err)
	}
}
