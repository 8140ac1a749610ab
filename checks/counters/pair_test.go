package counters_test

import (
	"testing"

	"milterd/checks"
)

// goodSenders is a checks.Senders with one good sender.
type goodSenders string

func (g goodSenders) IsGood(domain string) bool { return domain == string(g) }
func (g goodSenders) Relays(string) bool        { return false }

// from begins a transaction and sends recipients that do not exist.
func (c *client) from(sender string, unknown int) {
	c.s.Envelope, c.reset = checks.Envelope{MailFrom: checks.ParseAddress(sender)}, checks.Envelope{}
	c.judge(checks.MailFrom)
	for range unknown {
		c.refused("guess", "5.1.1")
	}
}

// TestGoodSenderIsNotBlocked tests that one user of a shared relay who guesses recipients does not shut out the others.
func TestGoodSenderIsNotBlocked(t *testing.T) {
	t.Parallel()
	const zone = "9.2.0.192.in-addr.arpa. PTR out.relay.example.\nout.relay.example. A 192.0.2.9\n"
	for _, c := range []struct {
		name, good, other, blocked string // the reason that refuses the other sender, and the one who guessed
		sender                     string
	}{
		{"a shared relay", "relay.example", "", "client-blocked", "eve@mail.example.com"},
		{"bounces of a shared relay", "relay.example", "", "client-blocked", ""},
		{"an unknown client", "other.example", "client-blocked", "client-blocked", "eve@mail.example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newSite(t, change{zone: zone, senders: goodSenders(c.good)})
			eve := h.connect("192.0.2.9")
			eve.s.ClientName = "out.relay.example"
			eve.from(c.sender, 11)
			if got := eve.rcpt("user"); got != "too-many-bad-recipients" {
				t.Errorf("the connection that guesses: got %q", got)
			}
			eve.quit()
			for sender, want := range map[string]string{"alice@example.org": c.other, c.sender: c.blocked} {
				other := h.connect("192.0.2.9")
				other.s.ClientName = "out.relay.example"
				other.from(sender, 0)
				if got := other.rcpt("user"); got != want {
					t.Errorf("<%s>: got %q, want %q", sender, got, want)
				}
				other.quit()
			}
		})
	}
}
