package faults

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/cmd/milterd/internal/hostclock"
	"milterd/milter/miltertest"
)

// numHosts is the number of client hosts in the DNS of a soak: so many that the daemon's DNS cache has not seen a host for
// a while. It is a prime, so each host sends messages of all kinds.
const numHosts = 4_001

// hostAddr returns the address of host i. Hosts with consecutive numbers are in networks far apart; every fourth host is in
// 198.51.0.0/18.
func hostAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, bits.Reverse8(byte(i)), byte(i >> 8)})
}

// namelessAddr returns another address of host i, without a reverse DNS name.
func namelessAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) }

// hostsZone is a zone with a domain for each host. Its TTL of 0 has resolvers cache as little as possible.
func hostsZone() string {
	var z strings.Builder
	z.WriteString("$TTL 0\nmx.test. A 11.22.33.45\nmx.example. A 11.4.4.4\nsender.test. MX 10 mx.example.\n")
	for i := range numHosts {
		a := hostAddr(i).As4()
		fmt.Fprintf(&z, "%d.%d.51.198.in-addr.arpa. PTR mail.d%d.example.\n", a[3], a[2], i)
		fmt.Fprintf(&z, "mail.d%d.example. A 198.51.%d.%d\nmail.d%[1]d.example. A %[4]s\n", i, a[2], a[3], namelessAddr(i))
		fmt.Fprintf(&z, "d%d.example. MX 10 mx.example.\n", i)
		fmt.Fprintf(&z, "d%d.example. TXT \"v=spf1 a:mail.d%d.example -all\"\n", i, i)
	}
	return z.String()
}

// message is a message of a host.
type message struct {
	queueID string
	client  netip.Addr
	helo    string
	from    string
	rcpts   int
	padding string // before each address, so that the daemon writes more about the message
	header  []daemontest.Field
	want    string // codes of the reply while nothing fails; empty if the message is accepted
}

// messageKinds are the messages that a soak sends in turn. Each changes a good message of host i.
var messageKinds = []struct {
	want   string
	change func(m *message, i int)
}{
	{"", func(*message, int) {}},
	{"550 5.7.25", func(m *message, i int) { m.client = namelessAddr(i) }},
	{"", func(m *message, _ int) { m.rcpts, m.padding = 20, strings.Repeat("x", 60) }},
	{"550 5.7.23", func(m *message, i int) { m.from = fmt.Sprintf("user@d%d.example", (i+1)%numHosts) }},
	{"550 5.6.0", func(m *message, _ int) { m.header = daemontest.GoodHeader(daemontest.Field{"Date", "yesterday"}) }},
	{"550 5.6.0", func(m *message, i int) { // each host has another Date
		m.header = daemontest.GoodHeader(daemontest.Field{"Date", time.Now().AddDate(-20, 0, -i).Format(time.RFC1123Z)})
	}},
	{"501 5.5.2", func(m *message, _ int) { m.helo = m.client.String() }},
	{"550 5.1.8", func(m *message, i int) { m.from = fmt.Sprintf("user@gone%d.example", i) }},
}

// newMessage returns message number n.
func newMessage(n int) message {
	i := n % numHosts
	kind := messageKinds[n%len(messageKinds)]
	m := message{
		queueID: fmt.Sprintf("Q%d", n), client: hostAddr(i),
		helo: fmt.Sprintf("mail.d%d.example", i), from: fmt.Sprintf("user@d%d.example", i),
		rcpts: 1, header: daemontest.GoodHeader(), want: kind.want,
	}
	kind.change(&m, i)
	return m
}

// send plays a session with the message. It returns the first refusal, and the time that the slowest response took.
func (m message) send(listener string) (refusal string, slowest time.Duration, err error) {
	network, addr := miltertest.SplitListener(listener)
	c, err := miltertest.Dial(network, addr, 2*miltertest.WaitTimeout)
	if err != nil {
		return "", 0, err
	}
	defer c.Quit()
	event := func(send func() (miltertest.Response, error)) {
		if err != nil || refusal != "" {
			return
		}
		began := time.Now()
		var r miltertest.Response
		r, err = send()
		refusal, slowest = daemontest.ReplyText(r), max(slowest, time.Since(began))
	}
	queue := map[string]string{"i": m.queueID}
	event(func() (miltertest.Response, error) {
		macros := map[string]string{"j": "mx.test", "{client_addr}": m.client.String()}
		return c.Connect(m.helo, netip.AddrPortFrom(m.client, 4711), macros)
	})
	event(func() (miltertest.Response, error) { return c.Helo(m.helo, map[string]string{}) })
	event(func() (miltertest.Response, error) { return c.Mail("<"+m.padding+m.from+">", queue) })
	for i := range m.rcpts {
		event(func() (miltertest.Response, error) {
			return c.Rcpt(fmt.Sprintf("<%suser%d@mx.test>", m.padding, i), queue)
		})
	}
	event(func() (miltertest.Response, error) { return c.Data(queue) })
	for _, f := range m.header {
		event(func() (miltertest.Response, error) { return c.Header(f[0], " "+f[1]) })
	}
	event(func() (miltertest.Response, error) { return c.EndOfHeader(queue) })
	event(func() (miltertest.Response, error) { return c.EndOfMessage(queue) })
	return refusal, slowest, err
}

// soakBudget is the budget of the daemons of a soak.
const soakBudget = 2 * time.Second

// soak is a daemon under load.
type soak struct {
	*daemontest.Daemon
	admin  string // URL of the operator's pages
	clock  *hostclock.Clock
	relay  *relay
	number atomic.Int64 // of the last message

	mu         sync.Mutex
	replies    map[string]int  // by codes; "" is accepted
	unexpected map[string]bool // replies that no fault excuses
	ids        map[string]bool // queue IDs of messages that had a reply
	slowest    time.Duration
	err        error
}

// sendNext sends the next message and records the reply. It returns the message and the codes of the reply.
func (s *soak) sendNext() (m message, codes string) { return s.send(int(s.number.Add(1))) }

// send is sendNext for the message with a number.
func (s *soak) send(n int) (m message, codes string) {
	m = newMessage(n)
	refusal, slowest, err := m.send(s.Listener)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = errors.Join(s.err, err)
		return m, "error"
	}
	codes = refusal
	if len(codes) > 10 {
		codes = strings.TrimSpace(codes[:10])
	}
	s.replies[codes]++
	s.ids[m.queueID] = true
	s.slowest = max(s.slowest, slowest)
	if strings.HasPrefix(codes, "5") && codes != m.want || codes == "" && refusal != "" {
		s.unexpected[fmt.Sprintf("%q instead of %q", refusal, m.want)] = true
	}
	return m, codes
}

// sent returns the number of messages that had a reply.
func (s *soak) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

// load sends messages until stop is called.
func (s *soak) load(t *testing.T) (stop func()) {
	const senders, pause = 10, 20 * time.Millisecond
	return daemontest.Repeat(t, senders, func(int) {
		s.sendNext()
		<-time.After(pause)
	})
}

// verify fails the test for what must not happen in spite of any fault: an unexpected 5yz reply, a broken connection, a slow
// response, the end of the daemon.
func (s *soak) verify(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(s.unexpected)) {
		t.Errorf("got %s", text)
	}
	if s.err != nil {
		t.Errorf("sessions failed: %.1000v", s.err)
	}
	if s.slowest > soakBudget+miltertest.Leeway {
		t.Errorf("a response took %v", s.slowest)
	}
	if s.Ended() {
		t.Fatalf("milterd ended: %v", s.Err())
	}
	s.unexpected, s.err = map[string]bool{}, nil
}

// awaitHealthy waits until messages of all kinds get the replies that they get while nothing fails, and the daemon is ready. On a
// loaded machine a check may not find out in time now and then, so the messages need not be one after the other.
func (s *soak) awaitHealthy(t *testing.T, when string) {
	t.Helper()
	kind := 0  // the messages of those before it got their replies
	last := "" // what was not healthy
	defer func() {
		if t.Failed() {
			t.Logf("at the end: %s", last)
		}
	}()
	miltertest.Eventually(t, "the daemon is healthy "+when, func() bool {
		for ; kind < len(messageKinds); kind++ {
			numbers := int64(len(messageKinds)) // that many in a row have one of each kind
			n := int(s.number.Add(numbers))
			if m, codes := s.send(n - (n-kind)%len(messageKinds)); codes != m.want {
				last = fmt.Sprintf("%s, want %s", codes, m.want)
				return false
			}
		}
		status, text := daemontest.Get(t, s.admin+"/readyz")
		last = text
		return status == 200
	})
}

// metric returns a metric of the daemon.
func (s *soak) metric(t *testing.T, name string) float64 {
	t.Helper()
	return daemontest.Metric(t, s.admin+"/metrics", name)
}

// unlogged returns the queue IDs of messages that had a reply and have no line in the log.
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
