package checks_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
)

// counting is a resolver that counts what it is asked. Its answers hold until a time.
type counting struct {
	mu    sync.Mutex
	asked map[string]int
	until map[string]time.Time
	fails bool

	records []dns.RR
}

func (r *counting) Lookup(_ context.Context, q checks.Question) (checks.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[q.Name]++
	if r.fails {
		return checks.Answer{}, errors.New("no answer")
	}
	return checks.Answer{Records: r.records, Until: r.until[q.Name]}, nil
}

func (r *counting) count(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[name]
}

type (
	innerKey struct{}
	outerKey struct{}
)

// TestConclude: what one session has concluded is known to the others, for as long as it is to be.
func TestConclude(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	type visit struct {
		client, helo, sender string
		after                time.Duration
	}
	first := visit{client: "192.0.2.1", helo: "a.example", sender: "x@one.example"}
	for _, c := range []struct {
		name    string
		scope   checks.Stage
		second  visit
		until   time.Duration // of the answers to both questions; the one for the inner fact is double
		own     bool          // the fact is for oneself
		fails   bool
		records int // in each answer
		shared  bool
	}{
		{name: "the same session again", scope: checks.MailFrom, second: first, until: time.Minute, shared: true},
		{name: "another user of the domain", scope: checks.MailFrom, second: visit{first.client, first.helo, "y@one.example", 0}, until: time.Minute, shared: true},
		{name: "another domain", scope: checks.MailFrom, second: visit{first.client, first.helo, "x@two.example", 0}, until: time.Minute},
		{name: "another domain does not matter to the HELO", scope: checks.Helo, second: visit{first.client, first.helo, "x@two.example", 0}, until: time.Minute, shared: true},
		{name: "another HELO", scope: checks.Helo, second: visit{first.client, "b.example", first.sender, 0}, until: time.Minute},
		{name: "another HELO does not matter to the client", scope: checks.Connect, second: visit{first.client, "b.example", first.sender, 0}, until: time.Minute, shared: true},
		{name: "another client", scope: checks.Connect, second: visit{"192.0.2.2", first.helo, first.sender, 0}, until: time.Minute},
		{name: "a bounce", scope: checks.MailFrom, second: visit{first.client, first.helo, "", 0}, until: time.Minute},
		{name: "a text like the domain", scope: checks.MailFrom, second: visit{first.client, first.helo, "one.example", 0}, until: time.Minute},
		{name: "a recipient's", scope: checks.RcptTo, second: first, until: time.Minute},
		{name: "from very much", scope: checks.Connect, second: first, until: time.Minute, records: 500},
		{name: "shortly before the answer is old", scope: checks.Connect, second: visit{first.client, first.helo, first.sender, time.Minute - 1}, until: time.Minute, shared: true},
		{name: "when the answer is old", scope: checks.Connect, second: visit{first.client, first.helo, first.sender, time.Minute}, until: time.Minute},
		{name: "nobody knows how long the answer holds", scope: checks.Connect, second: first, until: -1},
		{name: "for oneself", scope: checks.Connect, second: first, until: time.Minute, own: true},
		{name: "no answer", scope: checks.Connect, second: first, until: time.Minute, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &counting{asked: map[string]int{}, until: map[string]time.Time{}, fails: c.fails}
			for range c.records {
				r.records = append(r.records, &dns.A{Hdr: dns.RR_Header{Name: "outer.example.", Rrtype: dns.TypeA}})
			}
			if c.until > 0 {
				r.until["outer.example."], r.until["inner.example."] = start.Add(c.until), start.Add(2*c.until)
			}
			traced := checks.Traced(r)
			f := newFake("one", []checks.Stage{checks.MailFrom}, reason("a"))
			f.say = func(ctx context.Context, s *checks.Session) ([]checks.Verdict, error) {
				v, err := checks.Conclude(s, c.scope, outerKey{}, func() (string, error) {
					_, err := checks.Conclude(s, checks.Connect, innerKey{}, func() (int, error) {
						_, err := traced.Lookup(ctx, checks.Ask("inner.example", dns.TypeA))
						return 1, err
					})
					if err != nil {
						return "", err
					}
					if c.own {
						checks.ForOneself(s)
					}
					_, err = traced.Lookup(ctx, checks.Ask("outer.example", dns.TypeA))
					return "found", err
				})
				if err == nil && v != "found" {
					return nil, fmt.Errorf("got %q", v)
				}
				return []checks.Verdict{{Reason: f.info.Reasons[0]}}, err
			}
			p, err := checks.New([]checks.Instance{{Info: f.info, Check: f}}, checks.Options{
				Actions: map[string]checks.Action{"a": checks.Watch}, ReplyAt: checks.RcptTo, Budget: time.Minute, Trace: checks.TraceAll,
			})
			if err != nil {
				t.Fatal(err)
			}
			run := func(v visit) checks.Decision {
				s := &checks.Session{Client: netip.MustParseAddr(v.client), Helo: v.helo, Time: start.Add(v.after)}
				p.Run(t.Context(), s, checks.Connect)
				p.Run(t.Context(), s, checks.Helo)
				s.Envelope.MailFrom = checks.ParseAddress(v.sender)
				p.Run(t.Context(), s, checks.MailFrom)
				s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@mx.test")}}
				return p.Run(t.Context(), s, checks.RcptTo)
			}
			run(first)
			d := run(c.second)
			want := 2
			if c.shared {
				want = 1
			}
			if got := r.count("outer.example."); !c.fails && got != want {
				t.Errorf("asked %d times, want %d", got, want)
			}
			// The trace tells of every question, whoever asked it.
			if asked := d.Results[0].Asked; !c.fails && (len(asked) == 0 || asked[len(asked)-1].Name != "outer.example.") {
				t.Errorf("trace %v", asked)
			}
			if c.fails && r.count("inner.example.") != 2 {
				t.Error("a failure was held for an answer")
			}
			// A test of what was repaired asks anew, and from then on that is what is known.
			before := r.count("outer.example.")
			again := &checks.Session{Client: netip.MustParseAddr(first.client), Helo: first.helo, Time: start}
			again.Envelope.MailFrom = checks.ParseAddress(first.sender)
			p.Again(t.Context(), again, []string{"one"})
			run(first)
			if got := r.count("outer.example."); !c.fails && got != before+2 {
				t.Errorf("asked %d times more by a test and the mail after it, want 2", got-before)
			}
		})
	}
}

// learner is a check that knows a fact about the client, at the stages that it is asked at, and another one that follows from it at
// MailFrom. It finds out the first beside the pipeline's own time too, as for the trace fields of a message.
type learner struct {
	dns  checks.Resolver
	said *[]string
	idle *bool // it is asked, and looks at nothing
}

type (
	nameKey   struct{}
	senderKey struct{}
)

func (l learner) name(ctx context.Context, s *checks.Session) (string, error) {
	return checks.Conclude(s, checks.Connect, nameKey{}, func() (string, error) {
		a, err := l.dns.Lookup(ctx, checks.Ask("name.example", dns.TypeTXT))
		return text(a), err
	})
}

func text(a checks.Answer) string {
	for _, t := range checks.RecordsOf[*dns.TXT](a) {
		return t.Txt[0]
	}
	return ""
}

func (l learner) Check(ctx context.Context, s *checks.Session) ([]checks.Verdict, error) {
	if *l.idle {
		return nil, nil
	}
	v, err := checks.Conclude(s, checks.MailFrom, senderKey{}, func() (string, error) {
		name, err := l.name(ctx, s)
		_, other := l.dns.Lookup(ctx, checks.Ask("other.example", dns.TypeTXT))
		return "sender of " + name, errors.Join(err, other)
	})
	*l.said = append(*l.said, v)
	return nil, err
}

func (l learner) Authenticate(ctx context.Context, s *checks.Session) []checks.Authentication {
	_, _ = l.name(ctx, s)
	return nil
}

// TestConcludeAfterRepair: what was known before something was repaired, or comes from questions that nobody noted, is no fact
// for others.
func TestConcludeAfterRepair(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		do   func(p *checks.Pipeline, first *checks.Session, mail func(*checks.Session), repair func())
		want string // what a new connection finds
	}{
		{"nothing was tested", func(_ *checks.Pipeline, _ *checks.Session, _ func(*checks.Session), repair func()) { repair() }, "sender of old"},
		{"it was tested", func(p *checks.Pipeline, _ *checks.Session, _ func(*checks.Session), repair func()) {
			repair()
			p.Again(context.Background(), &checks.Session{Client: netip.MustParseAddr("192.0.2.1"), Time: start}, []string{"one"})
		}, "sender of new"},
		{"a connection from before sends more", func(p *checks.Pipeline, first *checks.Session, mail func(*checks.Session), repair func()) {
			repair()
			p.Again(context.Background(), &checks.Session{Client: netip.MustParseAddr("192.0.2.1"), Time: start}, []string{"one"})
			mail(first)
		}, "sender of new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &counting{asked: map[string]int{}, until: map[string]time.Time{"name.example.": start.Add(time.Hour), "other.example.": start.Add(time.Hour)}}
			now := func(said string) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.records = []dns.RR{&dns.TXT{Txt: []string{said}}}
			}
			var said []string
			info := newFake("one", []checks.Stage{checks.MailFrom}, reason("a")).info
			p, err := checks.New([]checks.Instance{{Info: info, Check: learner{checks.Traced(r), &said, new(bool)}}}, checks.Options{
				Actions: map[string]checks.Action{"a": checks.Watch}, ReplyAt: checks.RcptTo, Budget: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			connect := func() *checks.Session {
				s := &checks.Session{Client: netip.MustParseAddr("192.0.2.1"), Time: start}
				p.Run(t.Context(), s, checks.Connect)
				return s
			}
			mail := func(s *checks.Session) {
				s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("x@one.example")}
				p.Run(t.Context(), s, checks.MailFrom)
				s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@mx.test")}}
				p.Run(t.Context(), s, checks.RcptTo)
			}
			now("old")
			first := connect()
			mail(first)
			c.do(p, first, mail, func() { now("new") })
			mail(connect())
			if got := said[len(said)-1]; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestConcludeBeside: what is found out when no check runs is noted nowhere, so that nobody knows how long it holds.
func TestConcludeBeside(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	r := &counting{asked: map[string]int{}, until: map[string]time.Time{"name.example.": start.Add(time.Hour), "other.example.": start.Add(time.Hour)}}
	r.records = []dns.RR{&dns.TXT{Txt: []string{"old"}}}
	var said []string
	idle := false
	info := newFake("one", []checks.Stage{checks.MailFrom}, reason("a")).info
	p, err := checks.New([]checks.Instance{{Info: info, Check: learner{checks.Traced(r), &said, &idle}}}, checks.Options{
		Actions: map[string]checks.Action{"a": checks.Watch}, ReplyAt: checks.RcptTo, Budget: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	mail := func(s *checks.Session) {
		s.Envelope = checks.Envelope{MailFrom: checks.ParseAddress("x@one.example")}
		p.Run(t.Context(), s, checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@mx.test")}}
		p.Run(t.Context(), s, checks.RcptTo)
		p.Authenticate(t.Context(), s)
	}
	for connection := range 3 {
		s := &checks.Session{Client: netip.MustParseAddr("192.0.2.1"), Time: start}
		p.Run(t.Context(), s, checks.Connect)
		idle = true
		mail(s) // only Authenticate asks
		idle = false
		mail(s)
		if got := r.count("other.example."); got != connection+1 {
			t.Errorf("connection %d: what follows was found out %d times", connection+1, got)
		}
	}
}

// many concludes more of a client than is kept.
type many struct{ dns checks.Resolver }

type manyKey struct{ n int }

func (m many) Check(ctx context.Context, s *checks.Session) ([]checks.Verdict, error) {
	for n := range 100 {
		v, err := checks.Conclude(s, checks.Connect, manyKey{n}, func() (int, error) {
			_, err := m.dns.Lookup(ctx, checks.Ask("outer.example", dns.TypeA))
			return n, err
		})
		if v != n || err != nil {
			return nil, fmt.Errorf("%d: got %d, %v", n, v, err)
		}
	}
	return nil, nil
}

// TestConcludeAtOnce: many sessions of one client, with more to conclude than is kept, and a test in their midst.
func TestConcludeAtOnce(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	r := &counting{asked: map[string]int{}, until: map[string]time.Time{"outer.example.": start.Add(time.Minute)}}
	info := newFake("one", atConnect, reason("a")).info
	p, err := checks.New([]checks.Instance{{Info: info, Check: many{checks.Traced(r)}}}, checks.Options{
		Actions: map[string]checks.Action{"a": checks.Watch}, ReplyAt: checks.RcptTo, Budget: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	for i := range 20 {
		sessions.Go(func() {
			s := &checks.Session{Client: netip.MustParseAddr("192.0.2.1"), Time: start}
			if i == 10 {
				p.Again(t.Context(), s, []string{"one"})
				return
			}
			s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@mx.test")}}
			if d := p.Run(t.Context(), s, checks.RcptTo); len(d.Failures) > 0 {
				t.Errorf("%v", d.Failures)
			}
		})
	}
	sessions.Wait()
}
