package replay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
)

// counting is a resolver that counts its questions.
type counting struct {
	checks.Resolver
	mu    sync.Mutex
	asked map[checks.Question]int
}

func (c *counting) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	c.mu.Lock()
	if c.asked == nil {
		c.asked = map[checks.Question]int{}
	}
	c.asked[q]++
	c.mu.Unlock()
	return c.Resolver.Lookup(ctx, q)
}

func TestEachQuestionOncePerMessage(t *testing.T) {
	t.Parallel()
	for _, text := range []string{zoneText, "!TIMEOUT example.net\n!TIMEOUT mail.example.com\n!TIMEOUT 9.2.0.192.in-addr.arpa"} {
		c := &counting{Resolver: dnsOf(t, text)}
		strict := configOf(t, "b.yaml", "profile: strict")
		r := replayed(t, Options{Paths: []string{mbox(t, letter{})}, Config: configOf(t, "a.yaml", ""), Against: &strict, DNS: c})
		if r.Judged != 1 || len(c.asked) < 5 && text == zoneText || len(c.asked) == 0 {
			t.Errorf("%d judged, %d questions", r.Judged, len(c.asked))
		}
		for q, n := range c.asked {
			if n != 1 {
				t.Errorf("%s was asked %d times", q, n)
			}
		}
	}
}

func TestDNSTimeout(t *testing.T) {
	t.Parallel()
	r := replayed(t, Options{Paths: []string{mbox(t, letter{})}, Config: configOf(t, "a.yaml", ""), DNS: dnsOf(t, "!TIMEOUT 9.2.0.192.in-addr.arpa\n"+strings.ReplaceAll(zoneText, "9.2.0", "8.2.0"))})
	if got := jsonOf(t, r).NotJudged["rdns"]; got["could not find out"] != 1 {
		t.Errorf("got %v", got)
	}
}

func TestRecording(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "answers")
	paths := []string{mbox(t, many(30)...)}
	live := &counting{Resolver: dnsOf(t, "!SERVFAIL example.com MX\n"+zoneText+"www.example.net. CNAME mail.example.com.\n")}
	replay := func(dns checks.Resolver) string {
		t.Helper()
		rec, err := OpenRecording(path, dns)
		if err != nil {
			t.Fatal(err)
		}
		defer rec.Close()
		a, err := rec.Lookup(t.Context(), checks.Ask("www.example.net", 1))
		if err != nil || len(a.Records) != 2 {
			t.Errorf("got %v, %v", a, err)
		}
		r := replayed(t, Options{Paths: paths, Config: configOf(t, "a.yaml", "profile: strict"), DNS: rec})
		r.Took = 0
		return textOf(t, r)
	}
	first := replay(live)
	asked := len(live.asked)
	clear(live.asked)
	second := replay(live)
	if first != second {
		t.Errorf("first %s\nthen %s", first, second)
	}
	for q := range live.asked {
		if q != checks.Ask("example.com", dns.TypeMX) {
			t.Errorf("%s was asked again", q)
		}
	}
	if asked < 5 || len(live.asked) != 1 {
		t.Errorf("%d questions, then %d", asked, len(live.asked))
	}
}

func TestRecordedAnswersAreEqual(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "answers")
	live := dnsOf(t, `a.example. TXT "quote \" and \255" "more"`+"\nb.example. CNAME c.example.\nc.example. A 192.0.2.1\nd.example. MX 0 .\n")
	questions := []checks.Question{
		checks.Ask("a.example", dns.TypeTXT), checks.Ask("b.example", dns.TypeA), checks.Ask("d.example", dns.TypeMX),
		checks.Ask("none.example", dns.TypeA), checks.Ask("a.example", dns.TypeA),
	}
	for range 2 { // from the live DNS, then from the file
		r, err := OpenRecording(path, live)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range questions {
			want, _ := dnsOf(t, `a.example. TXT "quote \" and \255" "more"`+"\nb.example. CNAME c.example.\nc.example. A 192.0.2.1\nd.example. MX 0 .\n").Lookup(t.Context(), q)
			got, err := r.Lookup(t.Context(), q)
			if err != nil || got.NXDomain != want.NXDomain || len(got.Records) != len(want.Records) {
				t.Fatalf("%s: got %v, %v", q, got, err)
			}
			for i := range got.Records {
				if !reflect.DeepEqual(got.Records[i].String(), want.Records[i].String()) {
					t.Errorf("%s: got %s, want %s", q, got.Records[i], want.Records[i])
				}
			}
		}
		_ = r.Close()
		live = dnsOf(t, "!SERVFAIL a.example\n!SERVFAIL b.example\n!SERVFAIL d.example\n!SERVFAIL none.example")
	}
}

func TestOpenRecordingErrors(t *testing.T) {
	t.Parallel()
	if _, err := OpenRecording(file(t, "mbox", "From x\nA: 1\n"), NoDNS{}); err == nil || !strings.Contains(err.Error(), "line 1 is not a recorded answer") {
		t.Errorf("got %v", err)
	}
	if _, err := OpenRecording(t.TempDir(), NoDNS{}); err == nil {
		t.Error("a folder was opened")
	}
	// Another file that has one line without an end stays as it is.
	const precious = "precious"
	other := file(t, "other", precious)
	_, err := OpenRecording(other, NoDNS{})
	if text, errRead := os.ReadFile(other); err == nil || errRead != nil || string(text) != precious {
		t.Errorf("another file: %v; it has %q now", err, text)
	}
	// The last line was cut off when the disk was full.
	path := file(t, "answers", `{"question":"a.example. A","records":["a.example. 60 IN A 192.0.2.1"]}`+"\n"+`{"question":"b.exa`)
	r, err := OpenRecording(path, dnsOf(t, "b.example. A 192.0.2.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range []string{"a.example", "b.example"} {
		if a, err := r.Lookup(t.Context(), checks.Ask(name, dns.TypeA)); err != nil || len(a.Records) != 1 {
			t.Errorf("got %v, %v", a, err)
		}
	}
	if text, _ := os.ReadFile(path); strings.Count(string(text), "\n") != 2 {
		t.Errorf("got %s", text)
	}
}

// slow is a resolver that answers when the channel is closed.
type slow struct {
	checks.Resolver
	answer chan struct{}
}

func (s slow) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	select {
	case <-s.answer:
		return s.Resolver.Lookup(ctx, q)
	case <-ctx.Done():
		return checks.Answer{}, ctx.Err()
	}
}

// TestRecordingOfGivenUpQuestion tests that an answer is recorded that no check waits for any more.
func TestRecordingOfGivenUpQuestion(t *testing.T) {
	t.Parallel()
	path, q := filepath.Join(t.TempDir(), "answers"), checks.Ask("mail.example.com", dns.TypeA)
	live := slow{Resolver: dnsOf(t, zoneText), answer: make(chan struct{})}
	rec, err := OpenRecording(path, live)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rec.Lookup(ctx, q); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(live.answer)
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenRecording(path, NoDNS{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if a, err := again.Lookup(t.Context(), q); err != nil || len(a.Records) == 0 {
		t.Errorf("got %v, %v", a, err)
	}
}
