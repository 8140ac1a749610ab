package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter"
)

var _ milter.Journal = (*Book)(nil)

// The reasons of the tests.
var (
	judged   = &checks.Reason{ID: "helo-judged", Safe: checks.Watch, Strict: checks.Reject}
	fault    = &checks.Reason{ID: "rdns-fault", Safe: checks.Greylist, Strict: checks.Reject}
	listed   = &checks.Reason{ID: "dnsbl-listed", Safe: checks.Reject, Strict: checks.Reject, Accuses: true}
	unusual  = &checks.Reason{ID: "spf-unusual", Safe: checks.Off, Strict: checks.Watch}
	showOnly = &checks.Reason{ID: "field-shown", Safe: checks.Watch, Strict: checks.Watch, Most: checks.Watch}
	waiting  = &checks.Reason{ID: "greylisted", Safe: checks.Tempfail, Strict: checks.Tempfail, Greylisting: true}
)

// start is the beginning of a week.
var start = time.Unix(week(checktest.Now)*weekSeconds, 0).UTC()

// desk is a book on a clock that is moved, for a site whose sessions say themselves whose they are.
type desk struct {
	*Book
	t       *testing.T
	store   *checktest.Store
	clock   time.Time
	mu      sync.Mutex
	written map[string]bool // pairs
	n       int             // sessions
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, clock: start, written: map[string]bool{}}
	d.store = checktest.NewStore(func() time.Time { return d.clock })
	d.Book = d.open(d.store)
	return d
}

func (d *desk) open(store checks.Store) *Book {
	b := Open(store, Options{
		Who: func(_ context.Context, s *checks.Request) Who {
			if s.Helo == "panic" {
				panic("odd answer")
			}
			from := s.Envelope.MailFrom
			return Who{
				Client: s.Helo, Sender: from.Domain, Own: strings.HasPrefix(s.Helo, "own."), SPF: strings.HasPrefix(s.Helo, "own."),
				Pairs: []string{from.Text},
			}
		},
		Known: func(_ context.Context, pair string, _ time.Time) (bool, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.written[pair], nil
		},
		Now: func() time.Time { return d.clock },
	})
	d.t.Cleanup(func() { b.Close(5 * time.Second) })
	return b
}

// did is what was done for a reason.
type did struct {
	*checks.Reason
	checks.Action
}

func (x did) check() string {
	name, _, _ := strings.Cut(x.ID, "-")
	return name
}

// mail is one transaction on a day after the start: some reasons apply, the last one refuses if its action is enforced.
func (d *desk) mail(day int, client, from string, reasons ...did) {
	d.n++
	s := &checks.Session{ID: "test", Time: start.Add(time.Duration(day)*24*time.Hour + time.Duration(d.n)*time.Second), Helo: client}
	s.Envelope.MailFrom = checks.ParseAddress(from)
	d.tell(s, checks.Decision{}, reasons...)
}

func (d *desk) tell(s *checks.Session, dec checks.Decision, reasons ...did) {
	d.tellOf(checks.NewRequest(s, checks.RcptTo), dec, reasons...)
}

func (d *desk) tellOf(r *checks.Request, dec checks.Decision, reasons ...did) {
	for _, x := range reasons {
		dec.Outcomes = append(dec.Outcomes, checks.Outcome{Check: x.check(), Reason: x.Reason, Action: x.Action})
		if x.Enforced() {
			dec.Reason, dec.Action, dec.Reply = x.Reason, x.Action, &checks.Reply{}
		}
	}
	d.Decided(r, dec)
	if dec.Reply == nil {
		d.Accepted(r)
	}
}

var (
	watched = did{judged, checks.Watch}
	reject  = did{judged, checks.Reject}
	suspect = did{judged, checks.Greylist}
	wait    = did{waiting, checks.Tempfail}
)

// spam is so much from so many clients over so many days, whose domains pass SPF.
func (d *desk) spam(occasions, clients, days int) {
	for i := range occasions {
		day := i * days / max(occasions-1, 1)
		name := fmt.Sprintf("spam%d.example", i*clients/occasions) // each for some days
		d.mail(day, "own."+name, "x@"+name, watched)
	}
}

// write has a user write to an address.
func (d *desk) write(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written[to] = true
}

func (d *desk) flush() {
	d.t.Helper()
	if err := d.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}

// settings has the reasons of the tests, with the action that judged has now.
func settings(a checks.Action) []Setting {
	return []Setting{{Check: "helo", Reason: judged, Actions: []checks.Action{a}}}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	clean := func(d *desk, client, from string, days ...int) {
		for _, day := range days {
			d.mail(day, client, from)
		}
	}
	for name, c := range map[string]struct {
		seen    func(*desk)
		verdict Verdict
		good    []string
	}{
		"nothing":                  {func(*desk) {}, Unknown, nil},
		"enough spam":              {func(d *desk) { d.spam(100, 20, 14) }, Safe, nil},
		"too few occasions":        {func(d *desk) { d.spam(99, 20, 14) }, Unknown, nil},
		"too few clients":          {func(d *desk) { d.spam(100, 19, 14) }, Unknown, nil},
		"too short a time":         {func(d *desk) { d.spam(100, 20, 13) }, Unknown, nil},
		"of times before, nothing": {func(d *desk) { d.spam(100, 20, 14); d.clock = start.AddDate(0, 0, 70) }, Unknown, nil},
		"one who was written to": {func(d *desk) {
			d.write("carol@partner.example")
			d.mail(3, "own.partner.example", "carol@partner.example", watched)
		}, Unsafe, []string{"partner.example answered"}},
		"one who is written to later": {func(d *desk) {
			d.mail(3, "own.partner.example", "carol@partner.example", watched)
			d.flush()
			d.write("carol@partner.example")
		}, Unsafe, []string{"partner.example answered"}},
		"one in a thousand": {func(d *desk) {
			d.spam(999, 20, 14)
			d.write("carol@partner.example")
			d.mail(3, "own.partner.example", "carol@partner.example", watched)
		}, Safe, []string{"partner.example answered"}},
		"more than one in a thousand": {func(d *desk) {
			d.spam(998, 20, 14)
			d.write("carol@partner.example")
			d.mail(3, "own.partner.example", "carol@partner.example", watched)
		}, Unsafe, []string{"partner.example answered"}},
		"a forged correspondent": {func(d *desk) {
			d.spam(100, 20, 14)
			d.write("carol@partner.example")
			d.mail(3, "bot.example", "carol@partner.example", watched)
		}, Safe, nil},
		"a correspondent by a client that nobody vouches for, on two days": {func(d *desk) {
			d.spam(100, 20, 14)
			d.write("carol@partner.example")
			d.mail(3, "isp.example", "carol@partner.example", watched)
			d.mail(9, "isp.example", "carol@partner.example", watched)
		}, Unsafe, []string{"partner.example from isp.example answered"}},
		"clean on three days": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.good.example", "a@good.example", 1, 2, 3)
			d.mail(5, "own.good.example", "a@good.example", watched)
		}, Unsafe, []string{"good.example delivers"}},
		"clean on two days": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.good.example", "a@good.example", 1, 1, 1, 2)
			d.mail(5, "own.good.example", "a@good.example", watched)
		}, Safe, nil},
		"clean through another host of the domain": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.good.example", "a@good.example", 1, 2, 3)
			d.mail(5, "own.second.good.example", "a@good.example", watched)
		}, Unsafe, []string{"good.example delivers"}},
		"clean, but forged here": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.good.example", "a@good.example", 1, 2, 3)
			d.mail(5, "bot.example", "a@good.example", watched)
		}, Safe, nil},
		"a clean client, another sender": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "relay.example", "a@good.example", 1, 2, 3)
			d.mail(5, "relay.example", "b@other.example", watched)
		}, Unsafe, []string{"other.example from relay.example delivers"}},
		"clean days in different weeks": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.good.example", "a@good.example", 1, 8, 20)
			d.mail(21, "own.good.example", "a@good.example", watched)
		}, Unsafe, []string{"good.example delivers"}},
		"its own mails prove nothing": {func(d *desk) {
			d.spam(100, 20, 14)
			for day := range 13 {
				d.mail(day, "own.bulk.example", "a@bulk.example", watched)
			}
		}, Safe, nil},
		"mails with another fault prove nothing": {func(d *desk) {
			d.spam(100, 20, 14)
			for day := range 5 {
				d.mail(day, "own.bulk.example", "a@bulk.example", did{fault, checks.Watch})
			}
			d.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, Safe, nil},
		"what is no fault does not spoil a clean mail": {func(d *desk) {
			d.spam(100, 20, 14)
			for day := range 3 {
				d.mail(day, "own.good.example", "a@good.example", did{unusual, checks.Watch}, did{showOnly, checks.Watch})
			}
			d.mail(5, "own.good.example", "a@good.example", watched, did{unusual, checks.Watch})
		}, Unsafe, []string{"good.example delivers"}},
		"what was not looked at proves nothing": {func(d *desk) {
			d.spam(100, 20, 14)
			for day := range 5 {
				s := &checks.Session{Time: start.AddDate(0, 0, day), Helo: "own.bulk.example"}
				s.Envelope.MailFrom = checks.ParseAddress("a@bulk.example")
				d.tell(s, checks.Decision{Partial: true})
			}
			d.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, Safe, nil},
		"nor what is trusted": {func(d *desk) {
			d.spam(100, 20, 14)
			for day := range 5 {
				s := &checks.Session{Time: start.AddDate(0, 0, day), Helo: "own.bulk.example"}
				s.Envelope.MailFrom = checks.ParseAddress("a@bulk.example")
				d.tellOf(checktest.Trusted(d.t, s), checks.Decision{})
			}
			d.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, Safe, nil},
		"clean, but refused as often": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.bulk.example", "a@bulk.example", 1, 2, 3)
			for range 3 {
				d.mail(4, "own.bulk.example", "a@bulk.example", did{fault, checks.Reject})
			}
			d.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, Safe, nil},
		"clean, but listed as often, if only on watch": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.bulk.example", "a@bulk.example", 1, 2, 3)
			for range 3 {
				d.mail(4, "own.bulk.example", "a@bulk.example", did{listed, checks.Watch})
			}
			d.mail(5, "own.bulk.example", "a@bulk.example", watched)
		}, Safe, nil},
		"clean, and refused less often": {func(d *desk) {
			d.spam(100, 20, 14)
			clean(d, "own.good.example", "a@good.example", 1, 2, 3)
			d.mail(4, "own.good.example", "a@good.example", did{fault, checks.Reject})
			d.mail(5, "own.good.example", "a@good.example", watched)
		}, Unsafe, []string{"good.example delivers"}},
		"regular": {func(d *desk) {
			d.spam(100, 20, 14)
			for _, day := range []int{0, 7, 14, 21} {
				d.mail(day, "net.example", "a@small.example", watched)
			}
		}, Unsafe, []string{"small.example from net.example regular"}},
		"regular on three days": {func(d *desk) {
			d.spam(100, 20, 14)
			for _, day := range []int{0, 7, 21} {
				d.mail(day, "net.example", "a@small.example", watched)
			}
		}, Safe, nil},
		"regular, but denied": {func(d *desk) {
			d.spam(100, 20, 14)
			for _, day := range []int{0, 7, 14, 21} {
				d.mail(day, "net.example", "a@small.example", watched)
			}
			d.mail(22, "net.example", "a@small.example", did{listed, checks.Reject})
		}, Safe, nil},
		"regular attempts that are refused for something else": {func(d *desk) {
			d.spam(100, 20, 14)
			for _, day := range []int{0, 7, 14, 21} {
				d.mail(day, "net.example", "a@small.example", watched, did{fault, checks.Reject})
			}
		}, Safe, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.clock = start.AddDate(0, 0, 30)
			c.seen(d)
			r, err := d.Watch(t.Context(), settings(checks.Watch))
			if err != nil {
				t.Fatal(err)
			}
			w := r.Reasons[0]
			if good := goodOnes(w.Affected); w.Verdict != c.verdict || !slices.Equal(good, c.good) {
				t.Errorf("%s: %s; good %q, want %s, %q\n%+v", w.Verdict, w.Why, good, c.verdict, c.good, w)
			}
		})
	}
}

func goodOnes(list []Sender) (names []string) {
	for _, s := range list {
		if s.Good != "" {
			names = append(names, s.Name()+" "+s.Good)
		}
	}
	return names
}

func TestWhatCanOnlyBeWatched(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.mail(1, "own.good.example", "a@good.example", did{showOnly, checks.Watch})
	r, err := d.Watch(t.Context(), []Setting{{Reason: showOnly, Actions: []checks.Action{checks.Watch}}})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Reasons[0].Verdict; v != Never {
		t.Errorf("got %s", v)
	}
}

// TestWatchCounts has one of everything.
func TestWatchCounts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.clock = start.AddDate(0, 0, 8)
	d.mail(1, "own.good.example 192.0.2.0/24", "a@good.example")
	d.mail(2, "own.good.example 192.0.2.0/24", "a@good.example", watched)
	d.mail(3, "own.good.example 198.51.100.0/24", "a@good.example", watched)
	d.mail(3, "203.0.113.0/24", "x@forged.example", watched, did{fault, checks.Reject})
	d.mail(7, "203.0.113.0/24", "", watched)
	r, err := d.Watch(t.Context(), settings(checks.Watch))
	if err != nil {
		t.Fatal(err)
	}
	got := r.Reasons[0]
	if got.Occasions != 4 || got.Days != 3 || got.Passed != 3 || got.Anyway != 1 || got.Clients != 2 || got.Accepted != 1 || got.SPF != 1 || got.Senders != 3 {
		t.Errorf("got %+v", got)
	}
	if got.First != start.AddDate(0, 0, 2).Add(2*time.Second) || got.Last != start.AddDate(0, 0, 7).Add(5*time.Second) {
		t.Errorf("from %v to %v", got.First, got.Last)
	}
	var names []string
	for _, s := range got.Affected {
		names = append(names, fmt.Sprint(s.Name(), " ", s.Occasions))
	}
	want := []string{"good.example 2", "<> of 203.0.113.0/24 1", "forged.example from 203.0.113.0/24 1"}
	if !slices.Equal(names, want) {
		t.Errorf("senders %q, want %q", names, want)
	}
}

// TestSeveralRecipients shows that a transaction is one occasion, and that those of one connection are told apart.
func TestSeveralRecipients(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.clock = start
	s := &checks.Session{Time: start, Helo: "own.good.example"}
	s.Envelope.MailFrom = checks.ParseAddress("a@good.example")
	p, err := checks.New(nil, checks.Options{ReplyAt: checks.RcptTo})
	if err != nil {
		t.Fatal(err)
	}
	run := p.NewRun(s)
	r := run.Request()
	for range 2 {
		d.Decided(r, run.Judge(t.Context(), checks.MailFrom))
		for range 3 {
			d.Decided(r, checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
		}
		d.Accepted(r)
	}
	report, err := d.Watch(t.Context(), settings(checks.Watch))
	if err != nil {
		t.Fatal(err)
	}
	if got := report.Reasons[0]; got.Occasions != 2 || got.Passed != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestAGreatManyRecipients has a transaction wait that has as many as a session takes.
func TestAGreatManyRecipients(t *testing.T) {
	t.Parallel()
	const rcpts = 10_000
	asked := make(chan int, 2)
	b := Open(checktest.NewStore(func() time.Time { return start }), Options{Who: func(_ context.Context, s *checks.Request) Who {
		asked <- cap(s.Envelope.Rcpts) // what is kept, not only what is looked at
		return Who{}
	}})
	s := &checks.Session{Time: start}
	s.Envelope.Rcpts = make([]checks.Recipient, rcpts)
	b.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
	b.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	b.Close(5 * time.Second)
	for range 2 {
		if n := <-asked; n < maxRcpts || n > 2*maxRcpts {
			t.Errorf("%d of %d recipients wait", n, rcpts)
		}
	}
}

func TestWronged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seen          func(*desk)
		held, back    int
		refused       int
		wronged       []string
		actionOfLater checks.Action
	}{
		"spam": {seen: func(d *desk) { d.mail(1, "own.spam.example", "x@spam.example", reject) }, refused: 1},
		"repaired": {seen: func(d *desk) {
			d.mail(1, "own.good.example", "a@good.example", reject)
			for day := 2; day < 5; day++ {
				d.mail(day, "own.good.example", "a@good.example")
			}
		}, refused: 1, wronged: []string{"good.example delivers"}},
		"good before, never again": {seen: func(d *desk) {
			for day := range 4 {
				d.mail(day, "own.good.example", "a@good.example")
			}
			d.mail(9, "own.good.example", "a@good.example", reject)
		}, refused: 1},
		"written to afterwards": {seen: func(d *desk) {
			d.mail(1, "own.late.example", "a@late.example", reject)
			d.flush()
			d.write("a@late.example")
		}, refused: 1, wronged: []string{"late.example answered"}},
		"tries again and again": {seen: func(d *desk) {
			for day := range 25 {
				d.mail(day, "own.spam.example", "x@spam.example", reject)
			}
		}, refused: 25},
		"held, came back": {seen: func(d *desk) {
			d.write("a@good.example")
			d.mail(1, "own.good.example", "a@good.example", suspect, wait)
			d.mail(1, "own.good.example", "a@good.example", suspect)
		}, held: 1, back: 1},
		"held, a good one never came back": {seen: func(d *desk) {
			d.write("a@good.example")
			d.mail(1, "own.good.example", "a@good.example", suspect, wait)
			d.mail(1, "own.spam.example", "a@spam.example", suspect, wait)
		}, held: 2, wronged: []string{"good.example answered"}},
		"held just now": {seen: func(d *desk) {
			d.write("a@good.example")
			d.mail(29, "own.good.example", "a@good.example", suspect, wait)
		}, held: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.clock = start.AddDate(0, 0, 30)
			c.seen(d)
			r, err := d.Action(t.Context(), settings(checks.Reject))
			if err != nil {
				t.Fatal(err)
			}
			got := r.Reasons[0]
			if got.Refused != c.refused || got.HeldSenders != c.held || got.CameBack != c.back || !slices.Equal(goodOnes(got.Wronged), c.wronged) {
				t.Errorf("got %+v, want %+v", got, c)
			}
		})
	}
}

func TestTheStoreIsDown(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store.Fail(errors.New("gone"))
	d.mail(1, "own.good.example", "a@good.example", reject)
	if err := d.Flush(t.Context()); err == nil {
		t.Fatal("written to a store that is down")
	}
	if _, err := d.Watch(t.Context(), settings(checks.Watch)); err == nil {
		t.Error("a report without a store")
	}
	for i := range 3 * maxPending {
		d.mail(2, fmt.Sprintf("bot%d.example", i), "x@spam.example", reject)
		if i%1000 == 0 {
			d.settle(t.Context())
		}
	}
	d.settle(t.Context())
	if n := len(d.pending.entries); n != maxPending {
		t.Errorf("%d senders wait, want %d", n, maxPending)
	}
	if lost, want := d.Lost(), uint64(2*maxPending+1); lost != want {
		t.Errorf("%d lost, want %d", lost, want)
	}
	d.store.Fail(nil)
	d.clock = start.AddDate(0, 0, 3)
	r, err := d.Watch(t.Context(), settings(checks.Watch))
	if err != nil {
		t.Fatal(err)
	}
	// The sums go on counting.
	if got, want := r.Reasons[0].Occasions, 3*maxPending+1; got != want {
		t.Errorf("%d occasions, want %d", got, want)
	}
}

// TestTwoHosts has two of them write to one store at the same time, again and again.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	other := d.open(d.store)
	const rounds, each = 20, 10
	var wg sync.WaitGroup
	for host, b := range []*Book{d.Book, other} {
		wg.Go(func() {
			for r := range rounds {
				for i := range each {
					s := &checks.Session{Time: start.Add(time.Duration(r) * time.Hour), Helo: fmt.Sprintf("own.%d.example", host)}
					s.Envelope.MailFrom = checks.ParseAddress(fmt.Sprintf("a@d%d.example", i))
					b.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
				}
				if err := b.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	d.clock = start.AddDate(0, 0, 1)
	for _, b := range []*Book{d.Book, other, d.open(d.store)} { // the last one has just been started
		r, err := b.Watch(t.Context(), settings(checks.Watch))
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, s := range r.Reasons[0].Affected {
			sum += s.Occasions
		}
		if got := r.Reasons[0]; got.Occasions != 2*rounds*each || sum != got.Occasions || got.Clients != 2 || got.Senders != each {
			t.Errorf("got %+v, %d occasions of senders", got, sum)
		}
	}
}

// TestAHostDiedWhileWriting has its lock stay behind.
func TestAHostDiedWhileWriting(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if _, err := d.store.PutNew(t.Context(), lockKey, []byte("another"), lease); err != nil {
		t.Fatal(err)
	}
	d.mail(1, "own.good.example", "a@good.example", watched)
	soon, cancel := context.WithTimeout(t.Context(), 3*lockRetry)
	defer cancel()
	if err := d.Flush(soon); err == nil {
		t.Fatal("two write at the same time")
	}
	if holder, _, _ := d.store.Get(t.Context(), lockKey); string(holder) != "another" {
		t.Errorf("the lock was taken away from its holder, %q has it", holder)
	}
	d.clock = start.Add(lease)
	d.flush()
	if _, there, _ := d.store.Get(t.Context(), lockKey); there {
		t.Error("the lock stays")
	}
	if len(d.pending.entries) > 0 {
		t.Error("not written")
	}
}

// TestAFlood has a great many senders come, each once, and a few others every day.
func TestAFlood(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const flood = 20_000
	for i := range flood {
		day := i * 7 / flood
		name := fmt.Sprintf("%d.%s.example", i, strings.Repeat("long-", 20))
		d.mail(day, "own."+name, "x@"+name, watched, did{fault, checks.Watch})
		if i%(flood/70) == 0 {
			d.mail(day, "own.good.example", "a@good.example")
			d.mail(day, "own.partner.example", "a@partner.example", watched)
		}
		if i%1000 == 0 { // well within what may wait
			d.flush()
		}
	}
	d.write("a@partner.example")
	d.flush()
	records, octets := 0, 0
	for r, err := range d.store.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		records++
		octets += len(r.Value)
	}
	if records > buckets+1 || octets > buckets*maxEncoded {
		t.Errorf("%d records, %d octets", records, octets)
	}
	d.clock = start.AddDate(0, 0, 6)
	r, err := d.Watch(t.Context(), settings(checks.Watch))
	if err != nil {
		t.Fatal(err)
	}
	got := r.Reasons[0]
	if good := goodOnes(got.Affected); d.Lost() > 0 || !slices.Equal(good, []string{"partner.example answered"}) {
		t.Errorf("%d lost, good are %q", d.Lost(), good)
	}
	if got.Occasions != flood+got.Good || len(got.Affected) > maxSenders {
		t.Errorf("%d occasions, %d senders named", got.Occasions, len(got.Affected))
	}
}

func TestAPanicLosesOneTransaction(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.mail(1, "panic", "a@good.example", reject)
	d.mail(1, "own.good.example", "a@good.example", watched)
	d.flush()
	if d.Lost() != 1 {
		t.Errorf("%d lost", d.Lost())
	}
	r, err := d.Watch(t.Context(), settings(checks.Watch))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Reasons[0].Occasions; got != 1 {
		t.Errorf("%d occasions", got)
	}
}

func TestNamesForPeople(t *testing.T) {
	t.Parallel()
	hostile := "evil\x1b[2J\r\nroot\u202e" + strings.Repeat("x", 500)
	for _, s := range []Sender{{Sender: hostile, Own: true}, {Client: hostile}, {Sender: hostile, Client: hostile}} {
		for _, c := range s.Name() {
			if c < ' ' || c > '~' {
				t.Errorf("%q has %q", s.Name(), c)
			}
		}
		if len(s.Name()) > 200 {
			t.Errorf("%d octets", len(s.Name()))
		}
	}
}

// FuzzDecode reads what another host, or nobody, has written.
func FuzzDecode(f *testing.F) {
	good, err := encode(map[id]*entry{{"c", "s", true}: {Client: "c", Sender: "s", Own: true, Hits: hits{"r": {Seen: one(start)}}, Known: one(start)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}\n\x00\n" + `{"c":"x","h":{"r":null},"w":{"a":{"n":1}}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		table := decode(value)
		again, err := encode(table)
		if err != nil || len(again) > maxEncoded {
			t.Fatalf("%d octets, %v", len(again), err)
		}
		if n := len(decode(again)); len(table) <= perBucket && len(value) < maxEncoded/10 && n != len(table) {
			t.Errorf("%d entries of %d", n, len(table))
		}
		for at, e := range table {
			if at != e.id() || e.Client == "" {
				t.Errorf("%v under %v", e, at)
			}
			e.shift(1)
			e.add(e)
		}
	})
}

// TestClockJumps: what came while the clock was wrong is in no report of another time, and nothing else is lost.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			steady := d.clock
			d.Book = d.open(checktest.NewStore(func() time.Time { return steady })) // on a clock of its own, as that of the daemon
			off := int(jump / (24 * time.Hour))
			for day := range 3 {
				d.mail(3+day, "own.good.example", "x@good.example", watched)
				d.flush()
				d.mail(3+day+off, "own.good.example", "x@good.example", watched)
				d.flush()
			}
			d.clock = start.Add(10 * 24 * time.Hour)
			r, err := d.Watch(t.Context(), settings(checks.Watch))
			if err != nil {
				t.Fatal(err)
			}
			want := 3
			if jump.Abs() < 35*24*time.Hour {
				want = 6
			}
			if got := r.Reasons[0].Occasions; got != want || r.Lost > 0 {
				t.Errorf("%d occasions, want %d; %d lost", got, want, r.Lost)
			}
		})
	}
}
