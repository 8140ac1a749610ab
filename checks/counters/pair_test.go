package counters_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
)

// goodSenders is a checks.Senders with one good sender.
type goodSenders string

func (g goodSenders) IsGood(domain string) bool { return domain == string(g) }
func (g goodSenders) Relays(string) bool        { return false }
func (g goodSenders) Unread() error             { return nil }

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

// TestBouncesAreNotCounted tests that bounces and callouts to unknown recipients, which anybody can cause who forges mail, do not block
// the mail of their client, and that more than two unknown recipients in a transaction count.
func TestBouncesAreNotCounted(t *testing.T) {
	t.Parallel()
	for unknown, blocked := range map[int]string{1: "", 2: "", 3: "client-blocked"} {
		h := newSite(t, change{})
		for range 5 {
			c := h.connect("192.0.2.9")
			for range 10 {
				c.from("", unknown)
			}
			c.rcpt("user")
			c.quit()
		}
		other := h.connect("192.0.2.9")
		other.from("alice@example.net", 0)
		want(t, fmt.Sprintf("mail after bounces to %d recipients", unknown), other.rcpt("user"), blocked)
	}
}

// TestSenderBlocks tests that the operator sees the blocks of a good sender, and ends one of them alone.
func TestSenderBlocks(t *testing.T) {
	t.Parallel()
	const zone = "9.2.0.192.in-addr.arpa. PTR out.relay.example.\nout.relay.example. A 192.0.2.9\n"
	h := newSite(t, change{zone: zone, senders: goodSenders("relay.example")})
	guess := func(sender string) string {
		c := h.connect("192.0.2.9")
		defer c.quit()
		c.s.ClientName = "out.relay.example"
		if !strings.Contains(sender, "@") { // a bounce is counted by the HELO name
			c.s.Helo, sender = sender, ""
		}
		c.from(sender, 0)
		c.s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("user@example.org")}}
		if d := c.run.Judge(t.Context(), checks.RcptTo); d.Reply != nil {
			return d.Reply.String()
		}
		c.from(sender, 11)
		return c.rcpt("user")
	}
	// The last ones are no domains; none of them may reach the records of another sender, or of all mail of the client.
	senders := []string{"eve@mail.example.com", "mallory@example.net", "a :counters:block:192.0.2.1/32", "192.0.2.9/32", strings.Repeat("a", 1000), "",
		"a\x1b[31m.com", strings.Repeat("b", 5000) + ".com"}
	for _, sender := range senders {
		want(t, "the connection of <"+sender+">", guess(sender), badRecipients)
	}
	list := h.blocks()
	var of []string
	for _, b := range list {
		if b.Client.String() != "192.0.2.9/32" || !b.InForce || b.Level != 1 || b.Why != "too many unknown recipients in mail from "+b.Sender {
			t.Errorf("block: %+v", b)
		}
		if b.Sender != checks.Clean(b.Sender, 255) {
			t.Errorf("the sender %.300q is shown to operators", b.Sender)
		}
		of = append(of, b.Sender)
	}
	if len(of) != len(senders) || !slices.Contains(of, "example.com") || !slices.Contains(of, "example.net") || !slices.Contains(of, "-") {
		t.Errorf("senders: %q", of)
	}
	if got := guess("eve@mail.example.com"); got != "550 5.7.1 192.0.2.9 is blocked until 2026-11-21 13:00 UTC for too many unknown recipients in mail from example.com" {
		t.Errorf("the reply: %s", got)
	}
	client := checks.ClientOf(netip.MustParseAddr("192.0.2.9"))
	if some, err := counters.SenderBlocks(t.Context(), h.store, netip.Prefix{}, "mail.EXAMPLE.com", *h.now); err != nil || len(some) != 1 {
		t.Errorf("blocks of example.com: %+v, %v", some, err)
	}
	if some, err := counters.SenderBlocks(t.Context(), h.store, client, "", *h.now); err != nil || len(some) != len(senders) {
		t.Errorf("blocks of the client: %+v, %v", some, err)
	}
	for i, was := range []bool{true, false} {
		if ok, err := counters.Unblock(t.Context(), h.store, client, "example.com", *h.now); ok != was || err != nil {
			t.Errorf("unblock %d: %v, %v", i, ok, err)
		}
	}
	want(t, "unblocked", guess("eve@mail.example.com"), badRecipients)
	if len(h.blocks()) != len(senders) {
		t.Errorf("blocks: %+v", h.blocks())
	}
	if all, err := counters.Covering(t.Context(), h.store, client, *h.now); all != nil || err != nil {
		t.Errorf("a block of all mail: %+v, %v", all, err)
	}
}

// TestManySenders tests that the deliveries of a connection count for each of the domains that they came from.
func TestManySenders(t *testing.T) {
	t.Parallel()
	const zone = "9.2.0.192.in-addr.arpa. PTR out.relay.example.\nout.relay.example. A 192.0.2.9\n"
	h := newSite(t, change{zone: zone, senders: goodSenders("relay.example")})
	deliver := func(c *client, i int) {
		c.from(fmt.Sprintf("a@d%d.example", i), 0)
		want(t, "a delivery", c.rcpt("user")+c.data("hello"), "")
	}
	c := h.connect("192.0.2.9")
	c.s.ClientName = "out.relay.example"
	for i := range 50 {
		deliver(c, i)
	}
	for i := range 49 {
		key := fmt.Sprintf("counters:tally:192.0.2.9/32 d%d.example", i)
		if _, ok, err := h.store.Get(t.Context(), key); !ok || err != nil {
			t.Fatalf("the delivery from d%d.example is not counted", i)
		}
	}
}

// unreadSenders is a checks.Senders that nothing was read for yet.
type unreadSenders struct{ goodSenders }

func (u unreadSenders) Unread() error { return errors.New("the store does not answer") }

// TestUnknownClientIsNotRefusedForGood tests that the block of a client that may be a good sender, but for a missing answer of the
// DNS or of the store, refuses temporarily.
func TestUnknownClientIsNotRefusedForGood(t *testing.T) {
	t.Parallel()
	const named = "9.2.0.192.in-addr.arpa. PTR out.relay.example.\nout.relay.example. A 192.0.2.9\n"
	for _, c := range []struct {
		name, zone, helo, want string
		unread                 bool // no good senders were read
	}{
		{"no good sender", "9.2.0.192.in-addr.arpa. PTR out.other.example.\nout.other.example. A 192.0.2.9\n", "out.relay.example", "550 5.7.1", false},
		{"a good sender", named, "out.relay.example", "", false},
		{"no name", "!SERVFAIL 9.2.0.192.in-addr.arpa\n", "out.relay.example", "450 4.7.1", false},
		{"no name, under another HELO name", "!TIMEOUT 9.2.0.192.in-addr.arpa\n", "mail.example.net", "450 4.7.1", false},
		{"no address of the name", "9.2.0.192.in-addr.arpa. PTR out.relay.example.\n!SERVFAIL out.relay.example\n", "out.relay.example", "450 4.7.1", false},
		{"a name, and no senders were read", named, "out.relay.example", "450 4.7.1", true},
		{"neither name nor SPF, and no senders were read", "", "out.relay.example", "550 5.7.1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var known checks.Senders = goodSenders("relay.example")
			if c.unread {
				known = unreadSenders{}
			}
			h := newSite(t, change{zone: c.zone, senders: known})
			block := fmt.Sprintf(`{"v":1,"inforce":true,"level":1,"spans":[{"limit":"too-many-errors","since":%d,"until":%d}]}`, h.now.Unix(), h.now.Add(time.Hour).Unix())
			if err := h.store.Put(t.Context(), "counters:block:192.0.2.9/32", []byte(block), time.Hour); err != nil {
				t.Fatal(err)
			}
			client := h.connect("192.0.2.9")
			client.s.Helo = c.helo
			if got := client.reply(); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
			isUnsure := strings.HasPrefix(c.want, "4")
			if d := client.run.Judge(t.Context(), checks.RcptTo); (len(d.Failures) > 0) != isUnsure {
				t.Errorf("failures %v", d.Failures)
			}
		})
	}
}

// TestRefusedBounce tests that the refusal of a bounce at MAIL counts for its HELO name, and not for the transaction before.
func TestRefusedBounce(t *testing.T) {
	t.Parallel()
	const zone = "9.2.0.192.in-addr.arpa. PTR out.relay.example.\nout.relay.example. A 192.0.2.9\n"
	h := newSite(t, change{zone: zone, senders: goodSenders("relay.example")})
	c := h.connect(someone)
	c.s.ClientName = "out.relay.example"
	c.from("alice@example.com", 1)
	c.from("", 0)
	c.observe(checks.Event{Kind: checks.Refused, Stage: checks.MailFrom, Reason: bad, Reply: bad.Reply})
	for _, domain := range []string{"example.com", "example.net"} {
		value, _, err := h.store.Get(t.Context(), "counters:tally:192.0.2.9/32 "+domain)
		if string(value) != "1" || err != nil {
			t.Errorf("%s: %q errors, %v; want 1", domain, value, err)
		}
	}
}

// unasked is a checks.Senders that must not be asked.
type unasked struct{ *testing.T }

func (u unasked) IsGood(domain string) bool { u.Errorf("asked for %s", domain); return false }
func (u unasked) Relays(string) bool        { return false }
func (u unasked) Unread() error             { return nil }

// TestTrustedClientsAreNotLookedUp tests that the mail of a trusted client does not wait for the DNS, which is asked for good senders.
func TestTrustedClientsAreNotLookedUp(t *testing.T) {
	t.Parallel()
	c := newSite(t, change{senders: unasked{t}}).connect(someone)
	c.s.AuthUser, c.s.ClientName = "alice", "out.relay.example"
	c.guess(2)
	c.giveUp(2)
	want(t, "a delivery", c.deliver(), "")
	c.quit()
}

// TestOpenConnectionsDeliver tests that the deliveries of a connection that stays open count for the errors of another one.
func TestOpenConnectionsDeliver(t *testing.T) {
	t.Parallel()
	h := newSite(t, change{})
	open := h.connect(someone)
	for range 60 {
		want(t, "a delivery", open.deliver(), "")
	}
	c := h.connect(someone)
	c.fail(40)
	c.quit()
	want(t, "after 60 deliveries and 40 errors", h.once(someone), "")
}
