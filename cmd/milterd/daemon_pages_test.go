package main

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter"
	"milterd/milter/log"
	"milterd/milter/resolver"
)

// serveOperatorPages returns a daemon and the URL of its operator's pages.
func serveOperatorPages(t *testing.T, change func(*config.Config)) (*daemon, string) {
	t.Helper()
	d := newRecordingDaemon(t, change)
	var err error
	if d.resolver, err = resolver.New(resolver.Config{Servers: []string{"127.0.0.1:53"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.resolver.Close)
	d.output = log.ToWriter(io.Discard, false, false)
	t.Cleanup(func() { d.output.Close(time.Minute) })
	d.server = &milter.Server{}
	p, err := d.build(parseConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	d.pipeline.Store(p)
	d.serving.Store(true)
	pages, err := d.operatorPages(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(pages)
	t.Cleanup(srv.Close)
	return d, srv.URL
}

// TestEndpointInUse tests that the daemon does not start without an endpoint that its configuration has, even if it is the default
// one, and starts without an endpoint that is only the default.
func TestEndpointInUse(t *testing.T) {
	t.Parallel()
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	d, _ := serveOperatorPages(t, nil)
	for text, want := range map[string]string{
		"": "",
		"admin: {listen: " + config.DefaultAdminListen + "}":     "test:1:17: admin.listen: cannot listen on " + used.Addr().String(),
		"explain: {listen: " + config.DefaultExplainListen + "}": "test:1:19: explain.listen: cannot listen on " + used.Addr().String(),
		"explain: {url: \"https://mx.example.org\"}":             "",
	} {
		cfg := parseConfig(t, text)
		cfg.Admin.Socket, cfg.Admin.Listen, cfg.Explain.Listen = "", used.Addr().String(), used.Addr().String()
		stop, err := d.openPages(cfg)
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.HasPrefix(got, want) && want != "" {
			t.Errorf("%q: error %q, want %q", text, got, want)
		}
		if err == nil {
			stop()
		}
	}
}

// fetch requests a page, with a form if it is not nil, and follows redirects.
func fetch(t *testing.T, method, address string, form url.Values, change func(*http.Request)) (code int, body string) {
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
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, html.UnescapeString(string(text))
}

// TestPagesShowRefusal tests that each page which shows decisions shows a refusal.
func TestPagesShowRefusal(t *testing.T) {
	t.Parallel()
	d, address := serveOperatorPages(t, nil)
	s := &checks.Session{ID: "s1", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9"), Helo: "h.example"}
	s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
	o := checks.Outcome{
		Check: "rdns", Reason: missingPTR, Action: checks.Reject,
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "no name"},
	}
	d.journal().Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{
		Reply: &o.Reply, Reason: missingPTR, Action: checks.Reject, Outcomes: []checks.Outcome{o},
		Results: []checks.Result{{Check: "rdns", Outcomes: []checks.Outcome{o}}},
	})
	awaitRecords(t, d, 1)
	for path, want := range map[string]string{
		"/":                          "1 reject",
		"/refusals?client=192.0.2.9": "550 5.7.25 no name",
		"/refusals?ref=s1":           "Session s1",
		"/session?id=s1&n=1":         "<bob@example.org>",
		"/watched":                   "rdns-missing</a><span class=\"sub\">now ",
		"/metrics":                   `milterd_verdicts_total{action="reject"`,
		"/healthz":                   "ok",
		"/readyz":                    "ok",
		"/live.js":                   "DOMParser",
	} {
		if code, body := fetch(t, "GET", address+path, nil, nil); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// TestPagesAreGuarded requests every operator's page from other hosts and sites, and without a password. Only the
// health pages are open.
func TestPagesAreGuarded(t *testing.T) {
	t.Parallel()
	_, open := serveOperatorPages(t, nil)
	_, protected := serveOperatorPages(t, func(c *config.Config) { c.Admin.Password = "secret" })
	auth := func(r *http.Request) { r.SetBasicAuth("me", "secret") }
	otherHost := func(r *http.Request) { r.Host = "evil.example" } // DNS rebinding
	otherSite := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	for _, path := range []string{"/", "/refusals", "/session?id=a&n=1", "/watched", "/greylist", "/blocks", "/metrics", "/style.css", "/nothing"} {
		for _, c := range []struct {
			name, method, address string
			change                func(*http.Request)
			codes                 []int
		}{
			{"with another host name", "GET", open, otherHost, []int{421}},
			{"without password", "GET", protected, nil, []int{401}},
			{"form without password", "POST", protected, nil, []int{401}},
			{"form of another site", "POST", open, otherSite, []int{403}},
			{"form of another site with password", "POST", protected, func(r *http.Request) { auth(r); otherSite(r) }, []int{403}},
			{"with password", "GET", protected, auth, []int{200, 404}},
			{"on loopback", "GET", open, nil, []int{200, 404}},
			{"by the hostname", "GET", open, func(r *http.Request) { r.Host = "mx.example.org" }, []int{200, 404}},
		} {
			if code, _ := fetch(t, c.method, c.address+path, nil, c.change); !slices.Contains(c.codes, code) {
				t.Errorf("%s %s: %d", c.name, path, code)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, address := range []string{open, protected} {
			if code, body := fetch(t, "GET", address+path, nil, otherHost); code != 200 || body != "ok\n" {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
	}
}

// TestPanicOfAPage tests that a panic of a page or command ends its connection alone, and is an error in the log.
func TestPanicOfAPage(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	output := log.ToWriter(&lines, false, false)
	d := &daemon{log: output.Logger(logrus.InfoLevel)}
	served := make(chan error)
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a fault") })
	go func() { served <- d.serveHTTP(ln, handler, pageTime) }()
	for range 2 {
		if resp, err := http.Get("http://" + ln.Addr().String() + "/status"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	_ = ln.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	output.Close(time.Minute)
	if got := lines.String(); strings.Count(got, `level=error msg="panic: a fault" in=/status stack=`) != 2 {
		t.Errorf("log: %s", got)
	}
}

// TestReloadedHostname tests that the pages can be opened by the hostname of the configuration in force, and not by an earlier one.
func TestReloadedHostname(t *testing.T) {
	t.Parallel()
	d, address := serveOperatorPages(t, nil)
	cfg := *d.config()
	cfg.Hostname = "mail.example.org"
	d.mu.Lock()
	d.cfg = &cfg
	d.mu.Unlock()
	for host, want := range map[string]int{"mail.example.org": 200, "mx.example.org": 421} {
		if code, body := fetch(t, "GET", address+"/", nil, func(r *http.Request) { r.Host = host }); code != want {
			t.Errorf("%s: %d, want %d: %.200s", host, code, want, body)
		}
	}
}
