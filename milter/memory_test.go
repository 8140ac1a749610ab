package milter

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// begin opens a connection and a transaction with one recipient, and returns the reply to the recipient.
func begin(t *testing.T, addr string) (dialer, string) {
	t.Helper()
	d := dial(t, addr)
	d.hello()
	d.must(d.Mail("alice@example.net", map[string]string{"i": "Q1"}))
	return d, d.rcpt("bob@example.org")
}

// field sends a header field of a size in bytes.
func (d dialer) field(size int) {
	d.t.Helper()
	d.must(d.Header("X-Filler", strings.Repeat("x", size)))
}

// TestMemoryLimit tests that a message in flight goes on at the limit, that new ones are deferred, and that mail is
// accepted again when the memory is free.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	addr, srv, journal := start(t, func(srv *Server) { srv.MaxMemory = 4 * messageShare }, accept)
	const deferred = "452 4.3.1 the mail filter has no memory left for <bob@example.org>, please try again later"
	first, reply := begin(t, addr)
	want(t, "before the limit", reply, "")
	long, reply := begin(t, addr)
	want(t, "before the limit", reply, "")
	for range 4 {
		long.field(messageShare)
	}
	miltertest.Eventually(t, "the limit is reached", func() bool { return len(srv.Warnings()) == 1 })
	_, reply = begin(t, addr)
	want(t, "a new message at the limit", reply, deferred)
	first.field(messageShare / 2)
	first.must(first.EndOfHeader(nil))
	if r := first.must(first.EndOfMessage(nil)); len(r.Lines) > 0 {
		t.Errorf("the message in flight: %q", r.Lines)
	}
	want(t, "accepted messages", fmt.Sprint(len(journal.accepted)), "1")
	long.field(messageShare)
	long.must(long.EndOfHeader(nil))
	want(t, "the long message", strings.Join(long.must(long.EndOfMessage(nil)).Lines, "|"), deferred)
	first.Close()
	long.Close()
	miltertest.Eventually(t, "the memory is free", func() bool { return srv.heldMemory() < srv.MaxMemory/2 })
	_, reply = begin(t, addr)
	want(t, "after the limit", reply, "")
}

// TestFieldsAreAccounted tests that a field counts before another command of its session.
func TestFieldsAreAccounted(t *testing.T) {
	t.Parallel()
	addr, srv, _ := start(t, func(srv *Server) { srv.MaxMemory = 10 * messageShare }, accept)
	d, _ := begin(t, addr)
	d.field(10 * messageShare)
	miltertest.Eventually(t, "the field is counted", func() bool { return srv.heldMemory() >= srv.MaxMemory })
	other, reply := begin(t, addr)
	want(t, "a new message", reply, "452 4.3.1 the mail filter has no memory left for <bob@example.org>, please try again later")
	d.Close()
	other.Close()
	miltertest.Eventually(t, "the memory is free", func() bool { return srv.heldMemory() == 0 })
}

// TestDroppedIsNotAccounted tests that recipients and fields beyond the limits, which are not kept, count as no memory,
// and that an ABORT frees the header section. The recipients stay for the event Reset. One line of the log says that recipients were
// deferred.
func TestDroppedIsNotAccounted(t *testing.T) {
	t.Parallel()
	const size, most = 900_000, maxRcptBytes + maxHeaderBytes
	var log *logtest.Hook
	addr, srv, _ := start(t, func(srv *Server) { log = logtest.NewLocal(srv.Log.Logger) }, accept)
	d := dial(t, addr)
	d.hello()
	d.must(d.Mail("alice@example.net", map[string]string{"i": "Q1"}))
	last := ""
	for range 2 * maxRcptBytes / size {
		last = d.rcpt(strings.Repeat("r", size) + "@example.org")
	}
	want(t, "a recipient too many", last, "452 4.5.3 too many recipients")
	for range 2 * maxHeaderBytes / size {
		d.field(size)
	}
	d.must(d.EndOfHeader(nil))
	want(t, "a recipient after the header section", d.rcpt("r"+strings.Repeat("r", size)), "452 4.5.3 too many recipients")
	var lines []string
	for _, line := range log.AllEntries() {
		lines = append(lines, line.Message)
	}
	want(t, "log", strings.Join(lines, "|"), "too many recipients: deferring further ones|header section too large: only its beginning is checked")
	if held := srv.heldMemory(); held < most-4*size || held > most {
		t.Errorf("%d bytes, want %d or a little less", held, most)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	miltertest.Eventually(t, "the header section is free", func() bool { return srv.heldMemory() <= maxRcptBytes })
}

// TestFieldBehindPadding tests that a message is deferred if it has a field that readers are shown behind a header section of the
// largest size, but not that of a trusted client, and not the next message.
func TestFieldBehindPadding(t *testing.T) {
	t.Parallel()
	deferred := func(field string) string {
		return "451 4.6.0 header section too large: a " + field + " field at its end cannot be checked"
	}
	untrusted, _, _ := start(t, nil, accept)
	trusted, _ := startMarking(t, checks.Watch, checks.Watch, func(o *checks.Options) {
		o.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	for name, c := range map[string]struct {
		addr string
		want []string
	}{
		"a client":         {untrusted, []string{deferred("From"), deferred("From"), deferred("Subject"), deferred("Content-Type"), ""}},
		"a trusted client": {trusted, []string{"", "", "", "", ""}},
	} {
		d := dial(t, c.addr)
		d.hello()
		for i, last := range []string{"From", "from ", "Subject", "content-type", "X-From"} {
			d.must(d.Mail("<a@example.net>", map[string]string{"i": "Q1"}))
			d.rcpt("<u@example.org>")
			d.must(d.Header("From", " a@evil.example"))
			for range 6 { // the last one is too many
				d.field(maxHeaderBytes/5 - 200)
			}
			d.must(d.Header(last, " a@bank.example"))
			d.must(d.EndOfHeader(nil))
			want(t, name+", "+last, strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), c.want[i])
		}
	}
}

// TestMemoryUnderAttack has sessions fill all their limits and measures the heap.
func TestMemoryUnderAttack(t *testing.T) {
	// Not parallel, as the heap is that of all tests.
	const sessions, limit = 20, 16 << 20
	addr, srv, _ := start(t, func(srv *Server) { srv.MaxMemory, srv.Journal = limit, noJournal{} }, accept)
	before := heap()
	var open []dialer
	for range sessions {
		d := dial(t, addr)
		d.hello()
		d.must(d.Mail("alice@example.net", map[string]string{"i": "Q1", "{x}": strings.Repeat("m", 4000)}))
		for i := range 50 {
			_ = d.rcpt(fmt.Sprintf("%s%d@example.org", strings.Repeat("r", 60_000), i))
		}
		for range 60 {
			d.field(60_000)
		}
		open = append(open, d)
	}
	miltertest.Eventually(t, "the sessions hold what they may", func() bool { return srv.heldMemory() >= limit })
	held := int64(heap() - before)
	t.Logf("%d sessions that send 6.6 MB each: heap %d MiB, accounted %d MiB, limit %d MiB",
		sessions, held>>20, srv.heldMemory()>>20, limit>>20)
	if most := int64(2 * (limit + sessions*messageShare)); held > most {
		t.Errorf("the sessions hold %d bytes, want %d at most", held, most)
	}
	runtime.KeepAlive(open)
}

// TestRecipientsAreAccounted tests that recipients with short addresses do not take more than what is accounted for them.
func TestRecipientsAreAccounted(t *testing.T) {
	// Not parallel, as the heap is that of all tests.
	addr, srv, _ := start(t, func(srv *Server) { srv.Journal = noJournal{} }, accept)
	d := dial(t, addr)
	d.hello()
	d.must(d.Mail("alice@example.net", nil))
	before, accounted := heap(), srv.heldMemory()
	const rcpts = 3000
	for i := range rcpts {
		d.must(d.Rcpt(fmt.Sprintf("r%d@example.org", i), nil))
	}
	takes, counted := int64(heap()-before), srv.heldMemory()-accounted
	t.Logf("%d bytes a recipient, accounted %d", takes/rcpts, counted/rcpts)
	if takes > counted+counted/4 { // what sessions of other tests hold may change
		t.Errorf("%d recipients take %d bytes, accounted %d", rcpts, takes, counted)
	}
}

// noJournal is a Journal that keeps nothing.
type noJournal struct{}

func (noJournal) Decided(*checks.Request, checks.Decision) {}
func (noJournal) Accepted(*checks.Request)                 {}

// heap returns the size of the live heap in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestOnceAMinute(t *testing.T) {
	t.Parallel()
	var once onceAMinute
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		after time.Duration
		want  bool
	}{
		{"first", 0, true},
		{"within the minute", 59 * time.Second, false},
		{"after a minute", time.Minute, true},
		{"after the clock was set back", -3 * time.Hour, true},
		{"within a minute of that", 59*time.Second - 3*time.Hour, false},
	} {
		if got := once.allows(now.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
