package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// outageBudget is the budget of the daemons whose store fails.
const outageBudget = 3 * time.Second

// outage counts the replies that mail servers received.
type outage struct {
	replies atomic.Int64
	passed  atomic.Int64
	failed  atomic.Int64 // check-failed
	slowest atomic.Int64 // nanoseconds
	wrong   sync.Map     // unexpected replies
}

// timed calls f, and counts the reply and the time that it took.
func (o *outage) timed(f func() (string, error)) error {
	began := time.Now()
	r, err := f()
	for took := int64(time.Since(began)); ; {
		old := o.slowest.Load()
		if took <= old || o.slowest.CompareAndSwap(old, took) {
			break
		}
	}
	if err != nil {
		return err
	}
	o.replies.Add(1)
	switch {
	case r == "":
		o.passed.Add(1)
	case strings.HasPrefix(r, "451 4.4.3 "):
		o.failed.Add(1)
	case !strings.HasPrefix(r, "451 4.7.1 greylisted"):
		o.wrong.Store(r, true)
	}
	return nil
}

// session plays one of three sessions: good mail, a client without a name that names an unknown recipient, or such a client
// that sends RSET.
func (o *outage) session(d *daemontest.Daemon) error {
	const goodMail, unknownRecipient, reset, kinds = 0, 1, 2, 3
	client := daemontest.GoodClient
	kind := rand.IntN(kinds)
	if kind != goodMail {
		client = fmt.Sprintf("198.51.100.%d", rand.IntN(256))
	}
	c, err := d.Connect(client)
	if err != nil {
		return err
	}
	defer c.Quit()
	from := daemontest.GoodSender
	if kind != goodMail {
		from = fmt.Sprintf("list-%c%c@none.test", 'a'+rand.IntN(26), 'a'+rand.IntN(26))
	}
	if _, err := c.Mail("<"+from+">", map[string]string{"i": "Q1"}); err != nil {
		return err
	}
	if kind == unknownRecipient {
		if err := o.timed(func() (string, error) { return "", c.UnknownRecipient("nobody@mx.test") }); err != nil {
			return err
		}
	}
	accepted := false
	err = o.timed(func() (string, error) {
		r, err := c.Recipient("alice@mx.test")
		accepted = err == nil && r == ""
		return r, err
	})
	switch {
	case err != nil:
		return err
	case kind == reset:
		if err := c.Abort(); err != nil {
			return err
		}
		return o.timed(func() (string, error) { return c.Envelope(daemontest.GoodSender, "bob@mx.test") })
	case accepted:
		return o.timed(c.SendMessage)
	}
	return nil
}

// load sends mail to both hosts until stop is called. A connection that a host breaks fails the test.
func load(t *testing.T, p *daemontest.Pair, o *outage) (stop func()) {
	t.Helper()
	return daemontest.Repeat(t, 6, func(i int) {
		if err := o.session(p.Hosts[i%2]); err != nil && !t.Failed() {
			t.Errorf("a session failed: %v", err)
		}
	})
}

// TestRedisOutage stalls and stops the Redis of two hosts under load. One host accepts mail that it cannot check, the other
// defers it. Afterwards both have the records of before.
func TestRedisOutage(t *testing.T) {
	const delay = "checks: {greylist: {delay: 1s}}\n"
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe", Extra: fmt.Sprintf("budget: %s\n", outageBudget) + delay}, "on_error: tempfail\n")
	accepts, defers := p.Hosts[0], p.Hosts[1]
	// Records that must be there after the outage.
	accepts.MustRefuse(t, "192.0.2.9", daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 1 s more", "")
	if r := defers.GuessRecipients(t, "192.0.2.77", daemontest.Limit+1); !strings.HasPrefix(r, "450 4.7.1 192.0.2.77 named too many unknown recipients") {
		t.Fatalf("guessing client: %q", r)
	}

	for _, c := range []struct {
		name     string
		down, up func()
	}{
		{"stalled", p.Redis.Freeze, p.Redis.Thaw},
		{"stopped", p.Redis.Stop, p.Redis.Start},
	} {
		t.Run(c.name, func(t *testing.T) { testOutage(t, p, c.down, c.up) })
	}
}

// testOutage takes down the Redis of a pair under load, and brings it up again.
func testOutage(t *testing.T, p *daemontest.Pair, down, up func()) {
	accepts, defers := p.Hosts[0], p.Hosts[1]
	marks := [2]int{accepts.Mark(), defers.Mark()}
	var o outage
	stop := load(t, p, &o)
	progress := func(what string, n *atomic.Int64, by int64) {
		t.Helper()
		from := n.Load()
		miltertest.Eventually(t, what, func() bool { return n.Load() >= from+by })
	}
	awaitReady(t, p, 200, "ok")
	progress("mail flows", &o.replies, 100)
	if n := o.failed.Load(); n > o.replies.Load()/2 { // on a loaded machine an answer of the Redis may come too late
		t.Errorf("%d of %d checks failed before the outage", n, o.replies.Load())
	}
	down()
	awaitReady(t, p, 503, "the store is down since ")
	progress("mail flows without the store", &o.passed, 100)
	progress("mail is deferred without the store", &o.failed, 100)
	// The block and the greylist are unavailable; on_error decides.
	accepts.MustAccept(t, "192.0.2.77", daemontest.GoodSender, "alice@mx.test")
	defers.MustRefuse(t, "192.0.2.77", daemontest.GoodSender, "alice@mx.test", "451 4.4.3 ", "could not be checked")
	up()
	awaitReady(t, p, 200, "ok")
	progress("mail flows again", &o.replies, 100)
	stop()

	o.verify(t)
	for i, d := range p.Hosts {
		d.AwaitEntry(t, marks[i], daemontest.Entry{"msg": "could not find out", "level": "warning"})
		for _, e := range d.Entries(t, marks[i]) {
			if cmp.Or(e["level"], "error") == "error" && !strings.Contains(e["msg"], "store") || e["action"] == "reject" {
				t.Errorf("log: %v", e)
			}
		}
	}
	for _, d := range p.Hosts {
		d.MustAccept(t, "192.0.2.9", daemontest.GoodSender, "alice@mx.test")
		d.MustRefuse(t, "192.0.2.77", daemontest.GoodSender, "alice@mx.test", "450 4.7.1 192.0.2.77 is blocked until", "")
	}
}

// awaitReady waits until the readiness pages of both hosts have a status and a text.
func awaitReady(t *testing.T, p *daemontest.Pair, status int, text string) {
	t.Helper()
	for i, url := range p.Ready {
		miltertest.Eventually(t, fmt.Sprintf("readiness of host %d is %d", i, status), func() bool {
			got, body := daemontest.Get(t, url)
			return got == status && strings.Contains(body, text)
		})
	}
}

// verify fails the test for unexpected and for slow replies.
func (o *outage) verify(t *testing.T) {
	t.Helper()
	o.wrong.Range(func(r, _ any) bool {
		t.Errorf("got the reply %q", r)
		return true
	})
	slowest := time.Duration(o.slowest.Load())
	if slowest > outageBudget+miltertest.Leeway { // without a limit it would take as long as the outage
		t.Errorf("a reply took %v, over the budget of %v", slowest, outageBudget)
	}
	t.Logf("%d replies, the slowest after %v", o.replies.Load(), slowest)
}
