package mirror

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"milterd/checks"
	"milterd/checks/checktest"
)

// open returns a mirror whose messages are the given one, and whose clock is the returned one.
func open(t *testing.T, store checks.Store, m func() *Message) (*Collector, *time.Time) {
	t.Helper()
	now := checktest.Now
	c := Open(store, Options{Outgoing: func(*checks.Request) *Message { return m() }, Now: func() time.Time { return now }})
	t.Cleanup(func() { c.Close(5 * time.Second) })
	return c, &now
}

// message returns a message of a user in which something is found.
func message(at time.Time, user string, found ...Hit) *Message {
	return &Message{
		Time: at, Queue: "4dDk2p1xQz", Domain: "example.org", Own: true, User: user, To: map[string]int{Gmail: 2000}, Size: 100,
		Judge: func(context.Context) Judgement { return Judgement{Hits: found, Selectors: []string{"mail"}} },
	}
}

func trusted(t *testing.T) *checks.Request {
	return checktest.Trusted(t, checktest.Session{Client: "192.0.2.9"}.Session(t))
}

// TestReport tests what two hosts with one store report of three days.
func TestReport(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	next := message(checktest.Now.AddDate(0, 0, -1), "ann", Hit{Finding: RDNS, Seen: "old"}, Hit{Finding: Date, Seen: "no Date"})
	a, _ := open(t, store, func() *Message { return next })
	b, _ := open(t, store, func() *Message { return next })
	send := func(c *Collector, m *Message) {
		next = m
		c.Accepted(trusted(t))
	}
	send(a, next)
	send(a, message(checktest.Now, "ann", Hit{Finding: RDNS, Seen: "new\r\nnot a line", Repair: []string{"x"}}))
	send(b, message(checktest.Now.Add(-time.Hour), "bob", Hit{Finding: RDNS, Seen: "older"}))
	send(b, message(checktest.Now, "bob"))
	send(b, message(checktest.Now.AddDate(0, 0, -20), "carl", Hit{Finding: From, Seen: "long ago"}))
	if _, err := b.Report(t.Context()); err != nil { // which writes its counts
		t.Fatal(err)
	}
	r, err := a.Report(t.Context())
	if err != nil || len(r.Domains) != 1 || len(r.Users) != 2 || r.Lost != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	d := r.Domains[0]
	if d.Name != "example.org" || !d.Own || d.Messages != 4 || d.Busiest != 3 || d.To[Gmail] != 6000 || !slices.Equal(d.Selectors, []string{"mail"}) {
		t.Errorf("%+v", d)
	}
	var ids []string
	for _, f := range d.Faults {
		ids = append(ids, fmt.Sprintf("%s %d", f.Finding, f.Messages))
	}
	if want := []string{"mirror-rdns 3", "mirror-volume 4", "mirror-date 1"}; !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}
	if f := d.Faults[0]; f.Seen != "new not a line" || !f.Last.Equal(checktest.Now) || len(f.Repair) != 1 || f.Queue != "4dDk2p1xQz" {
		t.Errorf("%+v", f)
	}
	if f := d.Faults[1]; f.Seen != "6000 messages to Gmail on one day" {
		t.Errorf("%+v", f)
	}
	for _, u := range r.Users {
		if slices.ContainsFunc(u.Faults, func(f Fault) bool { return f.Finding == RDNS.ID }) {
			t.Errorf("the reverse DNS is no fault of a user: %+v", u)
		}
	}
}

// TestLost tests that messages are dropped and counted while the judging of others hangs or panics, and that nothing waits for it.
func TestLost(t *testing.T) {
	t.Parallel()
	begun, hang := make(chan struct{}), make(chan struct{})
	m := message(checktest.Now, "ann")
	m.Size = maxQueued
	m.Judge = func(context.Context) Judgement { close(begun); <-hang; panic("bug") }
	c, _ := open(t, checktest.NewStore(nil), func() *Message { return m })
	c.Accepted(trusted(t))
	<-begun
	c.Accepted(trusted(t))
	if c.queue.Dropped() != 1 || c.Waiting() != maxQueued {
		t.Errorf("%d lost, %d bytes wait", c.queue.Dropped(), c.Waiting())
	}
	close(hang)
	if r, err := c.Report(t.Context()); err != nil || r.Lost != 2 || len(r.Domains) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestManySubjects tests that a run keeps a limited number of subjects, and forgets those of the day before.
func TestManySubjects(t *testing.T) {
	t.Parallel()
	c := newCounts()
	for i := range maxSubjects + 5 {
		m := message(checktest.Now, fmt.Sprintf("user%d", i))
		if lost := c.add(m, Judgement{}); lost != (i > maxSubjects-2) { // one is the domain
			t.Fatalf("user %d: lost %t", i, lost)
		}
	}
	if c.add(message(checktest.Now.AddDate(0, 0, 1), "ann"), Judgement{}) {
		t.Error("the next day has no room")
	}
	if n := len(c.takeChanged(day(checktest.Now))); n != maxSubjects+2 {
		t.Errorf("%d records", n)
	}
	c.takeChanged(day(checktest.Now.AddDate(0, 0, 1)))
	if len(c.tallies) != 2 {
		t.Errorf("%d tallies are left", len(c.tallies))
	}
}

// TestTalliesAreSmall tests that a tally does not keep the header fields of a message in memory.
func TestTalliesAreSmall(t *testing.T) {
	t.Parallel()
	const from, signature = "example.org and more", "mail and more"
	m := message(checktest.Now, "ann")
	m.Domain = from[:len("example.org")]
	c := newCounts()
	c.add(m, Judgement{Selectors: []string{signature[:len("mail")]}})
	for _, tally := range c.tallies {
		if unsafe.StringData(tally.Name) == unsafe.StringData(from) {
			t.Error("the domain is a part of From")
		}
		if len(tally.Selectors) > 0 && unsafe.StringData(tally.Selectors[0]) == unsafe.StringData(signature) {
			t.Error("the selector is a part of the signature")
		}
	}
}

// TestDamagedRecord tests that a record of the store whose counts are missing does no harm to a report.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	c, _ := open(t, store, func() *Message { return nil })
	for run, hit := range map[string]string{"a": `{"n":1}`, "b": "null", "c": `{"n":1}`} {
		value := fmt.Appendf(nil, `{"kind":"user","name":"ann","day":%d,"messages":1,"hits":{"mirror-date":%s}}`, day(checktest.Now), hit)
		if err := store.Put(t.Context(), prefix+run, value, keep); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := c.Report(t.Context()); err != nil || len(r.Users) != 1 || r.Users[0].Messages != 3 {
		t.Errorf("%+v, %v", r.Users, err)
	}
}

// TestStoreDown tests that counts survive an outage of the store.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	c, _ := open(t, store, func() *Message { return message(checktest.Now, "ann") })
	c.Accepted(trusted(t))
	outage := fmt.Errorf("down")
	store.Fail(outage)
	if _, err := c.Report(t.Context()); err == nil {
		t.Error("no error")
	}
	store.Fail(nil)
	if r, err := c.Report(t.Context()); err != nil || len(r.Domains) != 1 || r.Domains[0].Messages != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// slowStore is a store whose first Put waits.
type slowStore struct {
	checks.Store
	later       atomic.Bool
	begun, hang chan struct{}
}

func (s *slowStore) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if !s.later.Swap(true) {
		close(s.begun)
		<-s.hang
	}
	return s.Store.Put(ctx, key, value, ttl)
}

// TestSlowStore tests that a slow write of old counts does not undo a later one, and that nobody waits for it for ever.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	store := &slowStore{Store: checktest.NewStore(nil), begun: make(chan struct{}), hang: make(chan struct{})}
	c, _ := open(t, store, func() *Message { return message(checktest.Now, "ann") })
	c.Accepted(trusted(t))
	var reports sync.WaitGroup
	report := func() {
		if _, err := c.Report(t.Context()); err != nil {
			t.Error(err)
		}
	}
	reports.Go(report)
	<-store.begun
	c.Accepted(trusted(t))
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Report(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a report beside the slow write: %v", err)
	}
	reports.Go(report)
	close(store.hang)
	reports.Wait()
	if r, err := c.Report(t.Context()); err != nil || len(r.Domains) != 1 || r.Domains[0].Messages != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestIncomingMailCostsNothing tests that the mirror allocates nothing for mail of clients that are not trusted.
func TestIncomingMailCostsNothing(t *testing.T) {
	c, _ := open(t, checktest.NewStore(nil), func() *Message { t.Error("judged"); return nil })
	r := checktest.Session{Client: "192.0.2.9"}.Request(t)
	if n := testing.AllocsPerRun(100, func() { c.Decided(r, checks.Decision{}); c.Accepted(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestVerdicts tests what receivers answer, and what bulk senders are answered.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		found []*Finding
		bulk  string
		want  string
	}{
		{nil, "", "Gmail takes, Yahoo takes, Outlook takes"},
		{[]*Finding{RDNS}, "", "Gmail refuses mirror-rdns, Yahoo refuses mirror-rdns, Outlook refuses mirror-rdns"},
		{[]*Finding{SPFNone, DMARCNone}, "", "Gmail refuses bulk mirror-spf-none mirror-dmarc-none, Yahoo refuses bulk mirror-spf-none mirror-dmarc-none, Outlook refuses bulk mirror-spf-none mirror-dmarc-none"},
		{[]*Finding{SPFNone}, Gmail, "Gmail refuses mirror-spf-none, Yahoo refuses bulk mirror-spf-none, Outlook refuses bulk mirror-spf-none"},
		{[]*Finding{AuthNone, SPFNone}, "", "Gmail refuses mirror-auth-none, Yahoo refuses mirror-auth-none, Outlook refuses bulk mirror-auth-none mirror-spf-none"},
		{[]*Finding{Unsubscribe, TLS}, Gmail, "Gmail advises mirror-unsubscribe, Yahoo advises mirror-unsubscribe, Outlook advises mirror-unsubscribe"},
	} {
		var got []string
		for _, v := range VerdictsOn(c.found, func(receiver string) bool { return receiver == c.bulk }) {
			got = append(got, strings.TrimRight(v.Receiver+" "+string(v.Answer)+" "+strings.Join(v.Because, " "), " "))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("got %s, want %s", strings.Join(got, ", "), c.want)
		}
	}
}

// TestFindings tests that the table is complete.
func TestFindings(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	date := regexp.MustCompile(`^20\d\d(-\d\d(-\d\d)?)?$`)
	for _, f := range Findings() {
		if !strings.HasPrefix(f.ID, "mirror-") || seen[f.ID] || (Fault{Finding: f.ID}).About() != f {
			t.Errorf("id %q", f.ID)
		}
		seen[f.ID] = true
		if f.Title == "" || !strings.HasSuffix(f.Remedy, ".") || !strings.Contains(f.Meaning, ". ") && !strings.HasSuffix(f.Meaning, ".") || len(f.Demands) == 0 {
			t.Errorf("%s lacks a text or a demand", f.ID)
		}
		for _, d := range f.Demands {
			if s := d.Source; !strings.HasPrefix(s.URL, "https://") || s.Title == "" || !date.MatchString(s.Since) || !date.MatchString(s.Read) {
				t.Errorf("%s: %+v", f.ID, d.Source)
			}
		}
	}
}
