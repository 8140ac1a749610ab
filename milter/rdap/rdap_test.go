package rdap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks/checktest"
)

// lab is a registry, a server of the list, and a client that may connect to loopback addresses. All use the clock of the
// test.
type lab struct {
	*Client
	store *checktest.Store
	clock checktest.Clock
	url   string        // of the registry
	iana  string        // URL of the list
	asked atomic.Int32  // requests to the registry
	lists atomic.Int32  // requests for the list
	list  atomic.Value  // string: the list, where REGISTRY stands for the URL of the registry
	open  chan struct{} // closed at the end of the test
}

func newLab(t *testing.T, registry http.HandlerFunc) *lab {
	t.Helper()
	l := &lab{open: make(chan struct{})}
	l.store = checktest.NewStore(l.clock.Now)
	l.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		registry(w, r)
	})
	l.iana = serve(t, func(w http.ResponseWriter, r *http.Request) {
		l.lists.Add(1)
		text := l.list.Load().(string)
		if text == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(text, "REGISTRY", l.url)))
	})
	l.list.Store(`{"version":"1.0","services":[[["net","com"],["REGISTRY/"]],[["de"],["http://127.0.0.1:1/","REGISTRY/"]]]}`)
	t.Cleanup(func() { close(l.open) }) // before the servers close, as they wait for their handlers
	l.restart(netip.Addr.IsLoopback)
	return l
}

// restart makes a new client with the same store.
func (l *lab) restart(public func(netip.Addr) bool) {
	l.Client = newClient(l.store, options{list: l.iana, now: l.clock.Now, public: public, timeout: 10 * time.Second})
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// answers returns a registry that has one answer for all requests.
func answers(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/rdap+json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// domain returns an answer with one event.
func domain(name, action, date string) string {
	return fmt.Sprintf(`{"objectClassName":"domain","ldhName":%q,"events":[{"eventAction":%q,"eventDate":%q}]}`, name, action, date)
}

var good = domain("EXAMPLE.NET", "registration", "2026-11-01T10:00:00Z")

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		registry http.HandlerFunc
		want     string // date; empty: unknown
		err      string // part of it
	}{
		{name: "a date", registry: answers(200, good), want: "2026-11-01"},
		{name: "among other events", registry: answers(200, `{"objectClassName":"domain","events":[{"eventAction":"expiration","eventDate":"2027-11-01T10:00:00Z"},
			{"eventAction":"registration","eventDate":"2020-01-02T03:04:05Z"},{"eventAction":"last changed","eventDate":"2026-11-20T10:00:00Z"},
			{"eventAction":"transfer","eventDate":"2026-11-20T10:00:00Z"}]}`), want: "2020-01-02"},
		{name: "registered again", registry: answers(200, `{"objectClassName":"domain","events":[{"eventAction":"reregistration","eventDate":"2026-11-01T10:00:00Z"},
			{"eventAction":"registration","eventDate":"2020-01-02T03:04:05Z"}]}`), want: "2026-11-01"},
		{name: "no event", registry: answers(200, `{"objectClassName":"domain","ldhName":"example.net"}`)},
		{name: "no date of registration", registry: answers(200, domain("example.net", "last changed", "2026-11-01T10:00:00Z"))},
		{name: "an invalid date", registry: answers(200, domain("example.net", "registration", "before 1995"))},
		{name: "events of a wrong type", registry: answers(200, `{"objectClassName":"domain","events":"none"}`)},
		{name: "an event of a wrong type", registry: answers(200, `{"objectClassName":"domain","events":[17,{"eventAction":["registration"],"eventDate":1},null]}`)},
		{name: "not registered", registry: answers(404, `{"errorCode":404,"title":"Not Found"}`)},
		{name: "not registered, empty answer", registry: answers(404, "")},

		{name: "another domain", registry: answers(200, domain("example.com", "registration", "2026-11-01T10:00:00Z")), err: "another domain"},
		{name: "another domain, long", registry: answers(200, domain(strings.Repeat("x", maxBody/2), "registration", "2026-11-01T10:00:00Z")), err: "another domain"},
		{name: "a long redirect", registry: answers(302, "", "Location", "http://127.0.0.1:1/"+strings.Repeat("x", 50<<10)), err: "127.0.0.1:1"},
		{name: "another object", registry: answers(200, `{"objectClassName":"nameserver","ldhName":"example.net"}`), err: "has no domain"},
		{name: "an error with status 200", registry: answers(200, `{"errorCode":500,"title":"no"}`), err: "has no domain"},
		{name: "an empty answer", registry: answers(200, ""), err: "unexpected end"},
		{name: "HTML", registry: answers(200, "<html>please log in</html>"), err: "invalid character"},
		{name: "a truncated answer", registry: answers(200, good[:len(good)/2]), err: "unexpected end"},
		{name: "shorter than Content-Length", registry: answers(200, good, "Content-Length", "9999"), err: "EOF"},
		{name: "JSON without an object", registry: answers(200, "[]"), err: "cannot unmarshal"},
		{name: "nested JSON", registry: answers(200, strings.Repeat("[", 20_000)), err: "max depth"},
		{name: "a huge answer", registry: answers(200, strings.Repeat(" ", maxBody)+good), err: "bytes"},
		{name: "an answer of the largest size", registry: answers(200, strings.Repeat(" ", maxBody-len(good))+good), want: "2026-11-01"},
		{name: "a huge header", registry: answers(200, good, "X", strings.Repeat("x", 100<<10)), err: "header"},
		{name: "server error", registry: answers(500, "oops"), err: "500"},
		{name: "client error", registry: answers(400, "what?"), err: "400"},
		{name: "rate limited", registry: answers(429, ""), err: "429"},
		{name: "a dropped connection", registry: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, err: "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, err := newLab(t, c.registry).Registered(t.Context(), "", "example.net")
			got := ""
			if !at.IsZero() {
				got = at.Format(time.DateOnly)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if err != nil && len(err.Error()) > 1000 { // it is logged
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.URL.RequestURI())
		if !strings.Contains(r.Header.Get("Accept"), "application/rdap+json") || !strings.Contains(r.UserAgent(), "milterd") {
			t.Errorf("header %v", r.Header)
		}
		answers(404, "")(w, r)
	})
	for _, c := range []struct{ server, domain string }{
		{"", "example.net"}, {l.url, "example.de"}, {l.url + "/", "example.de"}, {l.url + "/rdap/v1", "xn--bcher-kva.example"},
	} {
		if _, err := l.Registered(t.Context(), c.server, c.domain); err != nil {
			t.Error(err)
		}
	}
	want := "[GET /domain/example.net GET /domain/example.de GET /domain/example.de GET /rdap/v1/domain/xn--bcher-kva.example]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimeLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		sent string // before the registry stops
	}{{"a silent registry", ""}, {"a registry that stops within the answer", good[:40]}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var l *lab
			l = newLab(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.sent != "" {
					_, _ = w.Write([]byte(c.sent))
					w.(http.Flusher).Flush()
				}
				<-l.open
			})
			l.http.Timeout = 50 * time.Millisecond
			if at, err := l.Registered(t.Context(), l.url, "example.net"); err == nil || !at.IsZero() {
				t.Errorf("got %v, %v", at, err)
			}
			if _, err := l.Registered(t.Context(), l.url, "example.com"); c.sent == "" && !strings.Contains(fmt.Sprint(err), "it did not answer") {
				t.Errorf("the next time: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := l.Registered(ctx, l.url, "example.net"); err == nil {
				t.Error("no error after the end of the context")
			}
		})
	}
}

// register asks the registry in the list about a domain.
func (l *lab) register(t *testing.T, domain string) error {
	t.Helper()
	_, err := l.Registered(t.Context(), "", domain)
	return err
}

func TestListedServers(t *testing.T) {
	t.Parallel()
	t.Run("a top-level domain without a server", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, answers(200, good))
		if at, err := l.Registered(t.Context(), "", "example.invalid"); err != nil || !at.IsZero() || l.asked.Load() > 0 {
			t.Errorf("got %v, %v, %d requests", at, err, l.asked.Load())
		}
	})
	t.Run("the second server is asked if the first fails", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, answers(200, domain("example.de", "registration", "2026-11-01")))
		if at, err := l.Registered(t.Context(), "", "example.de"); err != nil || at.IsZero() {
			t.Errorf("got %v, %v", at, err)
		}
	})
	t.Run("TLS comes first", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, answers(200, good))
		l.list.Store(`{"services":[[["net"],["http://a.example/","https://b.example/","http://c.example/"]]]}`)
		got, err := l.Client.list.lookup(t.Context(), "example.net")
		if want := "[https://b.example/ http://a.example/ http://c.example/]"; err != nil || fmt.Sprint(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	})
	t.Run("bad URLs", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, answers(200, good))
		l.list.Store(`{"services":[[["net"],["file:///etc/","ftp://127.0.0.1/","/relative/","://"]]]}`)
		if err := l.register(t, "example.net"); err == nil {
			t.Error("no error")
		}
	})
}

// TestListAge shows that a list is used for a day, and longer if there is no new one.
func TestListAge(t *testing.T) {
	t.Parallel()
	l := newLab(t, answers(404, ""))
	want := func(when, domain string, lists int32) {
		t.Helper()
		if err := l.register(t, domain); err != nil || l.lists.Load() != lists {
			t.Errorf("%s: %v, the list was fetched %d times, want %d", when, err, l.lists.Load(), lists)
		}
	}
	want("at first", "example.net", 1)
	want("again", "example.net", 1)
	want("another domain", "example.com", 1)
	l.clock.Advance(24 * time.Hour)
	want("a day later", "example.net", 2)
	l.clock.Advance(48 * time.Hour)
	l.list.Store("")
	want("without a new list", "example.net", 3)
	if n := l.asked.Load(); n != 5 {
		t.Errorf("%d requests to the registry, want 5", n)
	}
}

func TestListErrors(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"no list": "", "garbage": "<html>", "a malformed list": `{"services":[[["net"]]]}`, "a huge list": strings.Repeat(" ", maxBody) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, answers(200, good))
			l.list.Store(list)
			if err := l.register(t, "example.net"); err == nil || !strings.Contains(err.Error(), "list of registries") {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("the store fails", func(t *testing.T) {
		t.Parallel()
		l := newLab(t, answers(200, good))
		l.store.Fail(errors.New("outage"))
		if err := l.register(t, "example.net"); err == nil || l.asked.Load() > 0 {
			t.Errorf("error %v, %d requests without a limit", err, l.asked.Load())
		}
	})
}

// TestConcurrency has several goroutines fetch one list.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	l := newLab(t, answers(200, good))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := l.Registered(t.Context(), "", "example.net"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l.lists.Load() != 1 {
		t.Errorf("the list was fetched %d times", l.lists.Load())
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-11-01T10:00:00Z": "2026-11-01 10:00", "2026-11-01T10:00:00.123456Z": "2026-11-01 10:00", "2026-11-01t10:00:00z": "2026-11-01 10:00",
		"2026-11-01T10:00:00+02:00": "2026-11-01 08:00", "2026-11-01T10:00:00+0200": "2026-11-01 08:00", "2026-11-01T10:00:00+02": "2026-11-01 08:00",
		"2026-11-01T10:00:00": "2026-11-01 10:00", "2026-11-01 10:00:00": "2026-11-01 10:00", "2026-11-01 10:00:00Z": "2026-11-01 10:00",
		" 2026-11-01 ": "2026-11-01 00:00", "20261101": "2026-11-01 00:00", "2026.11.01": "2026-11-01 00:00", "2026-11-01T10:00Z": "2026-11-01 10:00",
		"": "", "0001-01-01T00:00:00Z": "", "1970-01-01T00:00:00Z": "", "2026-13-01": "", "2026-02-30T00:00:00Z": "", "yesterday": "",
		"01.11.2026": "", "1761991200": "", "9999-12-31T23:59:59Z": "",
	} {
		at, ok := parseDate(text)
		got := ""
		if ok {
			got = at.Format("2006-01-02 15:04")
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, layout := range layouts {
		f.Add(layout)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := parseDate(text)
		if !ok {
			return
		}
		again, ok := parseDate(at.Format(time.RFC3339))
		if !ok || at.Location() != time.UTC || !again.Equal(at.Truncate(time.Second)) {
			t.Errorf("%q: %v, again %v", text, at, again)
		}
	})
}
