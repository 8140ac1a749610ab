package resolver

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

// echo answers each question with one record.
func echo(q checks.Question) (string, error) { return q.Name + " A 192.0.2.1", nil }

func queryFor(name string, then func(checks.Answer) []checks.Query) checks.Query {
	return checks.Query{Question: checks.Ask(name, dns.TypeA), Then: then}
}

// withFake runs a test with synctest and a resolver that asks f.
func withFake(t *testing.T, f *fake, test func(t *testing.T, r *Resolver)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newFaked(t, f)
		defer r.Close()
		test(t, r)
	})
}

func TestAnnounceAsksFollowUps(t *testing.T) {
	f := &fake{answer: echo, latency: 100 * time.Millisecond}
	withFake(t, f, func(t *testing.T, r *Resolver) {
		var seen checks.Answer
		next := func(a checks.Answer) []checks.Query {
			seen = a
			return []checks.Query{queryFor("next.example", nil)}
		}
		began := time.Now()
		r.Announce([]checks.Query{queryFor("first.example", next), queryFor("a..b", nil)})
		if time.Since(began) != 0 {
			t.Error("Announce waited")
		}
		time.Sleep(time.Second)
		for _, name := range []string{"first.example", "next.example"} {
			began = time.Now()
			_, err := r.Lookup(t.Context(), checks.Ask(name, dns.TypeA))
			if err != nil || time.Since(began) != 0 {
				t.Errorf("%s: %v, after %v", name, err, time.Since(began))
			}
		}
		if len(seen.Records) != 1 || f.asked.Load() != 2 {
			t.Errorf("Then saw %v, asked %d times", seen, f.asked.Load())
		}
		// A cached answer is not asked for again, but its follow-ups are.
		r.Announce([]checks.Query{queryFor("first.example", func(checks.Answer) []checks.Query {
			return []checks.Query{queryFor("other.example", nil)}
		})})
		time.Sleep(time.Second)
		if got := f.asked.Load(); got != 3 {
			t.Errorf("asked %d times", got)
		}
		if s := r.Stats(); s.Announced != 5 || s.Dropped != 0 || r.outstanding.Load() != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAnnounceAndLookupShareOneQuery(t *testing.T) {
	f := &fake{answer: echo, latency: time.Second}
	withFake(t, f, func(t *testing.T, r *Resolver) {
		var follows atomic.Int64
		then := func(checks.Answer) []checks.Query { follows.Add(1); return nil }
		r.Announce([]checks.Query{queryFor("example.org", then)})
		time.Sleep(900 * time.Millisecond)
		r.Announce([]checks.Query{queryFor("example.org", then)})
		began := time.Now()
		if _, err := r.Lookup(t.Context(), question); err != nil || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
		synctest.Wait()
		if follows.Load() != 2 || f.asked.Load() != 1 {
			t.Errorf("Then called %d times, asked %d times", follows.Load(), f.asked.Load())
		}
	})
}

func TestAnnounceDropsQuestionsOverTheLimit(t *testing.T) {
	f := &fake{hang: true}
	withFake(t, f, func(t *testing.T, r *Resolver) {
		for i := range 1500 {
			r.Announce([]checks.Query{queryFor(fmt.Sprint(i), nil)})
		}
		if s := r.Stats(); s.Announced != 1500 || s.Dropped != 500 {
			t.Errorf("%+v", s)
		}
		time.Sleep(7 * time.Second) // all have timed out
		if got := r.outstanding.Load(); got != 0 || f.asked.Load() != 1000 {
			t.Errorf("%d outstanding, asked %d times", got, f.asked.Load())
		}
		r.Announce([]checks.Query{queryFor("again.example", nil)})
		if got := r.Stats().Dropped; got != 500 {
			t.Errorf("%d dropped", got)
		}
	})
}

// TestEndlessFollowUpsAreLimited announces questions whose follow-ups always have follow-ups, cached or not.
func TestEndlessFollowUpsAreLimited(t *testing.T) {
	f := &fake{answer: echo}
	withFake(t, f, func(t *testing.T, r *Resolver) {
		var deeper func(name string, width int) func(checks.Answer) []checks.Query
		deeper = func(name string, width int) func(checks.Answer) []checks.Query {
			return func(checks.Answer) (next []checks.Query) {
				for i := range width {
					name := fmt.Sprint(i, ".") + name
					next = append(next, queryFor(name, deeper(name, width)))
				}
				return next
			}
		}
		for range 2 {
			r.Announce([]checks.Query{queryFor("deep.example", deeper("deep.example", 1))})
			synctest.Wait()
			if got := f.asked.Load(); got != 1+maxFollowUps {
				t.Errorf("deep: asked %d times", got)
			}
		}
		for _, limit := range []int64{1 + maxFollowUps, maxFollowUps} { // the announced question is cached the second time
			f.asked.Store(0)
			r.Announce([]checks.Query{queryFor("wide.example", deeper("wide.example", 3))})
			synctest.Wait()
			if got := f.asked.Load(); got > limit || got == 0 {
				t.Errorf("wide: asked %d times", got)
			}
		}
	})
}

func TestAnnounceSurvivesFailuresAndPanics(t *testing.T) {
	f := &fake{answer: func(q checks.Question) (string, error) {
		if strings.HasPrefix(q.Name, "bad.") {
			return "", errTest
		}
		return echo(q)
	}}
	withFake(t, f, func(t *testing.T, r *Resolver) {
		r.Announce([]checks.Query{
			queryFor("bad.example", func(checks.Answer) []checks.Query { t.Error("Then was called after a failure"); return nil }),
			queryFor("panics.example", func(checks.Answer) []checks.Query { panic("in Then") }),
			queryFor("good.example", nil),
		})
		synctest.Wait()
		if got := r.Stats().Panics; got != 1 || f.asked.Load() != 3 || r.outstanding.Load() != 0 {
			t.Errorf("%d panics, asked %d times", got, f.asked.Load())
		}
	})
}
