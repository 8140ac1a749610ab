package main_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks/counters"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/store"
)

// openStore connects the test to the store of a pair.
func openStore(t *testing.T, p *daemontest.Pair) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Driver: "redis", URL: p.Redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// parallel runs f for each number below n, in some goroutines, and fails the test with the first error.
func parallel(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	const workers = 8
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// A greylisting delay that a test can wait for. It is counted from the full second in which it begins.
const (
	delaySeconds = 2
	shortDelay   = "checks: {greylist: {delay: 2s}}\n"
)

// TestRedisGreylisting has a client try at one host and come back to the other.
func TestRedisGreylisting(t *testing.T) {
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe", Extra: shortDelay}, "")
	a, b := p.Hosts[0], p.Hosts[1]
	const client = "192.0.2.9"
	began := time.Now()
	a.MustMail(t, client, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 2 s more", "")
	b.MustMail(t, client, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for ", "")
	miltertest.Eventually(t, "the retry passes at the other host", func() bool {
		r, err := b.Mail(client, daemontest.GoodSender, "alice@mx.test")
		if err != nil || r != "" && !strings.HasPrefix(r, "451 4.7.1 greylisted") {
			t.Fatal(r, err)
		}
		return r == ""
	})
	if took := time.Since(began); took < (delaySeconds-1)*time.Second || took > (delaySeconds+2)*time.Second {
		t.Errorf("passed after %v", took)
	}
	a.MustMail(t, client, daemontest.GoodSender, "alice@mx.test", "", "")
	// What one host tells is what both know.
	list := daemontest.DecodeJSON[[]daemontest.Triplet](t, a, "greylist", "list")
	if len(list) != 1 || list[0].State != "passed" {
		t.Errorf("at the first host: %+v", list)
	}
	if n := daemontest.DecodeJSON[int](t, a, "greylist", "forget", client); n == 0 {
		t.Error("nothing to forget")
	}
	b.MustMail(t, client, daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 2 s more", "")
}

// TestRedisBlock has a client guess at one host, and an operator take the block back at the other.
func TestRedisBlock(t *testing.T) {
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe"}, "")
	a, b := p.Hosts[0], p.Hosts[1]
	b.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "", "")
	if r := a.GuessRecipients(t, daemontest.GoodClient, daemontest.Limit); r != "" {
		t.Errorf("at the limit: %q", r)
	}
	if r := a.GuessRecipients(t, daemontest.GoodClient, daemontest.Limit+1); !strings.HasPrefix(r, "450 4.7.1 127.0.0.10 named too many unknown recipients") {
		t.Errorf("beyond the limit: %q", r)
	}
	for _, d := range p.Hosts {
		d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until", "for too many unknown recipients")
		d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "postmaster@mx.test", "", "")
		if list := daemontest.DecodeJSON[[]daemontest.BlockedClient](t, d, "block", "list"); len(list) != 1 || list[0].Level != 1 || !list[0].InForce {
			t.Errorf("block list: %+v", list)
		}
	}
	b.MustRun(t, "block", "remove", daemontest.GoodClient)
	for _, d := range p.Hosts {
		d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "", "")
	}
}

// TestRedisCountsExactly has both hosts count what many connections of one client do at the same time.
func TestRedisCountsExactly(t *testing.T) {
	const most = 120
	p := daemontest.StartPair(t, daemontest.Config{
		Profile: "safe", Actions: map[string]string{"spf-fail": "reject"},
		Extra: fmt.Sprintf("checks: {counters: {errors: %d}, greylist: {delay: 3s}}\n", most),
	}, "")
	s, ctx := openStore(t, p), context.Background()
	state := func() counters.State {
		st, err := counters.Show(ctx, s, counters.ClientOf(netip.MustParseAddr(daemontest.GoodClient)), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	refused := func(i int) error {
		r, err := p.Hosts[i%2].Mail(daemontest.GoodClient, "a@fail.test", "alice@mx.test")
		if err == nil && !strings.HasPrefix(r, "550 5.7.23") && !strings.HasPrefix(r, "450 4.7.1") {
			err = fmt.Errorf("refused mail got %q", r)
		}
		return err
	}
	// None is lost, none counts twice: at the daemontest.Limit nobody is blocked, one more is too many.
	parallel(t, most, refused)
	if st := state(); st.Errors != most || st.Count != most || st.Block != nil {
		t.Fatalf("after %d refusals: %+v", most, st)
	}
	for _, d := range p.Hosts {
		c, err := d.Connect(daemontest.GoodClient)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := c.Envelope(daemontest.GoodSender, "alice@mx.test"); r != "" || err != nil {
			t.Errorf("at the limit: %q, %v", r, err)
		}
		c.Close()
	}
	// Many pass the daemontest.Limit at the same time: that is one block, the first.
	parallel(t, 30, refused)
	for _, d := range p.Hosts {
		d.MustMail(t, daemontest.GoodClient, daemontest.GoodSender, "alice@mx.test", "450 4.7.1 127.0.0.10 is blocked until", "for too many refused mails")
	}
	// It clears the count; a refusal that was under way may have come after that.
	if st := state(); st.Block == nil || !st.Block.InForce || st.Block.Level != 1 || st.Level != 1 || st.Errors >= 30 {
		t.Errorf("after the block: %+v, %+v", st, st.Block)
	}

	// Greylisting begins once for a triplet, whoever sees it first, and one pass of a client counts in an hour.
	const deliveries = 40
	first := make([]string, deliveries)
	parallel(t, deliveries, func(i int) (err error) {
		first[i], err = p.Hosts[i%2].Mail("192.0.2.9", "a@none.test", fmt.Sprintf("u%d@mx.test", i/2))
		return err
	})
	for i, r := range first {
		if !strings.HasPrefix(r, "451 4.7.1 greylisted for ") {
			t.Errorf("first attempt %d: %q", i, r)
		}
	}
	miltertest.Eventually(t, "the delay is over", func() bool {
		list := daemontest.DecodeJSON[[]daemontest.Triplet](t, p.Hosts[0], "greylist", "list")
		if len(list) != deliveries/2 {
			t.Fatalf("%d triplets, want %d", len(list), deliveries/2)
		}
		for _, tr := range list {
			if time.Since(tr.First) <= 3*time.Second {
				return false
			}
		}
		return true
	})
	parallel(t, deliveries, func(i int) error {
		r, err := p.Hosts[i%2].Mail("192.0.2.9", "a@none.test", fmt.Sprintf("u%d@mx.test", i/2))
		if err == nil && r != "" {
			err = fmt.Errorf("retry got %q", r)
		}
		return err
	})
	shown := daemontest.DecodeJSON[daemontest.GreylistSelection](t, p.Hosts[1], "greylist", "show", "192.0.2.9")
	if len(shown.Triplets) != deliveries/2 || len(shown.Clients) != 1 || shown.Clients[0].Passes != 1 {
		t.Errorf("%d triplets, clients %+v; want %d, and one that passed once", len(shown.Triplets), shown.Clients, deliveries/2)
	}
}

// patience is the budget of the daemons whose store fails.
const patience = 3 * time.Second

// outage is what mail servers saw, while their load went on.
type outage struct {
	answers atomic.Int64
	passed  atomic.Int64
	failed  atomic.Int64 // by the store: check-failed
	slowest atomic.Int64
	wrong   sync.Map // answer -> true
}

// timed runs f and notes how long it took.
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
	o.answers.Add(1)
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

// session is good mail, or a stranger's with a recipient that does not exist, or a stranger's RSET.
func (o *outage) session(d *daemontest.Daemon, rnd *rand.Rand) error {
	client := daemontest.GoodClient
	kind := rnd.IntN(3)
	if kind > 0 {
		client = fmt.Sprintf("198.51.100.%d", rnd.IntN(256))
	}
	c, err := d.Connect(client)
	if err != nil {
		return err
	}
	defer c.Quit()
	from := daemontest.GoodSender
	if kind > 0 {
		from = fmt.Sprintf("list-%c%c@none.test", 'a'+rnd.IntN(26), 'a'+rnd.IntN(26))
	}
	if _, err := c.Mail("<"+from+">", map[string]string{"i": "Q1"}); err != nil {
		return err
	}
	if kind == 1 {
		if err := o.timed(func() (string, error) { return "", c.UnknownRecipient("nobody@mx.test") }); err != nil {
			return err
		}
	}
	accepted := false
	err = o.timed(func() (string, error) {
		r, err := c.Rcpt("<alice@mx.test>", map[string]string{"{rcpt_mailer}": "local", "{rcpt_host}": "", "{rcpt_addr}": "alice@mx.test"})
		accepted = err == nil && daemontest.ReplyText(r) == ""
		return daemontest.ReplyText(r), err
	})
	switch {
	case err != nil:
		return err
	case kind == 2:
		if err := c.Abort(); err != nil {
			return err
		}
		return o.timed(func() (string, error) { return c.Envelope(daemontest.GoodSender, "bob@mx.test") })
	case accepted:
		return o.timed(c.SendMessage)
	}
	return nil
}

// load sends mail to both hosts until stop is called, which returns what was answered.
func load(t *testing.T, p *daemontest.Pair, o *outage) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	for i := range 6 {
		rnd := rand.New(rand.NewPCG(uint64(i), 0))
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := o.session(p.Hosts[i%2], rnd); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(end)
	return func() {
		t.Helper()
		end()
		select {
		case err := <-errs:
			t.Errorf("a mail server lost its filter: %v", err)
		default:
		}
	}
}

// TestRedisOutage ends, and stalls, the Redis of two hosts under load. The one accepts what it could not check, the other
// defers it.
func TestRedisOutage(t *testing.T) {
	const delay = "checks: {greylist: {delay: 1s}}\n"
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe", Extra: fmt.Sprintf("budget: %s\n", patience) + delay}, "on_error: tempfail\n")
	accepts, defers := p.Hosts[0], p.Hosts[1]
	// What both knew before, and must know afterwards.
	accepts.MustMail(t, "192.0.2.9", daemontest.GoodSender, "alice@mx.test", "451 4.7.1 greylisted for 1 s more", "")
	if r := defers.GuessRecipients(t, "192.0.2.77", daemontest.Limit+1); !strings.HasPrefix(r, "450 4.7.1 192.0.2.77 named too many unknown recipients") {
		t.Fatalf("who guesses gets %q", r)
	}

	for _, c := range []struct {
		name     string
		down, up func()
	}{
		{"stalled", p.Redis.Freeze, p.Redis.Thaw},
		{"stopped", p.Redis.Stop, p.Redis.Start},
	} {
		t.Run(c.name, func(t *testing.T) {
			marks := [2]int{accepts.Mark(), defers.Mark()}
			var o outage
			stop := load(t, p, &o)
			await := func(what string, status int, saying string) {
				t.Helper()
				for i, url := range p.Ready {
					miltertest.Eventually(t, fmt.Sprintf("host %d is %s", i, what), func() bool {
						got, text := daemontest.Get(t, url)
						return got == status && strings.Contains(text, saying)
					})
				}
			}
			progress := func(what string, n *atomic.Int64, by int64) {
				t.Helper()
				from := n.Load()
				miltertest.Eventually(t, what, func() bool { return n.Load() >= from+by })
			}
			await("ready", 200, "ok")
			progress("mail flows", &o.answers, 100)
			if n := o.failed.Load(); n > 0 {
				t.Errorf("%d checks failed before the outage", n)
			}
			c.down()
			await("not ready", 503, "the store is down since ")
			progress("mail flows without the store", &o.passed, 100)
			progress("mail is deferred without the store", &o.failed, 100)
			// A block is not known now, and greylisting either: that is what the operator chose.
			accepts.MustMail(t, "192.0.2.77", daemontest.GoodSender, "alice@mx.test", "", "")
			defers.MustMail(t, "192.0.2.77", daemontest.GoodSender, "alice@mx.test", "451 4.4.3 ", "could not be checked")
			c.up()
			await("ready again", 200, "ok")
			progress("mail flows again", &o.answers, 100)
			stop()

			o.wrong.Range(func(r, _ any) bool {
				t.Errorf("answered %q", r)
				return true
			})
			if slowest := time.Duration(o.slowest.Load()); slowest > patience {
				t.Errorf("an answer took %v, over the budget of %v", slowest, patience)
			} else {
				t.Logf("%d answers, the slowest after %v", o.answers.Load(), slowest)
			}
			for i, d := range p.Hosts {
				d.AwaitEntry(t, marks[i], daemontest.Entry{"msg": "could not find out", "level": "warning"})
				for _, e := range d.Entries(t, marks[i]) {
					if cmp.Or(e["level"], "error") == "error" && !strings.Contains(e["msg"], "store") || e["action"] == "reject" {
						t.Errorf("log: %v", e)
					}
				}
			}
			// The state is back.
			for _, d := range p.Hosts {
				d.MustMail(t, "192.0.2.9", daemontest.GoodSender, "alice@mx.test", "", "")
				d.MustMail(t, "192.0.2.77", daemontest.GoodSender, "alice@mx.test", "450 4.7.1 192.0.2.77 is blocked until", "")
			}
		})
	}
}
