package greylist_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

const zone = `
10.2.0.192.in-addr.arpa.     PTR  mail1.example.net.
mail1.example.net.           A    192.0.2.10
10.100.51.198.in-addr.arpa.  PTR  mail2.out.example.net.
mail2.out.example.net.       A    198.51.100.10
11.100.51.198.in-addr.arpa.  PTR  mail3.out.example.net.
mail3.out.example.net.       A    198.51.100.11

; a pool of customers, whose names have their addresses
20.2.0.192.in-addr.arpa.     PTR  dsl-192-0-2-20.isp.example.
dsl-192-0-2-20.isp.example.  A    192.0.2.20
21.2.0.192.in-addr.arpa.     PTR  dsl-192-0-2-21.isp.example.
dsl-192-0-2-21.isp.example.  A    192.0.2.21

; a pool with SPF, and an SPF record that everybody passes
spf.example.com.             TXT  "v=spf1 ip4:203.0.113.0/24 ip4:198.51.100.64/26 -all"
wide.example.com.            TXT  "v=spf1 +all"
home.example.com.            TXT  "v=spf1 ip4:192.0.2.20 -all"

30.2.0.192.in-addr.arpa.     PTR  a1.smtp-out.amazonses.com.
a1.smtp-out.amazonses.com.   A    192.0.2.30
31.2.0.192.in-addr.arpa.     PTR  forged.amazonses.com.
outlook.example.com.         TXT  "v=spf1 ip4:192.0.2.32 -all"
`

// The reasons of the check "suspect".
var (
	suspicious = &checks.Reason{ID: "suspicious", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} has no reverse DNS name"}}
	explained  = &checks.Reason{ID: "explained", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "{client} may not send mail for {domain} (SPF: {match}){explains}"}}
	badHeader  = &checks.Reason{ID: "bad-header", Reply: checks.Reply{Code: 550, Enhanced: "5.6.0", Text: "the date {date} is wrong"}, When: "the date is wrong"}
)

// site is a mail site with its clock and its store, which several daemons may share.
type site struct {
	now     time.Time
	env     checks.Env
	store   *checktest.Store
	actions map[string]checks.Action
	change  func(*greylist.Settings)
	onError checks.Action
	exempt  []string

	suspicions []*checks.Reason // what the check "suspect" returns for every delivery
	vouch      checks.Vouch
}

func newSite(t testing.TB) *site {
	t.Helper()
	w := &site{now: checktest.Now, env: checktest.Env(t, zone), suspicions: []*checks.Reason{suspicious}, actions: map[string]checks.Action{
		"suspicious": checks.Greylist, "explained": checks.Greylist, "bad-header": checks.Greylist,
		"first-contact": checks.Off, "greylisted": checks.Tempfail,
	}}
	w.store = checktest.NewStore(func() time.Time { return w.now })
	w.env.Store = w.store
	return w
}

// suspect is an earlier check, which returns the suspicions and the vouch of the site.
type suspect struct{ site *site }

func (c suspect) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
	var vs []checks.Verdict
	for _, reason := range c.site.suspicions {
		if (reason == badHeader) == (r.Stage == checks.EndOfHeader) {
			vs = append(vs, checks.Verdict{Reason: reason})
		}
	}
	return append(vs, checks.Verdict{Vouch: c.site.vouch}), nil
}

// daemon returns a Pipeline with the current settings of the site.
func (w *site) daemon(t testing.TB) *checks.Pipeline {
	t.Helper()
	suspectInfo := checks.Info{
		Name: "suspect", Stages: []checks.Stage{checks.Connect, checks.EndOfHeader}, Reasons: []*checks.Reason{suspicious, explained, badHeader},
	}
	return checktest.Pipeline(t,
		checks.Options{Actions: maps.Clone(w.actions), OnError: w.onError, Exempt: checktest.Recipients(t, w.exempt...)},
		checks.Instance{Info: suspectInfo, Check: suspect{w}},
		checks.Instance{Info: greylist.Info, Check: checktest.Build(t, greylist.Info, w.env, w.change)},
	)
}

// mail is one message.
type mail struct {
	client, helo, from string
	to                 []string
}

// outcome is the result of sending a message.
type outcome struct {
	replies  []string // to each RCPT, then to the message: "" if it is accepted, else "451 4.7.1 text"
	outcomes []string // "reason=action", watched ones too
	failures int
	vouched  []checks.Vouched // if the message is accepted
}

// send runs the pipeline for a message as the milter does.
func (w *site) send(p *checks.Pipeline, m mail) outcome {
	ctx := context.Background()
	s := &checks.Session{ID: "test", Time: w.now, Client: netip.MustParseAddr(m.client)}
	run := p.NewRun(s)
	run.Judge(ctx, checks.Connect)
	s.SetHelo(m.helo, false)
	run.Judge(ctx, checks.Helo)
	s.Envelope.MailFrom = checks.ParseAddress(m.from)
	run.Judge(ctx, checks.MailFrom)
	var o outcome
	note := func(d checks.Decision) bool {
		text := ""
		if d.Reply != nil {
			text = d.Reply.String()
		}
		o.replies = append(o.replies, text)
		for _, out := range d.Outcomes {
			o.outcomes = append(o.outcomes, out.Reason.ID+"="+out.Action.String())
		}
		o.failures += len(d.Failures)
		return d.Reply == nil
	}
	some := false
	for _, to := range m.to {
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(to)})
		some = note(run.Judge(ctx, checks.RcptTo)) || some
	}
	if some && note(run.Judge(ctx, checks.EndOfMessage)) {
		o.vouched = run.Request().Vouched()
		run.Observe(ctx, checks.Event{Kind: checks.Accepted})
	}
	return o
}

// held reports whether the message was deferred for any recipient.
func (o outcome) held() bool {
	return slices.ContainsFunc(o.replies, func(reply string) bool { return reply != "" })
}

// plain returns a message to one recipient from a client without a name.
func plain() mail {
	return mail{client: "192.0.2.99", helo: "mail.example.net", from: "alice@example.net", to: []string{"bob@example.org"}}
}

// with returns a plain message with a change.
func with(change func(*mail)) mail {
	m := plain()
	change(&m)
	return m
}

func wantHeld(t *testing.T, what string, o outcome, held bool) {
	t.Helper()
	if o.held() != held {
		t.Errorf("%s: held %v, want %v: %q", what, o.held(), held, o.replies)
	}
}

func wantReply(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

var errOutage = errors.New("the store is down")

// text returns the reply to a plain message.
func text(seconds int) string {
	return fmt.Sprintf("451 4.7.1 greylisted for %d s more: 192.0.2.99 has no reverse DNS name; please try again", seconds)
}

func joined(o outcome) string { return strings.Join(o.outcomes, " ") }
