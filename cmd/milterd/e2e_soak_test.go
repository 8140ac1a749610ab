package main_test

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// soakHosts is how many mail hosts the DNS of a soak knows: more than its cache has seen for a while, so that questions
// have to be asked. Each of them sends letters of all kinds: no number of kinds divides a prime.
const soakHosts = 4_001

// soakHost is the address of host i. Each network has a vote on the time, so those of one host and the next are different ones,
// and far apart: every fourth host is in 198.51.0.0/18.
func soakHost(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, bits.Reverse8(byte(i)), byte(i >> 8)})
}

// namelessHost is another address of host i, which has no name in the DNS. It may send the same mail.
func namelessHost(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) }

// soakWorld is a DNS of good mail hosts 198.51.x.y, each with a domain of its own. Nothing is kept for longer than need be.
func soakWorld() string {
	var z strings.Builder
	z.WriteString("$TTL 0\nmx.test. A 11.22.33.45\nmx.example. A 11.4.4.4\n")
	for i := range soakHosts {
		a := soakHost(i).As4()
		fmt.Fprintf(&z, "%d.%d.51.198.in-addr.arpa. PTR mail.d%d.example.\n", a[3], a[2], i)
		fmt.Fprintf(&z, "mail.d%d.example. A 198.51.%d.%d\nmail.d%[1]d.example. A %[4]s\n", i, a[2], a[3], namelessHost(i))
		fmt.Fprintf(&z, "d%d.example. MX 10 mx.example.\n", i)
		fmt.Fprintf(&z, "d%d.example. TXT \"v=spf1 a:mail.d%d.example -all\"\n", i, i)
	}
	return z.String()
}

// letter is a message of host i, that one thing is wrong with, or nothing.
type letter struct {
	queueID string
	client  netip.Addr
	helo    string
	from    string
	rcpts   int
	padding string // of addresses: much is to be written about such a letter
	header  []daemontest.Field
	good    string // what is answered on a good day: codes; empty: it is accepted
}

// soakKinds are the letters that a soak sends in turn, with what they get on a good day.
var soakKinds = []struct {
	good  string
	spoil func(l *letter, i int)
}{
	{"", func(*letter, int) {}},
	{"550 5.7.25", func(l *letter, i int) { l.client = namelessHost(i) }},
	{"", func(l *letter, _ int) { l.rcpts, l.padding = 20, strings.Repeat("x", 60) }},
	{"550 5.7.23", func(l *letter, i int) { l.from = fmt.Sprintf("user@d%d.example", (i+1)%soakHosts) }},
	{"550 5.6.0", func(l *letter, _ int) { l.header = daemontest.GoodHeader(daemontest.Field{"Date", "yesterday"}) }},
	{"550 5.6.0", func(l *letter, i int) { // no two of them agree on the time
		l.header = daemontest.GoodHeader(daemontest.Field{"Date", time.Now().AddDate(-20, 0, -i).Format(time.RFC1123Z)})
	}},
	{"501 5.5.2", func(l *letter, _ int) { l.helo = l.client.String() }},
	{"550 5.1.8", func(l *letter, i int) { l.from = fmt.Sprintf("user@gone%d.example", i) }},
}

// newLetter is letter number n.
func newLetter(n int) letter {
	i := n % soakHosts
	kind := soakKinds[n%len(soakKinds)]
	l := letter{
		queueID: fmt.Sprintf("Q%d", n), client: soakHost(i),
		helo: fmt.Sprintf("mail.d%d.example", i), from: fmt.Sprintf("user@d%d.example", i),
		rcpts: 1, header: daemontest.GoodHeader(), good: kind.good,
	}
	kind.spoil(&l, i)
	return l
}

// send plays a letter and returns the first answer that refuses it, and how long the slowest answer took.
func (l letter) send(listener string) (refused string, slowest time.Duration, err error) {
	network, addr := miltertest.SplitListener(listener)
	m, err := miltertest.Dial(network, addr, 2*miltertest.WaitTimeout)
	if err != nil {
		return "", 0, err
	}
	defer m.Quit()
	say := func(f func() (miltertest.Response, error)) bool {
		if err != nil || refused != "" {
			return false
		}
		began := time.Now()
		var r miltertest.Response
		r, err = f()
		refused, slowest = daemontest.ReplyText(r), max(slowest, time.Since(began))
		return true
	}
	queue := map[string]string{"i": l.queueID}
	say(func() (miltertest.Response, error) {
		return m.Connect(l.helo, netip.AddrPortFrom(l.client, 4711), map[string]string{"j": "mx.test", "{client_addr}": l.client.String()})
	})
	say(func() (miltertest.Response, error) { return m.Helo(l.helo, map[string]string{}) })
	say(func() (miltertest.Response, error) { return m.Mail("<"+l.padding+l.from+">", queue) })
	for i := range l.rcpts {
		say(func() (miltertest.Response, error) {
			return m.Rcpt(fmt.Sprintf("<%suser%d@mx.test>", l.padding, i), queue)
		})
	}
	for _, f := range l.header {
		say(func() (miltertest.Response, error) { return m.Header(f[0], " "+f[1]) })
	}
	say(func() (miltertest.Response, error) { return m.EndOfHeader(queue) })
	say(func() (miltertest.Response, error) { return m.EndOfMessage(queue) })
	return refused, slowest, err
}

// soakBudget is what the daemons of a soak may take for one answer, and soakLeeway what a loaded machine adds.
const (
	soakBudget = 2 * time.Second
	soakLeeway = 3 * time.Second
)

// soak is a daemon under load.
type soak struct {
	*daemontest.Daemon
	admin  string // URL of its pages
	clock  hostClock
	number atomic.Int64

	mu      sync.Mutex
	got     map[string]int  // answers, by codes; "": accepted
	strange map[string]bool // wrong answers
	ids     map[string]bool // queue ids of letters that had an answer
	slowest time.Duration
	failed  error
}

// post sends one letter and judges the answer.
func (s *soak) post() (l letter, refused string) {
	l = newLetter(int(s.number.Add(1)))
	refused, slowest, err := l.send(s.Listener)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = errors.Join(s.failed, err)
		return l, "error"
	}
	codes := refused
	if len(codes) > 10 {
		codes = strings.TrimSpace(codes[:10])
	}
	s.got[codes]++
	s.ids[l.queueID] = true
	s.slowest = max(s.slowest, slowest)
	if strings.HasPrefix(codes, "5") && codes != l.good || codes == "" && refused != "" {
		s.strange[fmt.Sprintf("%q instead of %q", refused, l.good)] = true
	}
	return l, codes
}

// sent is how many letters had an answer.
func (s *soak) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

// load sends letters until stop is called.
func (s *soak) load(t *testing.T) (stop func()) {
	const senders, pause = 10, 20 * time.Millisecond // each: the test is about faults, not about speed
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
					s.post()
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { close(done); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// verify fails the test for whatever must not be, whatever is broken.
func (s *soak) verify(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(s.strange)) {
		t.Errorf("answered %s", text)
	}
	if s.failed != nil {
		t.Errorf("mail servers lost their filter: %.1000v", s.failed)
	}
	if s.slowest > soakBudget+soakLeeway {
		t.Errorf("an answer took %v", s.slowest)
	}
	if s.Daemon.Ended() {
		t.Fatalf("milterd ended: %v", s.Err())
	}
	s.strange, s.failed = map[string]bool{}, nil
}

// well tells whether letters of all kinds get what they get on a good day, and the daemon finds nothing wrong with itself.
func (s *soak) well(t *testing.T) bool {
	for range soakKinds {
		if l, got := s.post(); got != l.good {
			return false
		}
	}
	status, _ := daemontest.Get(t, s.admin+"/readyz")
	return status == 200
}

// metric reads one number, 0 if it is not there.
func (s *soak) metric(t *testing.T, name string) (value float64) {
	t.Helper()
	_, text := daemontest.Get(t, s.admin+"/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}

// fault is something that breaks, and is mended.
type fault struct {
	name string
	on   func(t *testing.T, s *soak) (off func())
	// sign tells that the fault is felt; nil: it need not be.
	sign func(t *testing.T, s *soak) bool
}

// suffer switches a fault on, until it is felt and some more mail was answered, and off, until it is forgotten.
func (s *soak) suffer(t *testing.T, f fault) {
	t.Helper()
	const more = 60
	began, from := time.Now(), s.sent()
	off := sync.OnceFunc(f.on(t, s))
	defer off()
	if f.sign != nil {
		miltertest.Eventually(t, f.name+" is felt", func() bool { return f.sign(t, s) })
	}
	felt, until := time.Since(began), s.sent()+more
	miltertest.Eventually(t, "mail is answered in spite of "+f.name, func() bool { return s.sent() >= until })
	off()
	mended := time.Now()
	miltertest.Eventually(t, "all is well after "+f.name, func() bool { return s.well(t) })
	t.Logf("%s: felt after %v, %d answers, well again after %v", f.name, felt.Round(time.Millisecond), s.sent()-from, time.Since(mended).Round(time.Millisecond))
	s.verify(t)
}

// run lets all faults happen one after the other, and again if MILTERD_TEST_SOAK says for how long. Then all must be as if
// nothing had been: no line of the log is lost but for those that the daemon counts as dropped, nothing is kept open.
func (s *soak) run(t *testing.T, faults []fault) {
	s.got, s.strange, s.ids = map[string]int{}, map[string]bool{}, map[string]bool{}
	var long time.Duration
	if text := os.Getenv("MILTERD_TEST_SOAK"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatalf("MILTERD_TEST_SOAK: %v", err)
		}
	}
	miltertest.Eventually(t, "all is well at the beginning", func() bool { return s.well(t) })
	stop := s.load(t)
	miltertest.Eventually(t, "mail flows", func() bool { return s.sent() > 200 })
	s.verify(t)
	files, goroutines := s.Daemon.OpenFiles(t), s.metric(t, "go_goroutines")
	for began := time.Now(); ; {
		for _, f := range faults {
			s.suffer(t, f)
			if t.Failed() {
				return
			}
		}
		if time.Since(began) > long {
			break
		}
	}
	stop()
	s.AwaitFiles(t, files)
	miltertest.Eventually(t, "milterd ends the goroutines that it does not need", func() bool { return s.metric(t, "go_goroutines") <= goroutines })
	miltertest.Eventually(t, "every answer is in the log", func() bool { return len(s.unlogged(t)) <= int(s.metric(t, "milterd_log_dropped_total")) })
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%d answers, the slowest after %v: %v", len(s.ids), s.slowest, s.got)
}

// unlogged are the letters that had an answer and no line in the log.
func (s *soak) unlogged(t *testing.T) map[string]bool {
	t.Helper()
	s.mu.Lock()
	missing := maps.Clone(s.ids)
	s.mu.Unlock()
	for _, e := range s.Entries(t, 0) {
		switch e["msg"] {
		case "accept", "reject", "tempfail":
			delete(missing, e["queue_id"])
		}
	}
	return missing
}
