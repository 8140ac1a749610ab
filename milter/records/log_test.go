package records

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

var (
	missing  = &checks.Reason{ID: "rdns-missing", Reply: checks.Reply{Code: 550, Enhanced: "5.7.25"}}
	mismatch = &checks.Reason{ID: "helo-mismatch", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1"}}
)

// mail returns a session at RCPT, if there is a recipient.
func mail(client, helo, from, to string) *checks.Session {
	s := &checks.Session{ID: "s1", Time: noon, Client: netip.MustParseAddr(client), ClientName: "host.example.com", Helo: helo}
	s.Envelope.QueueID = "Q1"
	s.Envelope.MailFrom = checks.ParseAddress(from)
	if to != "" {
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress(to)}}
	}
	return s
}

func outcomeOf(r *checks.Reason, a checks.Action) checks.Outcome {
	return checks.Outcome{
		Check: "rdns", Stage: checks.Connect, Reason: r, Action: a, Detail: map[string]string{"k": "v"},
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "192.0.2.9 has no reverse DNS name"},
	}
}

// refused returns a decision with a reply, a watched reason before it, and a trace.
func refused(id string) checks.Decision {
	rr, _ := dns.NewRR("9.2.0.192.in-addr.arpa. 60 IN PTR a.example.")
	o := outcomeOf(missing, checks.Reject)
	reply := o.Reply
	reply.Link = "https://mx.example.org/why/rdns-missing?r=secret"
	return checks.Decision{
		Reply: &reply, Reason: missing, Action: checks.Reject, Record: id, Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch), o},
		Results: []checks.Result{{
			Check: "rdns", Stage: checks.Connect, Outcomes: []checks.Outcome{o}, Err: errors.New("oh"), Took: 1500 * time.Microsecond,
			Asked: []checks.Asked{{Question: checks.Ask("9.2.0.192.in-addr.arpa", dns.TypePTR), Answer: checks.Answer{Records: []dns.RR{rr}}}},
			Notes: []string{"note"},
		}},
	}
}

func open(t *testing.T, store checks.Store, most int) *Log {
	t.Helper()
	l := Open(store, Options{Keep: 14 * day, Max: most, Now: func() time.Time { return noon }})
	t.Cleanup(func() { l.Close(time.Minute) })
	return l
}

// flush waits until the records so far are written or lost.
func flush(t *testing.T, l *Log) {
	t.Helper()
	if err := l.queue.Flush(t.Context(), time.Minute); err != nil {
		t.Fatalf("%v, %+v", err, l.Stats())
	}
}

func TestARecordHasTheDecision(t *testing.T) {
	t.Parallel()
	l := open(t, checktest.NewStore(nil), 100)
	id := NewID(noon)
	s := mail("192.0.2.9", "mail.example.com", "a@example.com", "bob@example.org")
	l.Decided(checks.NewRequest(s, checks.RcptTo), refused(id))
	s.Helo, s.Envelope = "changed", checks.Envelope{} // the session goes on
	r, ok, err := l.Get(t.Context(), id)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	want := Record{
		ID: id, Number: 1, Time: noon, Session: "s1", QueueID: "Q1", Client: netip.MustParseAddr("192.0.2.9"),
		ClientName: "host.example.com", Helo: "mail.example.com", MailFrom: "a@example.com", Rcpts: []string{"bob@example.org"},
		Action: "reject", Reason: "rdns-missing", Reply: "550 5.7.25 192.0.2.9 has no reverse DNS name",
		Outcomes: []Outcome{
			{"rdns", "connect", "helo-mismatch", "watch", "192.0.2.9 has no reverse DNS name", map[string]string{"k": "v"}},
			{"rdns", "connect", "rdns-missing", "reject", "192.0.2.9 has no reverse DNS name", map[string]string{"k": "v"}},
		},
		Checks: []Check{{
			Check: "rdns", Stage: "connect", Reasons: []string{"rdns-missing"}, Error: "oh", Millis: 1.5, Notes: []string{"note"},
			Asked: []Asked{{"9.2.0.192.in-addr.arpa. PTR", "a.example.", 0}},
		}},
	}
	if got := fmt.Sprintf("%+v", r); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %s\nwant %+v", got, want)
	}
	if _, ok, err := l.Get(t.Context(), NewID(noon)); ok || err != nil {
		t.Errorf("Get of an unknown id: %t, %v", ok, err)
	}
}

func TestWhatIsRecorded(t *testing.T) {
	t.Parallel()
	s := mail("192.0.2.9", "h", "a@example.com", "bob@example.org")
	trusted := mail("127.0.0.1", "h", "a@example.com", "bob@example.org")
	for _, c := range []struct {
		name           string
		add            func(*Log)
		action, reason string // empty: no record
	}{
		{"no reason", func(l *Log) {
			l.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Results: []checks.Result{{Check: "rdns"}}})
		}, "", ""},
		{"refused", func(l *Log) { l.Decided(checks.NewRequest(s, checks.RcptTo), refused("")) }, "reject", "rdns-missing"},
		{"watched", func(l *Log) {
			l.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch)}})
		}, "watch", "helo-mismatch"},
		{"watched and suspicious", func(l *Log) {
			l.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch), outcomeOf(missing, checks.Greylist)}})
		}, "greylist", "rdns-missing"},
		{"accepted", func(l *Log) { l.Accepted(checks.NewRequest(s, checks.EndOfHeader)) }, "accept", ""},
		{"accepted from a trusted client", func(l *Log) { l.Accepted(checktest.Trusted(t, trusted)) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := open(t, checktest.NewStore(nil), 10)
			c.add(l)
			list, err := l.Find(t.Context(), Query{})
			switch {
			case err != nil:
				t.Fatal(err)
			case c.action == "":
				if len(list) > 0 {
					t.Errorf("got %+v", list)
				}
			case len(list) != 1 || list[0].Action != c.action || list[0].Reason != c.reason || list[0].ID == "" || list[0].Rcpts[0] != "bob@example.org":
				t.Errorf("got %+v", list)
			}
		})
	}
}

// TestRecipientsOfADecision tests that a decision at RCPT is about the last recipient, and one about the message about all accepted ones.
func TestRecipientsOfADecision(t *testing.T) {
	t.Parallel()
	s := mail("192.0.2.9", "h", "a@example.com", "bob@example.org")
	s.Envelope.Rcpts = append(s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress("carol@example.org")},
		checks.Recipient{Address: checks.ParseAddress("dora@example.org"), Refused: "4.7.1"})
	for _, c := range []struct {
		name  string
		stage checks.Stage
		want  []string
	}{
		{"client", checks.Connect, []string{"dora@example.org"}},
		{"recipient", checks.RcptTo, []string{"dora@example.org"}},
		{"header", checks.EndOfHeader, []string{"bob@example.org", "carol@example.org"}},
		{"message", checks.EndOfMessage, []string{"bob@example.org", "carol@example.org"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, d := range []checks.Decision{refused(""), {Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch)}}} {
				for i := range d.Outcomes {
					d.Outcomes[i].Stage = c.stage
				}
				l := open(t, checktest.NewStore(nil), 10)
				l.Decided(checks.NewRequest(s, c.stage), d)
				if list, err := l.Find(t.Context(), Query{}); err != nil || len(list) != 1 || !slices.Equal(list[0].Rcpts, c.want) {
					t.Errorf("got %+v, %v", list, err)
				}
			}
		})
	}
}

func TestRecordsExpire(t *testing.T) {
	t.Parallel()
	var clock checktest.Clock
	l := Open(checktest.NewStore(clock.Now), Options{Keep: 14 * day, Max: 5, Now: clock.Now})
	t.Cleanup(func() { l.Close(time.Minute) })
	id := NewID(noon)
	l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", ""), checks.RcptTo), refused(id))
	flush(t, l)
	clock.Advance(14 * day)
	if _, ok, err := l.Get(t.Context(), id); ok || err != nil {
		t.Error(ok, err)
	}
	if list, err := l.Find(t.Context(), Query{}); len(list) != 0 || err != nil {
		t.Error(list, err)
	}
	later := mail("192.0.2.9", "h", "", "")
	later.Time = clock.Now()
	l.Decided(checks.NewRequest(later, checks.RcptTo), refused(""))
	if list, _ := l.Find(t.Context(), Query{}); len(list) != 1 || list[0].Number != 2 {
		t.Errorf("want the number 2, got %+v", list)
	}
}

// stalledStore is a store that does not answer until it is released.
type stalledStore struct {
	checks.Store
	release chan struct{}
}

func (s stalledStore) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	<-s.release
	return s.Store.Add(ctx, key, n, ttl)
}

func TestAStalledStoreDelaysNoMail(t *testing.T) {
	t.Parallel()
	st := stalledStore{checktest.NewStore(nil), make(chan struct{})}
	l := open(t, st, 100)
	s := mail("192.0.2.9", "h", "", "")
	d := checks.Decision{Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch)}}
	for i := range 100 {
		d.Outcomes[0].Detail[fmt.Sprint(i)] = strings.Repeat("x", maxValue)
	}
	n := uint64(maxQueued / (50 * maxValue))
	for range n { // a call that waited for the store would never return
		l.Decided(checks.NewRequest(s, checks.RcptTo), d)
	}
	if dropped := l.Stats().Dropped; dropped < n/3 || dropped > n*2/3 {
		t.Errorf("%d of %d dropped, want about half", dropped, n)
	}
	l.Close(10 * time.Millisecond) // does not wait for the store either
	close(st.release)
	l.Decided(checks.NewRequest(s, checks.RcptTo), d) // is lost, without a panic
}

// TestWaitingRecordsAreShort shows that records do not keep the long values that they were cut from.
func TestWaitingRecordsAreShort(t *testing.T) { // not parallel: it measures the whole heap
	st := stalledStore{checktest.NewStore(nil), make(chan struct{})}
	l := open(t, st, 1000)
	const n, length = 200, 1 << 20
	before := heapBytes()
	for range n {
		s, d := mail("192.0.2.9", strings.Repeat("h", length), "", ""), refused("")
		for i := range d.Outcomes {
			d.Outcomes[i].Detail = map[string]string{"date": strings.Repeat("x", length)}
		}
		d.Results[0].Outcomes = d.Outcomes
		l.Decided(checks.NewRequest(s, checks.RcptTo), d)
	}
	if grown := heapBytes() - before; grown > n*length/10 {
		t.Errorf("%d records hold %d bytes", n, grown)
	}
	close(st.release)
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAStoreThatIsDownLosesRecordsOnly(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	store.Fail(errors.New("gone"))
	l := open(t, store, 100)
	l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", ""), checks.RcptTo), refused(""))
	flush(t, l)
	if s := l.Stats(); s.Dropped != 1 || s.Written != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := l.Find(t.Context(), Query{}); err == nil {
		t.Error("Find returned no error")
	}
	store.Fail(nil)
	l.Decided(checks.NewRequest(mail("192.0.2.9", "h", "", ""), checks.RcptTo), refused(""))
	if list, err := l.Find(t.Context(), Query{}); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

func TestHugeValuesFit(t *testing.T) {
	t.Parallel()
	l := open(t, checktest.NewStore(nil), 10) // a store that limits values
	long := strings.Repeat("\x00<é", 20_000)
	s := mail("192.0.2.9", long, long+"@example.com", long+"@example.org")
	d := refused("")
	d.Outcomes[0].Detail = map[string]string{"v": long}
	for range 20 { // more than maxEncoded after escaping
		d.Outcomes = append(d.Outcomes, d.Outcomes[0])
	}
	for i := range maxRcpts {
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, checks.Recipient{Address: checks.Address{Text: fmt.Sprint(i) + strings.Repeat("<", maxValue)}})
	}
	l.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeTXT}, Txt: []string{strings.Repeat("t", 250)}}
	for range 300 {
		d.Results[0].Asked = append(d.Results[0].Asked, checks.Asked{
			Question: checks.Ask("x", dns.TypeTXT), Answer: checks.Answer{Records: slices.Repeat([]dns.RR{txt}, 50)},
		})
	}
	l.Decided(checks.NewRequest(s, checks.RcptTo), d)
	list, err := l.Find(t.Context(), Query{Trace: true})
	if err != nil || len(list) != 2 || len(list[0].Helo) > 3*maxValue {
		t.Errorf("%d records, %v, %+v", len(list), err, l.Stats())
	}
}

// BenchmarkLog writes one refusal among ten messages, and reports the bytes that the store keeps for a record.
func BenchmarkLog(b *testing.B) {
	store := checktest.NewStore(nil)
	l := Open(store, Options{Keep: day, Max: 1_000_000})
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		host := fmt.Sprintf("mail%d.example.com", n%1000)
		s := mail(fmt.Sprintf("192.0.2.%d", n%250), host, fmt.Sprintf("user%d@example.com", n%777), fmt.Sprintf("bob%d@example.org", n%99))
		s.ID, s.Envelope.QueueID = NewID(noon)[:12], NewID(noon)[:10]
		if n%10 == 0 {
			d := refused(NewID(noon))
			for i := range 12 {
				asked := d.Results[0].Asked[0]
				asked.Name = fmt.Sprintf("%d.%s.", i, host)
				d.Results[0].Asked = append(d.Results[0].Asked, asked)
			}
			l.Decided(checks.NewRequest(s, checks.RcptTo), d)
		} else {
			l.Accepted(checks.NewRequest(s, checks.EndOfHeader))
		}
		if n++; n%4096 == 0 {
			_ = l.queue.Flush(b.Context(), flushTimeout)
		}
	}
	l.Close(time.Minute)
	size := 0
	for r := range store.Scan(context.Background(), "records:") {
		size += len(r.Key) + len(r.Value)
	}
	b.ReportMetric(float64(size)/float64(l.Stats().Written), "B/record")
	b.ReportMetric(float64(l.Stats().Dropped), "dropped")
}
