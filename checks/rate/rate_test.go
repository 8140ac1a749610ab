package rate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/rate"
)

// newPipeline returns a pipeline with the check alone. All its reasons defer. Authenticated clients are trusted.
func newPipeline(t *testing.T, env checks.Env, change func(*rate.Settings), policies ...checks.Policy) *checks.Pipeline {
	t.Helper()
	return checktest.Pipeline(t, checks.Options{
		Actions: checktest.Actions(rate.Info, checks.Tempfail), OnError: checks.Tempfail,
		Trusted: checks.Trusted{Authenticated: true}, Exempt: checktest.Recipients(t, "postmaster"), Policies: policies,
	}, checks.Instance{Info: rate.Info, Check: checktest.Build(t, rate.Info, env, change)})
}

// transaction is a mail transaction at a pipeline.
type transaction struct {
	s   *checks.Session
	run *checks.Run
}

func begin(t *testing.T, p *checks.Pipeline, d checktest.Session) transaction {
	t.Helper()
	s := d.Session(t)
	s.Envelope.Rcpts = nil
	tx := transaction{s: s, run: p.NewRun(s)}
	for _, st := range []checks.Stage{checks.Connect, checks.Helo, checks.MailFrom} {
		tx.run.Judge(context.Background(), st)
	}
	return tx
}

// rcpt returns the id of the reason that refuses a recipient, or "".
func (tx transaction) rcpt(to string) string {
	tx.s.Envelope.Rcpts = append(tx.s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(to)})
	if d := tx.run.Judge(context.Background(), checks.RcptTo); d.Reply != nil {
		return d.Reason.ID
	}
	return ""
}

// TestLimitIsExact tests that sessions at the same time are admitted as many recipients as the limit allows, and no more.
func TestLimitIsExact(t *testing.T) {
	t.Parallel()
	const limit, sessions, rcpts = 50, 20, 10
	p := newPipeline(t, checktest.Env(t, ""), func(c *rate.Settings) { c.User, c.Client = "50/h 1000/d", "50/h" })
	for _, d := range []checktest.Session{{Client: "192.0.2.9", Auth: "alice"}, {Client: "198.51.100.7"}} {
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range sessions {
			tx := begin(t, p, d)
			wg.Go(func() {
				for i := range rcpts {
					if tx.rcpt(fmt.Sprintf("u%d@example.org", i)) == "" {
						admitted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := admitted.Load(); got != limit {
			t.Errorf("%+v: %d recipients were admitted, want %d", d, got, limit)
		}
	}
}

// TestRefusedRecipientsDoNotCount tests that the count of a recipient is taken back if the pipeline refuses it or its message.
func TestRefusedRecipientsDoNotCount(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, checktest.Env(t, ""), func(c *rate.Settings) { c.Client = "2/h" })
	refused := checks.Event{Kind: checks.Refused, Stage: checks.RcptTo, Reason: &checks.Reason{ID: "other"}, Reply: checks.Reply{Code: 550}}
	tx := begin(t, p, checktest.Session{Client: "192.0.2.9"})
	for range 5 {
		if got := tx.rcpt("u@example.org"); got != "" {
			t.Fatalf("refused for %s", got)
		}
		tx.run.Observe(t.Context(), refused)
		tx.run.Observe(t.Context(), refused) // takes nothing back that is not counted
	}
	for _, want := range []string{"", "", "client-rate"} {
		if got := tx.rcpt("u@example.org"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	tx.run.Observe(t.Context(), refused) // the last recipient, which is not counted
	if got := begin(t, p, checktest.Session{Client: "192.0.2.10"}).rcpt("u@example.org"); got != "client-rate" {
		t.Errorf("another address of the network: %q", got)
	}
	refused.Stage = checks.EndOfMessage // a message without header fields
	tx.run.Observe(t.Context(), refused)
	for _, want := range []string{"", "", "client-rate"} {
		if got := begin(t, p, checktest.Session{Client: "192.0.2.10"}).rcpt("u@example.org"); got != want {
			t.Errorf("after the refusal of the message: got %q, want %q", got, want)
		}
	}
}

// TestMessageDeferredForMemory tests that the counts of a message are taken back that is deferred for lack of memory.
func TestMessageDeferredForMemory(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, checktest.Env(t, ""), func(c *rate.Settings) { c.Client = "1/h" })
	for range 2 {
		tx := begin(t, p, checktest.Session{Client: "192.0.2.9"})
		if got := tx.rcpt("u@example.org"); got != "" {
			t.Fatalf("refused for %s", got)
		}
		tx.run.LackMemory(true)
		if d := tx.run.Judge(t.Context(), checks.EndOfMessage); d.Reason == nil || d.Reason.ID != "memory-full" {
			t.Errorf("got %+v", d)
		}
	}
}

// TestRecipientsShareAMessage tests that recipients with other actions for the reasons of RCPT alone are not deferred.
func TestRecipientsShareAMessage(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"user-rate": "", "client-rate": "", "domain-rate": "policies-differ"} {
		own := checktest.Actions(rate.Info, checks.Tempfail)
		own[id] = checks.Off
		p := newPipeline(t, checktest.Env(t, ""), nil, checks.Policy{Recipients: checktest.Recipients(t, "other"), Actions: own})
		tx := begin(t, p, checktest.Session{Client: "192.0.2.9"})
		tx.rcpt("u@example.org")
		if got := tx.rcpt("other@example.org"); got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
}

// TestWhoIsLimited tests whose recipients are counted, with a limit of one.
func TestWhoIsLimited(t *testing.T) {
	t.Parallel()
	const zone = "example.net. TXT \"v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 -all\"\n"
	for _, c := range []struct {
		name     string
		settings rate.Settings
		first    checktest.Session
		second   checktest.Session
		to       string
		want     string
	}{
		{name: "user", settings: rate.Settings{User: "1/h"}, first: checktest.Session{Auth: "Alice"}, second: checktest.Session{Auth: "alice"}, want: "user-rate"},
		{name: "another user", settings: rate.Settings{User: "1/h"}, first: checktest.Session{Auth: "alice"}, second: checktest.Session{Auth: "bob"}},
		{name: "exempt recipient", settings: rate.Settings{User: "1/h"}, first: checktest.Session{Auth: "alice"}, second: checktest.Session{Auth: "alice"}, to: "postmaster@example.org"},
		{name: "user without a limit", settings: rate.Settings{User: "1/h", Users: map[string]rate.Limits{"News": ""}}, first: checktest.Session{Auth: "news"}, second: checktest.Session{Auth: "news"}},
		{name: "domain of users", settings: rate.Settings{Users: map[string]rate.Limits{"@dept.example": "1/h"}}, first: checktest.Session{Auth: "a@dept.example"}, second: checktest.Session{Auth: "a@dept.example"}, want: "user-rate"},
		{name: "user's client", settings: rate.Settings{Client: "1/h"}, first: checktest.Session{Auth: "a", Client: "192.0.2.9"}, second: checktest.Session{Auth: "a", Client: "192.0.2.9"}},
		{name: "IPv6 network", settings: rate.Settings{Client: "1/h"}, first: checktest.Session{Client: "2001:db8::1"}, second: checktest.Session{Client: "2001:db8::2"}, want: "client-rate"},
		{name: "private client", settings: rate.Settings{Client: "1/h"}, first: checktest.Session{Client: "10.1.2.3"}, second: checktest.Session{Client: "10.1.2.3"}},
		{name: "domain with a pass", settings: rate.Settings{Domain: "1/h"}, first: checktest.Session{Client: "192.0.2.9", MailFrom: "a@example.net"}, second: checktest.Session{Client: "198.51.100.7", MailFrom: "b@example.net"}, want: "domain-rate"},
		{name: "domain without a pass", settings: rate.Settings{Domain: "1/h"}, first: checktest.Session{Client: "203.0.113.9", MailFrom: "a@example.net"}, second: checktest.Session{Client: "203.0.113.9", MailFrom: "a@example.net"}},
		{name: "next window", settings: rate.Settings{User: "1/h"}, first: checktest.Session{Auth: "a"}, second: checktest.Session{Auth: "a", Time: checktest.Now.Add(time.Hour)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPipeline(t, checktest.Env(t, zone), func(s *rate.Settings) { *s = c.settings })
			to := c.to
			if to == "" {
				to = "u@example.org"
			}
			if got := begin(t, p, c.first).rcpt(to); got != "" {
				t.Fatalf("the first recipient is refused for %s", got)
			}
			if got := begin(t, p, c.second).rcpt(to); got != c.want {
				t.Errorf("the second recipient: %q, want %q", got, c.want)
			}
		})
	}
}

// TestForwarder tests that mail which a forwarder passes on does not count: it would use up the limit of the forwarder's own mail.
func TestForwarder(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, checktest.Env(t, `example.net. TXT "v=spf1 ip4:192.0.2.0/24 -all"`), func(s *rate.Settings) {
		s.Client, s.Domain = "1/h", "1/h"
	}, checks.Policy{
		Recipients: checktest.Recipients(t, "bob"), Actions: checktest.Actions(rate.Info, checks.Tempfail),
		Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	})
	for _, rcpt := range []struct{ to, want string }{
		{to: "bob@example.org"}, {to: "bob@example.org"}, {to: "carol@example.org"}, {to: "carol@example.org", want: "client-rate"},
	} {
		if got := begin(t, p, checktest.Session{Client: "192.0.2.9", MailFrom: "a@example.net"}).rcpt(rcpt.to); got != rcpt.want {
			t.Errorf("to %s: got %q, want %q", rcpt.to, got, rcpt.want)
		}
	}
}

// TestStoreFails tests that a dead store defers nobody who is trusted, and others by on_error.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	store := checktest.NewStore(nil)
	store.Fail(errors.New("down"))
	env.Store = store
	p := newPipeline(t, env, func(c *rate.Settings) { c.User, c.Client = "1/h", "1/h" })
	if got := begin(t, p, checktest.Session{Auth: "alice"}).rcpt("u@example.org"); got != "" {
		t.Errorf("trusted: %q", got)
	}
	if got := begin(t, p, checktest.Session{Client: "192.0.2.9"}).rcpt("u@example.org"); got != "check-failed" {
		t.Errorf("not trusted: %q", got)
	}
}

// TestUsersOverTheLimit tests that users over the limit are reported for a day, also after a reload.
func TestUsersOverTheLimit(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	one := func(c *rate.Settings) { c.User, c.Client = "1/h", "1/h" }
	p := newPipeline(t, env, one)
	for _, d := range []checktest.Session{{Auth: "alice"}, {Client: "192.0.2.9"}} {
		tx := begin(t, p, d)
		for range 3 {
			tx.rcpt("u@example.org")
		}
	}
	list := p.Report()
	if len(list) != 1 || list[0].Name != "alice" || list[0].State != "over" || list[0].Counts["recipients_over"] != 2 || !strings.Contains(list[0].Why, "change the password") {
		t.Fatalf("got %+v", list)
	}
	next := newPipeline(t, env, one)
	next.Reload(p)
	next.Maintain(t.Context(), checktest.Now.Add(23*time.Hour))
	if len(next.Report()) != 1 {
		t.Error("lost by a reload")
	}
	next.Maintain(t.Context(), checktest.Now.Add(25*time.Hour))
	if list := next.Report(); len(list) != 0 {
		t.Errorf("after a day: %+v", list)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "200/h": "", "200/h 1000/d": "", "1/s 2/m 3/h 4/d": "",
		"200": "is not a limit", "200/w": "is not a limit", "0/h": "is not a limit", "-1/h": "is not a limit", "x/h": "is not a limit",
		"1/h 2/h": "two limits per h", "99999999999/h": "is not a limit",
	} {
		var l rate.Limits
		err := l.UnmarshalText([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	err := rate.Settings{Users: map[string]rate.Limits{"@": "1/h", "news": "1/h", "News": "2/h"}}.Validate()
	if want := "users: \"@\" is no user; write a name, or @example.org for all users of a domain\nusers: \"news\" is there twice, as case does not matter; delete one of them"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
