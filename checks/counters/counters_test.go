package counters_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/counters"
	"milterd/headers"
)

// site is a mail host with a pipeline of this check and one behind it that refuses what the test wants.
type site struct {
	t        testing.TB
	pipeline *checks.Pipeline
	store    *checktest.Store
	now      *time.Time
	log      *bytes.Buffer
}

type change struct {
	settings func(*counters.Settings)
	actions  map[string]checks.Action
	options  func(*checks.Options)
	store    checks.Store // another than that of the site
}

// refuser refuses recipients whose local part says so, and messages with the subject spam.
type refuser struct{}

var (
	spam     = &checks.Reason{ID: "spam", Reply: checks.Reply{Code: 550, Enhanced: "5.6.0", Text: "spam"}}
	bad      = &checks.Reason{ID: "bad", Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "bad"}}
	deferred = &checks.Reason{ID: "deferred", Reply: checks.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted"}}
	watched  = &checks.Reason{ID: "watched", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "watched"}}
)

func (refuser) Check(_ context.Context, s *checks.Request) ([]checks.Verdict, error) {
	if s.Stage == checks.EndOfHeader {
		if s.Envelope.Header[0].Value == "spam" {
			return []checks.Verdict{{Reason: spam}}, nil
		}
		return nil, nil
	}
	for _, r := range []*checks.Reason{bad, deferred, watched} {
		if strings.HasPrefix(s.Rcpt().Local, r.ID) {
			return []checks.Verdict{{Reason: r}}, nil
		}
	}
	return nil, nil
}

func newSite(t testing.TB, c change) *site {
	t.Helper()
	now := checktest.Now
	h := &site{t: t, now: &now, log: new(bytes.Buffer)}
	h.store = checktest.NewStore(func() time.Time { return *h.now })
	h.pipeline = h.host(c)
	return h
}

// host makes one more host of the site.
func (h *site) host(c change) *checks.Pipeline {
	h.t.Helper()
	env := checktest.Env(h.t, "")
	env.Store = h.store
	if c.store != nil {
		env.Store = c.store
	}
	log := logrus.New()
	log.SetOutput(h.log)
	env.Log = logrus.NewEntry(log)
	opts := checks.Options{Actions: map[string]checks.Action{}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second}
	opts.Exempt, _ = checks.ParseRecipients([]string{"postmaster"})
	opts.Trusted.Authenticated = true
	opts.Trusted.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	behind := checks.Info{
		Name: "refuser", Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}, Reasons: []*checks.Reason{spam, bad, deferred, watched},
	}
	for _, r := range slices.Concat(counters.Info.Reasons, behind.Reasons) {
		opts.Actions[r.ID] = checks.Reject
	}
	opts.Actions["watched"] = checks.Watch
	maps.Copy(opts.Actions, c.actions)
	if c.options != nil {
		c.options(&opts)
	}
	p, err := checks.New([]checks.Instance{
		{Info: counters.Info, Check: checktest.Build(h.t, counters.Info, env, c.settings)},
		{Info: behind, Check: refuser{}},
	}, opts)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// client is one connection, driven as the milter does.
type client struct {
	*site
	run   *checks.Run
	s     *checks.Session
	given checks.Envelope // the transaction that a RSET ended
}

func (h *site) connect(addr string) *client { return h.connectTo(h.pipeline, addr) }

func (h *site) connectTo(p *checks.Pipeline, addr string) *client {
	s := &checks.Session{ID: "t", Time: *h.now}
	if addr != "" {
		s.Client = netip.MustParseAddr(addr)
	}
	run := p.NewRun(s)
	run.Judge(context.Background(), checks.Connect)
	s.SetHelo("mail.example.net", false)
	run.Judge(context.Background(), checks.Helo)
	return &client{site: h, run: run, s: s}
}

func (c *client) observe(e checks.Event) {
	c.s.Time = *c.now
	c.run.Observe(context.Background(), e)
}

func (c *client) judge(st checks.Stage) string {
	c.s.Time = *c.now
	d := c.run.Judge(context.Background(), st)
	if d.Reason == nil {
		return ""
	}
	return d.Reason.ID
}

func (c *client) mail() {
	given := c.given
	c.s.Envelope, c.given = checks.Envelope{}, checks.Envelope{}
	if given.Rcpts != nil {
		c.observe(checks.Event{Kind: checks.Reset, Reset: given})
	}
	c.s.Envelope.MailFrom = checks.ParseAddress("a@example.net")
	c.judge(checks.MailFrom)
}

// rcpt gives a recipient that the MTA knows, and returns the id of the reason that refuses it.
func (c *client) rcpt(local string) string {
	c.s.Envelope.Rcpts = append(c.s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(local + "@example.org")})
	return c.judge(checks.RcptTo)
}

// refused gives a recipient that the MTA refuses.
func (c *client) refused(local, code string) {
	c.s.Envelope.Rcpts = append(c.s.Envelope.Rcpts,
		checks.Recipient{Address: checks.ParseAddress(local + "@example.org"), Refused: code})
	c.observe(checks.Event{Kind: checks.BadRecipient})
}

// data sends the message.
func (c *client) data(subject string) string {
	c.s.Envelope.Header = []headers.Field{{Name: "Subject", Value: subject}}
	id := c.judge(checks.EndOfHeader)
	if id == "" {
		c.observe(checks.Event{Kind: checks.Accepted})
	}
	c.s.Envelope = checks.Envelope{}
	return id
}

func (c *client) rset() { c.given, c.s.Envelope = c.s.Envelope, checks.Envelope{} }

func (c *client) quit() { c.observe(checks.Event{Kind: checks.Disconnected}) }

// deliver is one good message, or the id of the reason that refuses it.
func (c *client) deliver() string {
	c.mail()
	if id := c.rcpt("user"); id != "" {
		return id
	}
	return c.data("hello")
}

// guess names unknown recipients, each in a transaction of its own.
func (c *client) guess(n int) {
	for i := range n {
		c.mail()
		c.refused(fmt.Sprint("guess", i), "5.1.1")
		c.rset()
	}
}

// fail has n recipients refused by us for good.
func (c *client) fail(n int) {
	for range n {
		c.mail()
		c.rcpt("bad")
		c.rset()
	}
}

// giveUp has a recipient accepted and resets, n times, and begins another transaction.
func (c *client) giveUp(n int) {
	for range n {
		c.mail()
		c.rcpt("user")
		c.rset()
	}
	c.mail()
}

// once is one connection with one good message: the id of the reason that refuses it.
func (h *site) once(addr string) string {
	c := h.connect(addr)
	defer c.quit()
	return c.deliver()
}

func (h *site) wait(d time.Duration) { *h.now = h.now.Add(d) }

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

const someone, other = "192.0.2.9", "192.0.2.10"

const (
	isBlocked, resets, badRecipients, tooManyErrors = "client-blocked", "too-many-resets", "too-many-bad-recipients", "too-many-errors"
)

// TestLimits drives one connection and then delivers a message in it, and one in a second connection.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change change
		drive  func(c *client)
		first  string // what the connection gets then
		second string // what the next one gets
	}{
		{name: "a client that did nothing"},
		{name: "ten transactions given up", drive: func(c *client) { c.giveUp(10) }},
		{name: "eleven transactions given up", drive: func(c *client) { c.giveUp(11) }, first: resets, second: isBlocked},
		{name: "a delivery takes a reset off", drive: func(c *client) { c.giveUp(10); c.deliver(); c.giveUp(1) }},
		{name: "a delivery takes one reset off", drive: func(c *client) { c.giveUp(10); c.deliver(); c.giveUp(2) }, first: resets, second: isBlocked},
		{name: "a delivery before does not", drive: func(c *client) { c.deliver(); c.giveUp(11) }, first: resets, second: isBlocked},
		{name: "resets of transactions without a recipient", drive: func(c *client) {
			for range 40 {
				c.mail()
				c.rset()
			}
		}},
		{name: "forty greylisted messages, a RSET after each", drive: func(c *client) {
			for range 40 {
				c.mail()
				c.rcpt("deferred")
				c.rset()
			}
		}},
		{name: "forty good messages, a RSET after each", drive: func(c *client) {
			for range 40 {
				c.deliver()
				c.rset()
			}
		}},
		{name: "forty messages, one recipient greylisted, one delivered", drive: func(c *client) {
			for range 40 {
				c.mail()
				c.rcpt("deferred")
				c.rcpt("user")
				c.data("hello")
			}
		}},
		{name: "resets are off", change: change{settings: func(s *counters.Settings) { s.Resets = 0 }}, drive: func(c *client) { c.giveUp(100) }},

		{name: "ten guesses", drive: func(c *client) { c.guess(10) }},
		{name: "eleven guesses", drive: func(c *client) { c.guess(11) }, first: badRecipients, second: isBlocked},
		{name: "eleven guesses in one transaction", drive: func(c *client) {
			c.mail()
			for range 11 {
				c.refused("guess", "5.1.1")
			}
		}, first: badRecipients, second: isBlocked},
		{name: "guesses beside one known address, repeated", drive: func(c *client) {
			c.mail()
			for range 11 {
				c.rcpt("user")
				c.refused("guess", "5.1.1")
			}
		}, first: badRecipients, second: isBlocked},
		{name: "guesses beside one known address, given up each time", change: change{settings: func(s *counters.Settings) { s.Resets = 0 }}, drive: func(c *client) {
			for range 11 {
				c.mail()
				c.rcpt("user")
				c.refused("guess", "5.1.1")
				c.rset()
			}
		}, first: badRecipients, second: isBlocked},
		{name: "a delivery takes a guess off", drive: func(c *client) { c.guess(10); c.deliver(); c.guess(1) }},
		{name: "relaying denied is no guess", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.refused("elsewhere", "5.7.1")
			}
		}},
		{name: "what the MTA refuses for the sender is no guess", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.refused("user", "5.1.8")
				c.refused("user", "5.1.7")
				c.refused("user", "5.1.0")
			}
		}},
		{name: "a recipient with a null MX", drive: func(c *client) {
			for range 11 {
				c.mail()
				c.refused("gone", "5.1.10")
			}
		}, first: badRecipients, second: isBlocked},
		{name: "the MTA defers", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.refused("later", "4.1.1")
			}
		}},
		{name: "a stale list in one message: 30 of 130 unknown", drive: func(c *client) { c.mail(); c.stale(130, false); c.data("news") }},
		{name: "a stale list, one message for each recipient", drive: func(c *client) { c.stale(130, true) }},
		{name: "a stale list whose message is refused", drive: func(c *client) { c.mail(); c.stale(60, false); c.data("spam"); c.guess(10) }},
		{name: "bad recipients are off", change: change{settings: func(s *counters.Settings) { s.BadRecipients = 0 }},
			drive: func(c *client) { c.guess(35) }},

		{name: "35 refusals", drive: func(c *client) { c.fail(35) }},
		{name: "36 refusals", drive: func(c *client) { c.fail(36) }, first: tooManyErrors, second: isBlocked},
		{name: "36 refusals of messages", drive: func(c *client) {
			for range 36 {
				c.mail()
				c.rcpt("user")
				c.data("spam")
			}
		}, first: tooManyErrors, second: isBlocked},
		{name: "30 refusals and 6 guesses", drive: func(c *client) { c.fail(30); c.guess(6) }, first: tooManyErrors, second: isBlocked},
		{name: "a delivery takes an error off", drive: func(c *client) { c.fail(35); c.deliver(); c.fail(1) }},
		{name: "a delivery takes one error off", drive: func(c *client) { c.fail(35); c.deliver(); c.fail(2) }, first: tooManyErrors, second: isBlocked},
		{name: "a delivery before does not", drive: func(c *client) { c.deliver(); c.fail(36) }, first: tooManyErrors, second: isBlocked},
		{name: "not more errors than deliveries", drive: func(c *client) {
			for range 40 {
				c.deliver()
			}
			c.fail(40)
		}},
		{name: "more errors than deliveries", drive: func(c *client) {
			for range 40 {
				c.deliver()
			}
			c.fail(41)
		}, first: tooManyErrors, second: isBlocked},
		{name: "greylisting never counts", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.rcpt("deferred")
			}
		}},
		{name: "a tempfail never counts", change: change{actions: map[string]checks.Action{"bad": checks.Tempfail}}, drive: func(c *client) { c.fail(100) }},
		{name: "watching never counts", drive: func(c *client) {
			for range 100 {
				c.mail()
				c.rcpt("watched")
			}
		}},
		{name: "errors are off", change: change{settings: func(s *counters.Settings) { s.Errors = 0 }}, drive: func(c *client) { c.fail(100) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, test.change)
			c := h.connect(someone)
			if test.drive != nil {
				test.drive(c)
			}
			want(t, "the connection", c.deliver(), test.first)
			want(t, "and again", c.deliver(), test.first)
			c.quit()
			want(t, "the next", h.once(someone), test.second)
			want(t, "another client", h.once(other), "")
			if h.log.Len() > 0 {
				t.Error(h.log)
			}
		})
	}
}

// stale sends to n recipients, of which three in thirteen are unknown.
func (c *client) stale(n int, apart bool) {
	for i := range n {
		if apart {
			c.mail()
		}
		gone := i%13 == 4 || i%13 == 5 || i%13 == 9
		if gone {
			c.refused(fmt.Sprint("gone", i), "5.1.1")
		} else {
			want(c.t, "a known recipient", c.rcpt(fmt.Sprint("user", i)), "")
		}
		switch {
		case apart && gone:
			c.rset()
		case apart:
			want(c.t, "its message", c.data("news"), "")
		}
	}
}

// A forwarder hands on what others send, spam too: in bursts, in the night, after thousands of good messages.
func TestForwarder(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	good, refused := 0, 0
	for hour := range 72 {
		for range 20 {
			c := h.connect(someone)
			for range 3 {
				want(t, fmt.Sprint("hour ", hour), c.deliver(), "")
				good++
			}
			c.quit()
		}
		if hour%8 == 3 { // 45 in a row, each in a connection of its own
			for range 45 {
				c := h.connect(someone)
				c.mail()
				want(t, "recipient", c.rcpt("user"), "")
				want(t, "spam", c.data("spam"), "spam")
				c.quit()
				refused++
			}
		}
		h.wait(time.Hour)
	}
	t.Logf("%d good, %d refused", good, refused)
}

// TestNamedForwarder: what is refused to one who has his mail forwarded counts for nothing, and no block keeps it from him.
func TestNamedForwarder(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{options: func(o *checks.Options) {
		users, err := checks.ParseRecipients([]string{"bad", "fwd"})
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = []checks.Policy{{
			Recipients: users, Actions: o.Actions,
			Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
		}}
	}})
	c := h.connect("203.0.113.9")
	c.fail(50)
	want(t, "after what was forwarded", c.deliver(), "")
	h.connect(someone).fail(50)
	c = h.connect(someone)
	c.mail()
	want(t, "no forwarder", c.rcpt("fwd"), "client-blocked")
	c = h.connect("203.0.113.9")
	c.guess(20)
	want(t, "its own guesses", c.rcpt("user"), "too-many-bad-recipients")
	c.mail()
	want(t, "forwarded all the same", c.rcpt("fwd"), "")
}

// Errors are counted over connections that each have one alone, so that none is refused for the limit itself.
func TestErrorsAcrossConnections(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for range 36 {
		c := h.connect(someone)
		c.mail()
		want(t, "spam", c.rcpt("bad"), "bad")
		c.quit()
		h.wait(time.Minute)
	}
	want(t, "the next connection", h.once(someone), isBlocked)
	want(t, "the one after it", h.once(someone), isBlocked)
}

func TestWindow(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for range 4 {
		h.connect(someone).fail(30)
		want(t, "within the limit", h.once(someone), "")
		h.wait(24 * time.Hour)
	}
}

// Guessing without any recipient that the MTA knows never asks us: the next connection is blocked all the same.
func TestNothingButGuesses(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(1000)
	c.quit()
	h.wait(59 * time.Minute)
	c = h.connect(someone)
	want(t, "the second connection", c.deliver(), isBlocked)
	want(t, "and again", c.deliver(), isBlocked)
	want(t, "the third", h.once(someone), isBlocked)
	h.wait(time.Minute)
	want(t, "an hour after the guesses", h.once(someone), "")
}

// A block ends by itself, for connections too that outlast it, and the next one is longer.
func TestLevels(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	for i, length := range []time.Duration{time.Hour, 4 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		c := h.connect(someone)
		c.guess(11)
		want(t, "the limit", c.deliver(), badRecipients)
		late := h.connect(someone)
		want(t, "a second connection", late.deliver(), isBlocked)
		h.wait(length - time.Second)
		want(t, "before the end", late.deliver(), isBlocked)
		want(t, "the connection that passed it", c.deliver(), badRecipients)
		h.wait(time.Second)
		want(t, fmt.Sprintf("block %d at its end", i+1), late.deliver(), "")
		want(t, "the connection that passed it", c.deliver(), "")
		h.wait(6 * 24 * time.Hour)
	}
	h.wait(7 * 24 * time.Hour)
	h.connect(someone).guess(11)
	list := h.blocks()
	if len(list) != 1 || list[0].Level != 1 || list[0].Until.Sub(list[0].Since) != time.Hour {
		t.Errorf("after a week of quiet: %+v", list)
	}
}

func (h *site) blocks() []counters.Blocked {
	h.t.Helper()
	list, err := counters.Blocks(context.Background(), h.store, *h.now)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h *site) show(addr string) counters.State {
	h.t.Helper()
	st, err := counters.Show(context.Background(), h.store, counters.ClientOf(netip.MustParseAddr(addr)), *h.now)
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

func TestStartingABlockClearsTheCounts(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.fail(30)
	c.guess(11) // 41 errors: both limits
	want(t, "the first of both", c.deliver(), badRecipients)
	if st := h.show(someone); st.Errors != 0 || st.Level != 1 {
		t.Errorf("counted: %+v", st)
	}
	c.fail(100) // refused while blocked
	c.guess(100)
	c.giveUp(100)
	want(t, "blocked", h.once(someone), isBlocked)
	if st := h.show(someone); st.Errors != 0 {
		t.Errorf("counted while blocked: %+v", st)
	}
	h.wait(time.Hour)
	c.guess(10)
	c.fail(25)
	want(t, "counted anew", c.deliver(), "")
}

// What is watched refuses nothing, hides nothing and blocks nobody.
func TestWatchedLimits(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{actions: map[string]checks.Action{badRecipients: checks.Watch, resets: checks.Off}})
	c := h.connect(someone)
	c.giveUp(20)
	c.guess(12)
	want(t, "watched", c.deliver(), "")
	c.quit()
	want(t, "a second connection", h.once(someone), "")
	if list := h.blocks(); len(list) != 1 || list[0].InForce || list[0].Level != 1 {
		t.Errorf("blocks: %+v", list)
	}
	h.wait(30 * time.Minute)
	c = h.connect(someone)
	c.fail(36)
	want(t, "the enforced limit", c.deliver(), tooManyErrors)
	want(t, "a later connection", h.once(someone), isBlocked)
	h.wait(59 * time.Minute)
	want(t, "its whole hour", h.once(someone), isBlocked)
	h.wait(time.Minute)
	want(t, "and no longer", h.once(someone), "")

	all := newSite(t, change{options: func(o *checks.Options) {
		for _, r := range counters.Info.Reasons[1:] {
			o.Actions[r.ID] = checks.Watch
		}
	}})
	for range 5 {
		c := all.connect(someone)
		c.guess(50)
		c.fail(50)
		c.giveUp(50)
		want(t, "all limits on watch", c.deliver(), "")
		all.wait(time.Hour)
	}
	if st := all.show(someone); st.Level != 0 {
		t.Errorf("watching made it worse: %+v", st)
	}
}

func TestWhoIsAClient(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, guesser, client string
		want                  string
	}{
		{"the same IPv4 address", someone, someone, isBlocked},
		{"its neighbour", someone, other, ""},
		{"another address in the /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", isBlocked},
		{"another /64", "2001:db8:0:1::1", "2001:db8:0:2::1", ""},
		{"an unknown client", "", "", ""},
		{"a trusted network is not counted", "198.51.100.1", "198.51.100.1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, change{})
			c := h.connect(test.guesser)
			c.guess(50)
			c.deliver()
			c.quit()
			want(t, "the client", h.once(test.client), test.want)
			if test.want == "" && test.client == test.guesser && len(h.blocks()) > 0 {
				t.Error(h.blocks())
			}
		})
	}
}

// Who authenticates is neither counted nor blocked, whatever else comes from the same address.
func TestAuthenticated(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	user := h.connect(someone)
	user.s.AuthUser = "alice"
	user.guess(100)
	user.giveUp(100)
	want(t, "the user", user.deliver(), "")
	want(t, "nothing was counted", h.once(someone), "")
	c := h.connect(someone)
	c.guess(11)
	want(t, "a guesser there", c.deliver(), badRecipients)
	want(t, "the user, still", user.deliver(), "")
	c.s.AuthUser = "alice"
	want(t, "who authenticates later", c.deliver(), "")
}

func TestPostmasterStaysReachable(t *testing.T) {
	t.Parallel()
	for _, at := range []checks.Stage{checks.RcptTo, checks.MailFrom} {
		h := newSite(t, change{options: func(o *checks.Options) { o.ReplyAt = at }})
		c := h.connect(someone)
		c.guess(11)
		want(t, "the limit", c.deliver(), badRecipients)
		for _, c := range []*client{c, h.connect(someone)} {
			c.mail()
			want(t, "postmaster", c.rcpt("postmaster"), "")
			want(t, "the message", c.data("help"), "")
		}
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		addr        string
		drive       func(c *client)
		limit, then string
	}{
		{someone, func(c *client) { c.giveUp(11) },
			"550 5.7.1 192.0.2.9 gave up too many mail transactions and is blocked until 2026-11-21 13:01 UTC",
			"550 5.7.1 192.0.2.9 is blocked until 2026-11-21 13:01 UTC for too many mail transactions given up"},
		{someone, func(c *client) { c.guess(11) },
			"550 5.7.1 192.0.2.9 named too many unknown recipients and is blocked until 2026-11-21 13:01 UTC",
			"550 5.7.1 192.0.2.9 is blocked until 2026-11-21 13:01 UTC for too many unknown recipients"},
		{"2001:db8::9", func(c *client) { c.fail(36) },
			"550 5.7.1 2001:db8::/64 sent too much that was refused and is blocked until 2026-11-21 13:01 UTC",
			"550 5.7.1 2001:db8::/64 is blocked until 2026-11-21 13:01 UTC for too many refused mails and recipients"},
	} {
		h := newSite(t, change{})
		h.wait(time.Second)
		c := h.connect(test.addr)
		test.drive(c)
		want(t, "the limit", c.reply(), test.limit)
		want(t, "the next connection", h.connect(test.addr).reply(), test.then)
	}
}

func (c *client) reply() string {
	c.mail()
	c.s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("user@example.org")}}
	c.s.Time = *c.now
	d := c.run.Judge(context.Background(), checks.RcptTo)
	if d.Reply == nil {
		return ""
	}
	return d.Reply.String()
}

// A store that fails blocks nobody and refuses nothing, and is complained of once a minute.
func TestOutage(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(9)
	h.store.Fail(errors.New("gone"))
	c.guess(20)
	c.fail(50)
	c.giveUp(20)
	want(t, "the outage", c.deliver(), "")
	if n := strings.Count(h.log.String(), "could not count"); n != 1 {
		t.Errorf("%d complaints:\n%s", n, h.log)
	}
	h.wait(time.Minute)
	c.guess(5)
	if n := strings.Count(h.log.String(), "could not count"); n != 2 {
		t.Errorf("%d complaints a minute later", n)
	}
	d := h.connect(other)
	d.mail()
	d.s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("user@example.org")}}
	if got := d.run.Judge(context.Background(), checks.RcptTo); len(got.Failures) != 1 || got.Reply != nil {
		t.Errorf("a new connection: %+v", got)
	}
	h.store.Fail(nil)
	want(t, "it is back", d.deliver(), "")
	c.guess(1)
	want(t, "what the connection did meanwhile", c.deliver(), badRecipients)
	want(t, "the next connection", h.once(someone), isBlocked)
}

// The refusal that puts a block in force comes while the store fails: the next one does.
func TestOutageAtTheRefusal(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.guess(11)
	h.store.Fail(errors.New("gone"))
	want(t, "the limit is known", c.deliver(), badRecipients)
	h.store.Fail(nil)
	if h.blocks()[0].InForce {
		t.Error("in force without a store")
	}
	want(t, "once more", c.deliver(), badRecipients)
	want(t, "the next connection", h.once(someone), isBlocked)
}

// A record that nobody can read is an error, and refuses nothing.
func TestBrokenRecord(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, value := range []string{"", "x", "{}", `{"v":2}`, `{"v":1}`, `{"v":1,"spans":[]}`} {
		h := newSite(t, change{})
		if err := h.store.Put(ctx, "counters:block:192.0.2.9/32", []byte(value), time.Hour); err != nil {
			t.Fatal(err)
		}
		want(t, value, h.once(someone), "")
		if _, err := counters.Blocks(ctx, h.store, *h.now); err == nil {
			t.Errorf("%s: no error", value)
		}
		if _, err := counters.Unblock(ctx, h.store, counters.ClientOf(netip.MustParseAddr(someone)), *h.now); err == nil {
			t.Errorf("%s: no error of Unblock", value)
		}
		if list := h.blocks(); len(list) > 0 {
			t.Errorf("%s: still there", value)
		}
	}
}

// Two hosts with one store: the limit of errors holds to the one, and a client has one block however many connections find it
// out at the same time.
func TestTwoHostsAtOnce(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	hosts := []*checks.Pipeline{h.pipeline, h.host(change{})}
	parallel := func(n int, do func(c *client)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { do(h.connectTo(hosts[i%2], someone)) })
		}
		wg.Wait()
	}
	parallel(35, func(c *client) { c.fail(1); c.quit() })
	want(t, "35 errors", h.once(someone), "")
	parallel(2, func(c *client) { c.fail(1); c.quit() }) // one is made good for by the delivery
	want(t, "36 errors", h.once(someone), isBlocked)
	for _, p := range hosts {
		want(t, "both hosts", h.connectTo(p, someone).deliver(), isBlocked)
	}
	h.wait(time.Hour)
	parallel(16, func(c *client) { c.guess(20); c.fail(5); c.giveUp(12); c.deliver(); c.quit() })
	want(t, "everything at once", h.once(someone), isBlocked)
	if list := h.blocks(); len(list) != 1 || list[0].Level != 2 || list[0].Until.Sub(list[0].Since) != 4*time.Hour {
		t.Errorf("blocks: %+v", list)
	}
}

func TestOperator(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := newSite(t, change{})
	c := h.connect(someone)
	c.deliver()
	c.fail(3)
	c.quit()
	if st := h.show(someone); st.Errors != 3 || st.Deliveries != 1 || st.Count != 3 || !st.Clears.Equal(checktest.Now.Add(24*time.Hour)) || st.Block != nil {
		t.Errorf("counted: %+v", st)
	}
	h.connect(someone).guess(11)
	by, err := counters.Block(ctx, h.store, netip.MustParsePrefix("2001:db8::7/128"), *h.now, 30*time.Minute, "the spam run\nof today")
	if err != nil || by.Client.String() != "2001:db8::/64" || by.Level != 0 || !by.InForce || by.Why != "the spam run of today" {
		t.Errorf("by hand: %+v, %v", by, err)
	}
	want(t, "by hand", h.once("2001:db8::1"), isBlocked)
	var got []string
	for _, b := range h.blocks() {
		got = append(got, fmt.Sprint(b.Client, " ", b.Until.Format("15:04"), " ", b.Level, " ", b.InForce, " ", b.Why))
	}
	want(t, "list", strings.Join(got, "; "),
		"2001:db8::/64 12:30 0 true the spam run of today; 192.0.2.9/32 13:00 1 false too many unknown recipients")
	want(t, "the limit", h.once(someone), isBlocked)
	if st := h.show(someone); st.Level != 1 || !st.Forgets.Equal(checktest.Now.Add(7*24*time.Hour+time.Hour)) || st.Block == nil || !st.Block.InForce {
		t.Errorf("blocked: %+v", st)
	}
	for i, was := range []bool{true, false} {
		if ok, err := counters.Unblock(ctx, h.store, netip.MustParsePrefix("192.0.2.9/32"), *h.now); ok != was || err != nil {
			t.Errorf("unblock %d: %v, %v", i, ok, err)
		}
	}
	want(t, "unblocked", h.once(someone), "")
	if st := h.show(someone); st.Level != 0 || st.Errors != 0 || st.Block != nil {
		t.Errorf("not forgotten: %+v", st)
	}
	for _, wide := range []netip.Prefix{{}, netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")} {
		_, err1 := counters.Block(ctx, h.store, wide, *h.now, time.Hour, "")
		_, err2 := counters.Unblock(ctx, h.store, wide, *h.now)
		_, err3 := counters.Show(ctx, h.store, wide, *h.now)
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%s is taken for one client", wide)
		}
	}
	if _, err := counters.Block(ctx, h.store, netip.MustParsePrefix("192.0.2.9/32"), *h.now, 0, ""); err == nil {
		t.Error("a block for no time")
	}
	h.store.Fail(errors.New("gone"))
	if _, err := counters.Blocks(ctx, h.store, *h.now); err == nil {
		t.Error("no error of a store that fails")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	good := counters.Info.Default.(counters.Settings)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*counters.Settings){
		"negative":   func(s *counters.Settings) { s.Resets = -1 },
		"huge":       func(s *counters.Settings) { s.Errors = 1_000_001 },
		"no window":  func(s *counters.Settings) { s.Window = 0 },
		"no blocks":  func(s *counters.Settings) { s.Block = nil },
		"no lengths": func(s *counters.Settings) { s.Block = []time.Duration{time.Hour, 0} },
	} {
		s := good
		change(&s)
		if s.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// counting counts what is asked of a store.
type counting struct {
	checks.Store
	ops []string
}

func (c *counting) Get(ctx context.Context, key string) ([]byte, bool, error) {
	c.ops = append(c.ops, "get "+key)
	return c.Store.Get(ctx, key)
}

func (c *counting) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	c.ops = append(c.ops, "add "+key)
	return c.Store.Add(ctx, key, n, ttl)
}

// An honest connection costs one Get, and one Add when the client has gone, however many messages it delivers.
func TestCost(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	store := &counting{Store: h.store}
	c := h.connectTo(h.host(change{store: store}), someone)
	for range 10 {
		want(t, "a good message", c.deliver(), "")
		c.mail()
		want(t, "a greylisted one", c.rcpt("deferred"), "deferred")
		c.rset()
	}
	if got := strings.Join(store.ops, ", "); got != "get counters:block:192.0.2.9/32" {
		t.Errorf("asked: %s", got)
	}
	c.quit()
	if got := strings.Join(store.ops[1:], ", "); got != "add counters:tally:192.0.2.9/32" {
		t.Errorf("asked at the end: %s", got)
	}
}

// BenchmarkHonest is a connection with one good message, all that this check does for it: with the pipeline around it, and
// the same without the check.
func BenchmarkHonest(b *testing.B) {
	for _, name := range []string{"with", "without"} {
		b.Run(name, func(b *testing.B) {
			h := newSite(b, change{})
			if name == "without" {
				h.pipeline, _ = checks.New([]checks.Instance{{Check: refuser{}, Info: checks.Info{
					Name: "refuser", Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}, Reasons: []*checks.Reason{bad},
				}}}, checks.Options{Actions: map[string]checks.Action{"bad": checks.Reject}, ReplyAt: checks.RcptTo, Budget: time.Second})
			}
			b.ReportAllocs()
			for b.Loop() {
				if id := h.once(someone); id != "" {
					b.Fatal(id)
				}
			}
		})
	}
}

// BenchmarkBlocked is a refusal of a client that is blocked.
func BenchmarkBlocked(b *testing.B) {
	h := newSite(b, change{})
	c := h.connect(someone)
	c.guess(11)
	c.deliver()
	b.ReportAllocs()
	for b.Loop() {
		if id := h.once(someone); id != isBlocked {
			b.Fatal(id)
		}
	}
}
