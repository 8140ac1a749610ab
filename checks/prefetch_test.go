package checks_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"milterd/checks"
)

// prefetching is a fake that announces.
type prefetching struct {
	*fake
	at []checks.Stage
}

func (p *prefetching) Prefetch(s *checks.Request) []checks.Query {
	p.at = append(p.at, s.Stage)
	return []checks.Query{{Question: checks.Ask("example.net", 1)}}
}

type announced struct{ questions []checks.Query }

func (a *announced) Announce(qs []checks.Query) { a.questions = append(a.questions, qs...) }

// announcing has the questions announced to a.
func announcing(a *announced) func(*checks.Options) {
	return func(o *checks.Options) { o.Announce = a }
}

func TestAnnouncing(t *testing.T) {
	t.Parallel()
	f := &prefetching{fake: newFake("one", atConnect, reason("a"))}
	var a announced
	p := pipeline(t, nil, func(o *checks.Options) {
		o.Announce, o.Trusted.Networks = &a, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	}, f)
	talk := begin(p, "192.0.2.9")
	talk.mail("a@example.net")
	talk.rcpt("u@example.org")
	if want := []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom}; !slices.Equal(f.at, want) {
		t.Errorf("asked to announce at %v, want %v", f.at, want)
	}
	if len(a.questions) != 3 {
		t.Errorf("announced %v", a.questions)
	}
	f.at = nil
	begin(p, "198.51.100.1")
	if len(f.at) != 0 {
		t.Error("announced for a trusted client")
	}
}

// panickingPrefetch is a fake whose Prefetch has a bug.
type panickingPrefetch struct{ *fake }

func (panickingPrefetch) Prefetch(*checks.Request) []checks.Query { panic("bug") }

// TestPrefetchPanics shows that the questions of the other checks are announced, and that the reply does not change.
func TestPrefetchPanics(t *testing.T) {
	t.Parallel()
	broken, well := panickingPrefetch{newFake("broken", atConnect, reason("a"))}, &prefetching{fake: newFake("well", atConnect, reason("b"))}
	var a announced
	talk := begin(pipeline(t, nil, announcing(&a), broken, well), "192.0.2.9")
	talk.mail("a@example.net")
	want(t, "reply", code(talk.rcpt("u@example.org")), "550 5.7.1 a")
	if len(a.questions) != 3 {
		t.Errorf("announced %v", a.questions)
	}
}

// prefetchingAtConnect is a fake that announces the given questions, at Connect.
type prefetchingAtConnect struct {
	*fake
	questions []checks.Query
}

func (a prefetchingAtConnect) Prefetch(s *checks.Request) []checks.Query {
	if s.Stage != checks.Connect {
		return nil
	}
	return a.questions
}

func TestAnnouncingOnce(t *testing.T) {
	t.Parallel()
	type key string
	then := func(checks.Answer) []checks.Query { return nil }
	q, other := checks.Ask("example.net", 1), checks.Ask("example.net", 2)
	for _, c := range []struct {
		name          string
		first, second checks.Query
		want          int
	}{
		{"nothing follows", checks.Query{Question: q}, checks.Query{Question: q}, 1},
		{"other questions", checks.Query{Question: q}, checks.Query{Question: other}, 2},
		{"the same follows", checks.Query{Question: q, Then: then, Key: key("a")}, checks.Query{Question: q, Then: then, Key: key("a")}, 1},
		{"something else follows", checks.Query{Question: q, Then: then, Key: key("a")}, checks.Query{Question: q, Then: then, Key: key("b")}, 2},
		{"unknown whether the same follows", checks.Query{Question: q, Then: then}, checks.Query{Question: q, Then: then}, 2},
		{"something follows the second", checks.Query{Question: q}, checks.Query{Question: q, Then: then, Key: key("a")}, 2},
		{"something follows the first", checks.Query{Question: q, Then: then, Key: key("a")}, checks.Query{Question: q}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var fakes []instance
			for i, q := range []checks.Query{c.first, c.second} {
				fakes = append(fakes, prefetchingAtConnect{newFake(fmt.Sprint(i), atConnect, reason("a")), []checks.Query{q}})
			}
			var a announced
			begin(pipeline(t, nil, announcing(&a), fakes...), "192.0.2.9")
			if len(a.questions) != c.want {
				t.Errorf("announced %d questions, want %d", len(a.questions), c.want)
			}
		})
	}
}

// TestPrefetchOfABusyClient shows that the questions of a subject are not announced for each of its messages.
func TestPrefetchOfABusyClient(t *testing.T) {
	t.Parallel()
	f := &prefetching{fake: newFake("one", atConnect, reason("a"))}
	var a announced
	p := pipeline(t, nil, announcing(&a), f)
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		client string
		after  time.Duration
		want   int // announced in all
	}{
		{"192.0.2.9", 0, 1}, {"192.0.2.9", 19 * time.Second, 1}, {"192.0.2.10", 19 * time.Second, 2}, {"192.0.2.9", 20 * time.Second, 2},
		{"192.0.2.9", 21 * time.Second, 3}, {"192.0.2.9", 40 * time.Second, 3}, {"192.0.2.9", 60 * time.Second, 4},
		{"192.0.2.9", -time.Hour, 5}, // the clock was moved
	} {
		s := &checks.Session{Client: netip.MustParseAddr(c.client), Time: noon.Add(c.after)}
		p.NewRun(s).Judge(t.Context(), checks.Connect)
		if len(a.questions) != c.want {
			t.Errorf("%s after %v: announced %d times, want %d", c.client, c.after, len(a.questions), c.want)
		}
	}
}

// TestPrefetchMemory tests that what is known of earlier prefetches does not keep the names that clients sent. It is not parallel:
// it measures the memory of the process.
func TestPrefetchMemory(t *testing.T) {
	f := &prefetching{fake: newFake("one", atConnect, reason("a"))}
	var a announced
	p := pipeline(t, nil, announcing(&a), f)
	inUse := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	for i := range 9000 {
		s := &checks.Session{Client: netip.MustParseAddr("192.0.2.9"), Helo: fmt.Sprintf("%d.%02000d.example", i, 0)}
		p.NewRun(s).Judge(t.Context(), checks.Helo)
	}
	if grown := inUse() - before; grown > 2<<20 {
		t.Errorf("9000 names take %d KiB", grown>>10)
	}
	runtime.KeepAlive(p)
}
