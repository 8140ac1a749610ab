package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

var (
	question = checks.Ask("example.org", dns.TypeA)
	errTest  = errorOf(question, errServFail)
)

// fake replaces the servers of a Resolver, for tests with testing/synctest.
type fake struct {
	answer  func(q checks.Question) (string, error) // in the format of message
	latency time.Duration
	asked   atomic.Int64
	hang    bool // do not answer until the context is done
}

// exchange replaces upstreams.exchange.
func (f *fake) exchange(ctx context.Context, q checks.Question) (*dns.Msg, error) {
	f.asked.Add(1)
	if f.hang {
		<-ctx.Done()
		return nil, errorOf(q, errTimeout)
	}
	time.Sleep(f.latency)
	text, err := f.answer(q)
	if err != nil {
		return nil, err
	}
	return message(text), nil
}

// message returns an answer with the records in text, one a line. A line may begin with "authority" for a record of the
// authority section, or be NXDOMAIN.
func message(text string) *dns.Msg {
	m := new(dns.Msg)
	for line := range strings.Lines(text) {
		line, authority := strings.CutPrefix(strings.TrimSpace(line), "authority ")
		if line == "NXDOMAIN" {
			m.Rcode = dns.RcodeNameError
			continue
		}
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		if authority {
			m.Ns = append(m.Ns, rr)
		} else if rr != nil {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func answering(text string) func(checks.Question) (string, error) {
	return func(checks.Question) (string, error) { return text, nil }
}

// newFaked returns a resolver that asks f.
func newFaked(t testing.TB, f *fake) *Resolver {
	t.Helper()
	r, err := New(Config{Servers: []string{"192.0.2.53"}})
	if err != nil {
		t.Fatal(err)
	}
	r.exchange = f.exchange
	return r
}

func TestEqualQuestionsShareOneQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: answering("example.org. A 192.0.2.1"), latency: time.Second}
		r := newFaked(t, f)
		defer r.Close()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if a, err := r.Lookup(t.Context(), question); err != nil || len(a.Records) != 1 {
					t.Errorf("got %v, %v", a, err)
				}
			})
		}
		all.Wait()
		if got := f.asked.Load(); got != 1 {
			t.Errorf("asked %d times", got)
		}
		if s := r.Stats(); s.Coalesced != 999 {
			t.Errorf("%+v", s)
		}
	})
}

func TestQueryOutlivesItsFirstCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: answering("example.org. A 192.0.2.1"), latency: time.Second}
		r := newFaked(t, f)
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := r.Lookup(ctx, question) // starts the flight
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		if a, err := r.Lookup(t.Context(), question); err != nil || len(a.Records) != 1 || f.asked.Load() != 1 {
			t.Errorf("got %v, %v, asked %d times", a, err, f.asked.Load())
		}
	})
}

func TestFlightWithoutAnswerTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newFaked(t, &fake{hang: true})
		defer r.Close()
		began := time.Now()
		_, err := r.Lookup(t.Context(), question)
		if !errors.Is(err, errTimeout) || time.Since(began) != 6*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

func TestCloseEndsPendingLookups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newFaked(t, &fake{hang: true})
		failed := make(chan error, 1)
		go func() {
			_, err := r.Lookup(t.Context(), question)
			failed <- err
		}()
		r.Announce([]checks.Query{{Question: checks.Ask("b.example.org", dns.TypeA)}})
		synctest.Wait()
		r.Close()
		if err := <-failed; !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
		r.Close()
		if _, err := r.Lookup(t.Context(), question); !errors.Is(err, errClosed) {
			t.Errorf("after Close: got %v", err)
		}
		r.Announce([]checks.Query{{Question: question}})
		if got := r.outstanding.Load(); got != 0 {
			t.Errorf("%d questions are outstanding", got)
		}
	})
}

// TestCacheLifetimes asks again just before and just after an answer should expire.
func TestCacheLifetimes(t *testing.T) {
	t.Parallel()
	fail := func(err error) func(checks.Question) (string, error) {
		return func(checks.Question) (string, error) { return "", err }
	}
	for name, c := range map[string]struct {
		answer func(checks.Question) (string, error)
		want   time.Duration
	}{
		"TTL":              {answering("example.org. 300 A 192.0.2.1"), 300 * time.Second},
		"least TTL":        {answering("example.org. 300 A 192.0.2.1\nexample.org. 200 A 192.0.2.2"), 200 * time.Second},
		"TTL of the chain": {answering("example.org. 100 CNAME a.example.\na.example. 200 A 192.0.2.2"), 100 * time.Second},
		"TTL of others": {answering("example.org. 300 A 192.0.2.1\nother.example. 40 A 192.0.2.2"),
			300 * time.Second},
		"TTL 0":                 {answering("example.org. 0 A 192.0.2.1"), 30 * time.Second},
		"TTL too long":          {answering("example.org. 604800 A 192.0.2.1"), 24 * time.Hour},
		"TTL negative":          {answering("example.org. 4294967295 A 192.0.2.1"), 30 * time.Second},
		"NXDOMAIN, SOA minimum": {answering("NXDOMAIN\nauthority org. 900 SOA a. b. 1 2 3 4 600"), 600 * time.Second},
		"NXDOMAIN, SOA TTL":     {answering("NXDOMAIN\nauthority org. 500 SOA a. b. 1 2 3 4 600"), 500 * time.Second},
		"NXDOMAIN, long":        {answering("NXDOMAIN\nauthority org. 86400 SOA a. b. 1 2 3 4 86400"), time.Hour},
		"NXDOMAIN, no SOA":      {answering("NXDOMAIN"), 30 * time.Second},
		"NXDOMAIN, other's SOA": {answering("NXDOMAIN\nauthority net. 900 SOA a. b. 1 2 3 4 600"), 30 * time.Second},
		"no data":               {answering("authority example.org. 900 SOA a. b. 1 2 3 4 600"), 600 * time.Second},
		"no data, no SOA":       {answering(""), 30 * time.Second},
		"chain to NXDOMAIN": {answering("example.org. 100 CNAME a.example.\nNXDOMAIN\n" +
			"authority example. 900 SOA a. b. 1 2 3 4 600"), 100 * time.Second},
		"SERVFAIL":    {fail(errTest), 5 * time.Second},
		"unreachable": {fail(fmt.Errorf("%w: no route", errUnreachable)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{answer: c.answer}
				r := newFaked(t, f)
				defer r.Close()
				lookup := func(want int64) {
					t.Helper()
					r.Lookup(t.Context(), question)
					if got := f.asked.Load(); got != want {
						t.Errorf("asked %d times, want %d", got, want)
					}
				}
				lookup(1)
				if c.want > 0 {
					time.Sleep(c.want - time.Millisecond)
					lookup(1)
				}
				time.Sleep(2 * time.Millisecond)
				lookup(2)
			})
		})
	}
}

func TestSpellingsOfOneNameShareACacheEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(q checks.Question) (string, error) { return q.Name + " A 192.0.2.1", nil }}
		r := newFaked(t, f)
		defer r.Close()
		for _, name := range []string{"a.example.org.", "A.Example.org", `\097.example.org.`, `\a.example.org.`} {
			if a, err := r.Lookup(t.Context(), checks.Question{Name: name, Type: dns.TypeA}); err != nil || len(a.Records) != 1 {
				t.Errorf("%s: got %v, %v", name, a, err)
			}
		}
		if got := f.asked.Load(); got != 1 {
			t.Errorf("asked %d times", got)
		}
	})
}

func TestPanicInExchangeIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newFaked(t, &fake{answer: func(checks.Question) (string, error) { panic("hostile") }})
		defer r.Close()
		_, err := r.Lookup(t.Context(), question)
		if !errors.Is(err, errMalformed) || r.Stats().Panics != 1 {
			t.Errorf("got %v", err)
		}
	})
}

// TestCacheIsBounded adds many times as many answers of one size as fit in the cache.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache(1<<20, func() time.Duration { return 0 })
	big := message("example.org. TXT " + strings.Repeat(`"`+strings.Repeat("x", 200)+`" `, 100)).Answer
	for i := range 1000 {
		c.put(checks.Ask(fmt.Sprint(i), dns.TypeTXT), entry{answer: checks.Answer{Records: big}, ttl: time.Hour})
		if got := c.entries.Size(); got > 1<<20 {
			t.Fatalf("%d bytes after %d answers", got, i)
		}
	}
	if got := c.entries.Len(); got < 40 {
		t.Errorf("only %d answers", got)
	}
}
