package counters_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/counters"
	"milterd/headers"
)

// site is a mail site whose pipeline has this check and, after it, a refuser.
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
	store    checks.Store // nil: that of the site
	zone     string
	senders  checks.Senders
}

// refuser refuses recipients whose local part begins with the id of a reason, and messages with the subject spam.
type refuser struct{}

var (
	spam     = &checks.Reason{ID: "spam", Reply: checks.Reply{Code: 550, Enhanced: "5.6.0", Text: "spam"}}
	bad      = &checks.Reason{ID: "bad", Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "bad"}}
	deferred = &checks.Reason{ID: "deferred", Reply: checks.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted"}}
	watched  = &checks.Reason{ID: "watched", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "watched"}}
)

func (refuser) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Stage == checks.EndOfHeader {
		if r.Envelope.Header[0].Value == "spam" {
			return []checks.Verdict{{Reason: spam}}, nil
		}
		return nil, nil
	}
	for _, reason := range []*checks.Reason{bad, deferred, watched} {
		if strings.HasPrefix(r.Rcpt().Local, reason.ID) {
			return []checks.Verdict{{Reason: reason}}, nil
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

// host returns the pipeline of one more host of the site.
func (h *site) host(c change) *checks.Pipeline {
	h.t.Helper()
	env := checktest.Env(h.t, c.zone)
	env.Store, env.Senders = h.store, c.senders
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
	refuserInfo := checks.Info{
		Name: "refuser", Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}, Reasons: []*checks.Reason{spam, bad, deferred, watched},
	}
	for _, r := range slices.Concat(counters.Info.Reasons, refuserInfo.Reasons) {
		opts.Actions[r.ID] = checks.Reject
	}
	opts.Actions["watched"] = checks.Watch
	maps.Copy(opts.Actions, c.actions)
	if c.options != nil {
		c.options(&opts)
	}
	p, err := checks.New([]checks.Instance{
		{Info: counters.Info, Check: checktest.Build(h.t, counters.Info, env, c.settings)},
		{Info: refuserInfo, Check: refuser{}},
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
	reset checks.Envelope // the transaction that a RSET ended
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
	reset := c.reset
	c.s.Envelope, c.reset = checks.Envelope{}, checks.Envelope{}
	if reset.Rcpts != nil {
		c.observe(checks.Event{Kind: checks.Reset, Reset: reset})
	}
	c.s.Envelope.MailFrom = checks.ParseAddress("a@example.net")
	c.judge(checks.MailFrom)
}

// rcpt sends a recipient that the MTA accepts. It returns the id of the reason that refuses it.
func (c *client) rcpt(local string) string {
	c.s.Envelope.Rcpts = append(c.s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(local + "@example.org")})
	return c.judge(checks.RcptTo)
}

// refused sends a recipient that the MTA refuses.
func (c *client) refused(local, code string) {
	c.s.Envelope.Rcpts = append(c.s.Envelope.Rcpts,
		checks.Recipient{Address: checks.ParseAddress(local + "@example.org"), Refused: code})
	c.observe(checks.Event{Kind: checks.BadRecipient})
}

// data sends the message. It returns the id of the reason that refuses it.
func (c *client) data(subject string) string {
	c.s.Envelope.Header = []headers.Field{{Name: "Subject", Value: subject}}
	id := c.judge(checks.EndOfMessage)
	if id == "" {
		c.observe(checks.Event{Kind: checks.Accepted})
	}
	c.s.Envelope = checks.Envelope{}
	return id
}

func (c *client) rset() { c.reset, c.s.Envelope = c.s.Envelope, checks.Envelope{} }

func (c *client) quit() { c.observe(checks.Event{Kind: checks.Disconnected}) }

// deliver sends one good message. It returns the id of the reason that refuses it.
func (c *client) deliver() string {
	c.mail()
	if id := c.rcpt("user"); id != "" {
		return id
	}
	return c.data("hello")
}

// deliverTo sends one good message to n recipients.
func (c *client) deliverTo(n int) {
	c.mail()
	for i := range n {
		want(c.t, "a recipient", c.rcpt(fmt.Sprint("user", i)), "")
	}
	want(c.t, "the message", c.data("hello"), "")
}

// guess sends n unknown recipients, each in a transaction of its own.
func (c *client) guess(n int) {
	for i := range n {
		c.mail()
		c.refused(fmt.Sprint("guess", i), "5.1.1")
		c.rset()
	}
}

// fail sends n recipients that the refuser rejects.
func (c *client) fail(n int) {
	for range n {
		c.mail()
		c.rcpt("bad")
		c.rset()
	}
}

// giveUp gives up n transactions with an accepted recipient, and begins another.
func (c *client) giveUp(n int) {
	for range n {
		c.mail()
		c.rcpt("user")
		c.rset()
	}
	c.mail()
}

// once sends one good message in a connection of its own. It returns the id of the reason that refuses it.
func (h *site) once(addr string) string {
	c := h.connect(addr)
	defer c.quit()
	return c.deliver()
}

func (h *site) wait(d time.Duration) { *h.now = h.now.Add(d) }

// reply sends a recipient. It returns the reply of the refusal.
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

func (h *site) blocks() []counters.Blocked {
	h.t.Helper()
	list, err := counters.Blocks(context.Background(), h.store, *h.now)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// counted returns the errors and the deliveries of a client in the window.
func (h *site) counted(addr string) (errors, deliveries int64) {
	tally := h.number("tally", addr)
	const bits = 21 // of each number, see counters.tally
	return tally & (1<<bits - 1), tally >> bits & (1<<bits - 1)
}

// level returns the number of recent blocks of a client.
func (h *site) level(addr string) int { return int(h.number("level", addr)) }

// number returns the number in a record of a client.
func (h *site) number(kind, addr string) int64 {
	h.t.Helper()
	value, ok, err := h.store.Get(context.Background(), "counters:"+kind+":"+checks.ClientOf(netip.MustParseAddr(addr)).String())
	if err != nil {
		h.t.Fatal(err)
	}
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

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
