package checks_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"milterd/checks"
)

// TestForwarders: what a forwarder passes on to a recipient is not judged by checks that judge where it comes from, and
// everything else is.
func TestForwarders(t *testing.T) {
	t.Parallel()
	origin, content := newFake("origin", atConnect, reason("a")), newFake("content", atConnect, reason("b"))
	origin.info.NotForwarded = true
	reject := map[string]checks.Action{"a": checks.Reject, "b": checks.Watch}
	to := func(pattern string) checks.RecipientSet {
		set, err := checks.ParseRecipients([]string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	p, err := checks.New([]checks.Instance{{Info: origin.info, Check: origin}, {Info: content.info, Check: content}}, checks.Options{
		Actions: reject, ReplyAt: checks.RcptTo, Budget: time.Second,
		Policies: []checks.Policy{
			{Recipients: to("net"), Actions: reject, Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}},
			{Recipients: to("name"), Actions: reject, Forwarders: checks.Forwarders{Names: []string{"lists.example.net"}}},
		},
		ClientNames: func(_ context.Context, s *checks.Session) []string {
			return map[string][]string{"192.0.2.9": {"a.lists.example.net"}, "198.51.100.1": {"notlists.example.net"}}[s.Client.String()]
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, client, rcpt string
		refused            bool
	}{
		{"by its network", "192.0.2.9", "net@example.org", false},
		{"outside the network", "198.51.100.1", "net@example.org", true},
		{"by a name below", "192.0.2.9", "name@example.org", false},
		{"a name that only ends like it", "198.51.100.1", "name@example.org", true},
		{"no name", "203.0.113.1", "name@example.org", true},
		{"another recipient", "192.0.2.9", "else@example.org", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			talk := begin(p, c.client)
			talk.mail("a@example.com")
			d := talk.rcpt(c.rcpt)
			if (d.Reply != nil) != c.refused {
				t.Errorf("reply %v", d.Reply)
			}
			if !c.refused && len(d.Outcomes) != 1 {
				t.Errorf("the other check said %v", d.Outcomes)
			}
		})
	}
}
