package records

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// mail is a session that has come to its recipient.
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

// refused is a decision with a reply, a watched reason before it, and what was asked.
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

func open(t *testing.T, store checks.Store, most int) *Book {
	t.Helper()
	b := Open(store, Options{Keep: 14 * day, Max: most, Now: func() time.Time { return noon }})
	t.Cleanup(func() { b.Close(5 * time.Second) })
	return b
}

// settle waits until all that was taken is written.
func settle(t *testing.T, b *Book, n uint64) {
	t.Helper()
	b.flush(t.Context())
	for end := time.Now().Add(10 * time.Second); b.Stats().Written+b.Stats().Dropped < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v of %d", b.Stats(), n)
		}
	}
}

func TestARecordHasAllThatWasDecided(t *testing.T) {
	t.Parallel()
	b := open(t, checktest.NewStore(nil), 100)
	id := NewID(noon)
	s := mail("192.0.2.9", "mail.example.com", "a@example.com", "bob@example.org")
	b.Decided(s, refused(id))
	s.Helo, s.Envelope = "changed", checks.Envelope{} // as the session goes on
	settle(t, b, 1)
	r, ok, err := b.Get(context.Background(), id)
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
	if _, ok, err := b.Get(context.Background(), NewID(noon)); ok || err != nil {
		t.Error("a record that nobody wrote", err)
	}
}

func TestWhatIsRecorded(t *testing.T) {
	t.Parallel()
	s := mail("192.0.2.9", "h", "a@example.com", "bob@example.org")
	trusted := mail("127.0.0.1", "h", "a@example.com", "bob@example.org")
	trusted.Trusted = true
	for _, c := range []struct {
		name           string
		add            func(*Book)
		action, reason string // empty: no record
	}{
		{"nothing to tell", func(b *Book) { b.Decided(s, checks.Decision{Results: []checks.Result{{Check: "rdns"}}}) }, "", ""},
		{"refused", func(b *Book) { b.Decided(s, refused("")) }, "reject", "rdns-missing"},
		{"watched", func(b *Book) {
			b.Decided(s, checks.Decision{Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch)}})
		}, "watch", "helo-mismatch"},
		{"suspicion and watched", func(b *Book) {
			b.Decided(s, checks.Decision{Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch), outcomeOf(missing, checks.Greylist)}})
		}, "greylist", "rdns-missing"},
		{"accepted", func(b *Book) { b.Accepted(s) }, "accept", ""},
		{"accepted of our own", func(b *Book) { b.Accepted(trusted) }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := checktest.NewStore(nil)
			b := open(t, store, 10)
			c.add(b)
			b.Close(5 * time.Second)
			list, err := b.Find(context.Background(), Query{})
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

func TestThereAreNeverMoreThanTheMost(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	b := open(t, store, 5)
	const n = 5 * blockSize
	var ids []string
	for i := range n {
		ids = append(ids, NewID(noon))
		b.Decided(mail("192.0.2.9", "h", "a@example.com", fmt.Sprintf("u%d@example.org", i)), refused(ids[i]))
	}
	settle(t, b, n)
	list, err := b.Find(context.Background(), Query{})
	if err != nil || len(list) != 5 || list[0].ID != ids[n-1] || list[4].ID != ids[n-5] {
		t.Errorf("%d records, %v", len(list), err)
	}
	if _, ok, _ := b.Get(context.Background(), ids[n-5]); !ok {
		t.Error("the fifth last is gone")
	}
	if _, ok, _ := b.Get(context.Background(), ids[n-6]); ok {
		t.Error("the sixth last is still there")
	}
	kept := 0
	for r := range store.Scan(context.Background(), "records:") {
		if strings.HasPrefix(r.Key, idKey) {
			kept++
		}
	}
	if most := 2 * blockSize; kept < 5 || kept > most {
		t.Errorf("%d records lead a life in the store, want 5 to %d", kept, most)
	}
}

// TestHostsShareAStore writes with several books, one of which begins again and again.
func TestHostsShareAStore(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	const hosts, rounds, each = 3, 4, 40
	var writing sync.WaitGroup
	for h := range hosts {
		writing.Go(func() {
			for range rounds {
				b := Open(store, Options{Keep: 14 * day, Max: 1000, Now: func() time.Time { return noon }})
				for i := range each {
					b.Decided(mail("192.0.2.9", "h", "", fmt.Sprintf("u%d@host%d.example", i, h)), refused(NewID(noon)))
				}
				b.Close(5 * time.Second)
			}
		})
	}
	writing.Wait()
	b := open(t, store, 1000)
	list, err := b.Find(t.Context(), Query{})
	if err != nil || len(list) != hosts*rounds*each {
		t.Fatalf("%d records of %d, %v", len(list), hosts*rounds*each, err)
	}
	for i, r := range list {
		if want := int64(len(list) - i); r.Number != want {
			t.Fatalf("record %d has number %d", want, r.Number)
		}
		if again, ok, err := b.Get(t.Context(), r.ID); !ok || err != nil || again.Number != r.Number {
			t.Fatalf("%s by its id: %v, %v", r.ID, ok, err)
		}
	}
}

// TestABlockHasManyParts has records that are too long to lie together.
func TestABlockHasManyParts(t *testing.T) {
	t.Parallel()
	b := open(t, checktest.NewStore(nil), 100)
	long := strings.Repeat("x", maxValue)
	const n = 90
	for range n {
		d := refused(NewID(noon))
		d.Outcomes[0].Detail = map[string]string{}
		for i := range 40 {
			d.Outcomes[0].Detail[fmt.Sprint(i)] = long
		}
		b.Decided(mail("192.0.2.9", "h", "", "bob@example.org"), d)
	}
	settle(t, b, n)
	if list, err := b.Find(t.Context(), Query{}); err != nil || len(list) != n {
		t.Errorf("%d records, %v, %+v", len(list), err, b.Stats())
	}
}

func TestRecordsExpire(t *testing.T) {
	t.Parallel()
	now := noon
	clock := func() time.Time { return now }
	b := Open(checktest.NewStore(clock), Options{Keep: 14 * day, Max: 5, Now: clock})
	t.Cleanup(func() { b.Close(5 * time.Second) })
	id := NewID(noon)
	b.Decided(mail("192.0.2.9", "h", "", ""), refused(id))
	settle(t, b, 1)
	now = noon.Add(14 * day)
	if _, ok, err := b.Get(context.Background(), id); ok || err != nil {
		t.Error(ok, err)
	}
	if list, err := b.Find(context.Background(), Query{}); len(list) != 0 || err != nil {
		t.Error(list, err)
	}
	later := mail("192.0.2.9", "h", "", "")
	later.Time = now
	b.Decided(later, refused(""))
	settle(t, b, 2)
	if list, _ := b.Find(context.Background(), Query{}); len(list) != 1 || list[0].Number != 2 {
		t.Errorf("the numbers began anew: %+v", list)
	}
}

// stuck is a store that does not answer until it is let go.
type stuck struct {
	checks.Store
	let chan struct{}
}

func (s stuck) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	<-s.let
	return s.Store.Add(ctx, key, n, ttl)
}

func TestAStuckStoreDelaysNoMail(t *testing.T) {
	t.Parallel()
	st := stuck{checktest.NewStore(nil), make(chan struct{})}
	b := open(t, st, 100)
	s, d := mail("192.0.2.9", "h", "", ""), refused("")
	const extra = 50
	began := time.Now()
	for range blockSize {
		b.Decided(s, d)
	}
	for len(b.queue) > 0 { // the writer has them
		time.Sleep(time.Millisecond)
	}
	for range queueLength + extra {
		b.Decided(s, d)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := b.Stats().Dropped; got != extra {
		t.Errorf("%d dropped, want %d", got, extra)
	}
	began = time.Now()
	b.Close(10 * time.Millisecond)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the end took %s", took)
	}
	close(st.let)
	b.Decided(s, d) // after the end: lost, and no panic
}

// TestWaitingRecordsAreShort has records wait whose values are long.
func TestWaitingRecordsAreShort(t *testing.T) { // not parallel: it looks at all of the heap
	st := stuck{checktest.NewStore(nil), make(chan struct{})}
	b := open(t, st, 1000)
	const n, length = 200, 1 << 20
	before := inUse()
	for range n {
		s, d := mail("192.0.2.9", strings.Repeat("h", length), "", ""), refused("")
		for i := range d.Outcomes {
			d.Outcomes[i].Detail = map[string]string{"date": strings.Repeat("x", length)}
		}
		d.Results[0].Outcomes = d.Outcomes
		b.Decided(s, d)
	}
	if grown := inUse() - before; grown > n*length/10 {
		t.Errorf("%d records hold %d octets", n, grown)
	}
	close(st.let)
}

// inUse is what the heap holds.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// forgetful is a store that loses one of the ways to records by their id.
type forgetful struct {
	checks.Store
	puts atomic.Int64
}

func (f *forgetful) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if strings.HasPrefix(key, idKey) && f.puts.Add(1) == 2 {
		return errors.New("timeout")
	}
	return f.Store.Put(ctx, key, value, ttl)
}

func TestALostLinkLosesNoOther(t *testing.T) {
	t.Parallel()
	b := open(t, &forgetful{Store: checktest.NewStore(nil)}, 1000)
	const n = 10
	var ids []string
	for range n {
		ids = append(ids, NewID(noon))
		b.Decided(mail("192.0.2.9", "h", "", ""), refused(ids[len(ids)-1]))
	}
	settle(t, b, n)
	list, err := b.Find(t.Context(), Query{})
	byID := 0
	for _, id := range ids {
		if _, ok, _ := b.Get(t.Context(), id); ok {
			byID++
		}
	}
	if s := b.Stats(); err != nil || len(list) != n || byID != n-1 || s.Written != n || s.Dropped != 0 {
		t.Errorf("%d records, %d by their id, %+v, %v", len(list), byID, s, err)
	}
}

func TestALostStoreLosesRecordsAlone(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	store.Fail(errors.New("gone"))
	b := open(t, store, 100)
	b.Decided(mail("192.0.2.9", "h", "", ""), refused(""))
	settle(t, b, 1)
	if s := b.Stats(); s.Dropped != 1 || s.Written != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := b.Find(context.Background(), Query{}); err == nil {
		t.Error("found something in a lost store")
	}
	store.Fail(nil)
	b.Decided(mail("192.0.2.9", "h", "", ""), refused(""))
	settle(t, b, 2)
	if list, err := b.Find(context.Background(), Query{}); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

func TestHugeValuesFit(t *testing.T) {
	t.Parallel()
	b := open(t, checktest.NewStore(nil), 10) // whose values have a limit
	long := strings.Repeat("\x00<é", 20_000)
	s := mail("192.0.2.9", long, long+"@example.com", long+"@example.org")
	d := refused("")
	d.Outcomes[0].Detail = map[string]string{"v": long}
	for range 20 { // quoted, more than a record may have
		d.Outcomes = append(d.Outcomes, d.Outcomes[0])
	}
	for i := range maxRcpts {
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, checks.Recipient{Address: checks.Address{Text: fmt.Sprint(i) + strings.Repeat("<", maxValue)}})
	}
	b.Accepted(s)
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeTXT}, Txt: []string{strings.Repeat("t", 250)}}
	for range 300 {
		d.Results[0].Asked = append(d.Results[0].Asked, checks.Asked{Question: checks.Ask("x", dns.TypeTXT), Answer: checks.Answer{Records: slices.Repeat([]dns.RR{txt}, 50)}})
	}
	b.Decided(s, d)
	settle(t, b, 2)
	list, err := b.Find(context.Background(), Query{Trace: true})
	if err != nil || len(list) != 2 || len(list[0].Helo) > 3*maxValue {
		t.Errorf("%d records, %v, %+v", len(list), err, b.Stats())
	}
}

// BenchmarkBook writes what a busy site does, a refusal among ten messages, and tells what the store keeps of each.
func BenchmarkBook(bench *testing.B) {
	store := checktest.NewStore(nil)
	b := Open(store, Options{Keep: day, Max: 1_000_000})
	n := 0
	bench.ReportAllocs()
	for bench.Loop() {
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
			b.Decided(s, d)
		} else {
			b.Accepted(s)
		}
		if n++; n%queueLength == 0 {
			b.flush(context.Background())
		}
	}
	b.Close(time.Minute)
	octets := 0
	for r := range store.Scan(context.Background(), "records:") {
		octets += len(r.Key) + len(r.Value)
	}
	bench.ReportMetric(float64(octets)/float64(b.Stats().Written), "octets/record")
}
