package rate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/checks/rate"
	"milterd/headers"
)

// signed is a message whose author is of example.net, with the signature of a domain.
func signed(t *testing.T, domain string) []headers.Field {
	return checktest.Sign(t, []headers.Field{{Name: "From", Value: " ann@example.net"}}, "Hi.\r\n", domain)
}

// message returns the id of the reason that refuses a message to n recipients at its end, or "". noBody: no check asks for the
// body.
func message(t *testing.T, env checks.Env, p *checks.Pipeline, d checktest.Session, rcpts int, noBody bool) string {
	t.Helper()
	tx := begin(t, p, d)
	for i := range rcpts {
		if got := tx.rcpt(fmt.Sprintf("u%d@example.org", i)); got != "" {
			return "rcpt " + got
		}
	}
	if !noBody {
		if w := facts.Body(env, tx.run.Request()); w != nil {
			_, _ = w.Write([]byte("Hi.\r\n"))
		}
	}
	if d := tx.run.Judge(context.Background(), checks.EndOfMessage); d.Reply != nil {
		return d.Reason.ID
	}
	tx.run.Observe(t.Context(), checks.Event{Kind: checks.Accepted})
	return ""
}

// TestDomainOfSignature tests that a domain is limited by its DKIM signature where SPF does not show it, with a limit of 3.
func TestDomainOfSignature(t *testing.T) {
	t.Parallel()
	zone := checktest.DKIMKey("example.net") + checktest.DKIMKey("other.example") + "example.net. TXT \"v=spf1 ip4:192.0.2.0/24 -all\"\n"
	const elsewhere, own = "203.0.113.9", "192.0.2.9"
	for _, c := range []struct {
		name  string
		sizes []int // recipients of the messages, one after the other
		d     checktest.Session
		bare  bool   // without bodies
		want  string // of the last message
	}{
		{name: "signed by the author's domain", sizes: []int{2, 1, 1}, d: checktest.Session{Client: elsewhere, MailFrom: "x@esp.example", Header: signed(t, "example.net")}, want: "domain-rate"},
		{name: "within the limit", sizes: []int{2, 1}, d: checktest.Session{Client: elsewhere, MailFrom: "x@esp.example", Header: signed(t, "example.net")}},
		{name: "a refused message does not count", sizes: []int{2, 2, 1}, d: checktest.Session{Client: elsewhere, MailFrom: "x@esp.example", Header: signed(t, "example.net")}},
		{name: "one message with too many recipients", sizes: []int{9}, d: checktest.Session{Client: elsewhere, MailFrom: "x@esp.example", Header: signed(t, "example.net")}},
		{name: "signed by a stranger", sizes: []int{4, 4}, d: checktest.Session{Client: elsewhere, MailFrom: "x@esp.example", Header: signed(t, "other.example")}},
		{name: "no body", sizes: []int{2, 2}, d: checktest.Session{Client: elsewhere, MailFrom: "x@esp.example", Header: signed(t, "example.net")}, bare: true},
		{name: "not signed", sizes: []int{4, 4}, d: checktest.Session{Client: elsewhere, MailFrom: "a@example.net"}},
		{name: "SPF and a signature count once", sizes: []int{3, 1}, d: checktest.Session{Client: own, MailFrom: "a@example.net", Header: signed(t, "example.net")}, want: "rcpt domain-rate"},
		{name: "a bounce", sizes: []int{3, 1}, d: checktest.Session{Client: elsewhere, MailFrom: "<>", Header: signed(t, "example.net")}, want: "domain-rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, zone)
			env.Signatures = 5
			p := newPipeline(t, env, func(s *rate.Settings) { s.Domain = "3/h" })
			got := ""
			for _, n := range c.sizes {
				got = message(t, env, p, c.d, n, c.bare)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCounts tests what the operator is shown of the counts.
func TestCounts(t *testing.T) {
	t.Parallel()
	p := newPipeline(t, checktest.Env(t, `example.net. TXT "v=spf1 ip4:192.0.2.0/24 -all"`), func(c *rate.Settings) {
		c.User, c.Client, c.Domain = "5/h 100/d", "50/h", "7/d"
	})
	tx := begin(t, p, checktest.Session{Client: "192.0.2.9", MailFrom: "a@example.net"})
	tx.rcpt("u@example.org")
	tx.rcpt("v@example.org")
	begin(t, p, checktest.Session{Auth: "Alice@example.org"}).rcpt("x@example.net")
	for who, want := range map[string]string{
		"192.0.2.77":        "[192.0.2.0/24 has sent to 2 of 50 recipients in an hour]",
		"mail.example.net":  "[example.net has sent to 2 of 7 recipients in a day]",
		"alice@EXAMPLE.org": "[alice@example.org has sent to 1 of 5 recipients in an hour alice@example.org has sent to 1 of 100 recipients in a day]",
		"203.0.113.9":       "[]",
		"nobody":            "[]",
	} {
		list, err := p.Check(rate.Info.Name).(rate.Counter).Counts(t.Context(), checktest.Now, who)
		if got := fmt.Sprint(list); got != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", who, got, err, want)
		}
	}
	if list, _ := p.Check(rate.Info.Name).(rate.Counter).Counts(t.Context(), checktest.Now.Add(time.Hour), "alice@example.org"); len(list) != 1 {
		t.Errorf("in the next hour: %v", list)
	}
}
