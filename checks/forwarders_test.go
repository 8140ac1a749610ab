package checks_test

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"milterd/checks"
)

// TestForwarders shows that mail from a forwarder of the recipient is exempt from checks and reasons with NotForwarded, and from no
// others.
func TestForwarders(t *testing.T) {
	t.Parallel()
	origin, content := newFake("origin", atConnect, reason("a")), newFake("content", atConnect, reason("b"))
	origin.info.NotForwarded = true
	own := reason("c")
	own.NotForwarded = true
	content.info.Reasons = append(content.info.Reasons, own)
	content.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
		return []checks.Verdict{{Reason: own}, {Reason: content.info.Reasons[0]}}, nil
	}
	reject := map[string]checks.Action{"a": checks.Reject, "b": checks.Watch, "c": checks.Watch}
	p := pipeline(t, reject, func(o *checks.Options) {
		o.Policies = []checks.Policy{
			{Recipients: recipients(t, "net"), Actions: reject, Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}},
			{Recipients: recipients(t, "name"), Actions: reject, Forwarders: checks.Forwarders{Names: []string{"lists.example.net"}}},
		}
		o.ClientNamed = func(_ context.Context, s *checks.Request, match func(string) bool) (bool, error) {
			switch s.Client.String() {
			case "192.0.2.9":
				return match("a.lists.example.net"), nil
			case "198.51.100.1":
				return match("notlists.example.net"), nil
			case "198.51.100.2":
				return false, errors.New("no answer")
			case "198.51.100.3":
				panic("bug")
			}
			return false, nil
		}
	}, origin, content)
	for _, c := range []struct {
		name, client, rcpt string
		code               int // 0: it passes
	}{
		{"by its network", "192.0.2.9", "net@example.org", 0},
		{"outside the network", "198.51.100.1", "net@example.org", 550},
		{"by a name below", "192.0.2.9", "name@example.org", 0},
		{"a name that only ends like it", "198.51.100.1", "name@example.org", 550},
		{"no name", "203.0.113.1", "name@example.org", 550},
		{"its names cannot be looked up", "198.51.100.2", "name@example.org", 450},
		{"the look-up panics", "198.51.100.3", "name@example.org", 450},
		{"names are not looked up", "198.51.100.2", "else@example.org", 550},
		{"another recipient", "192.0.2.9", "else@example.org", 550},
	} {
		t.Run(c.name, func(t *testing.T) {
			talk := begin(p, c.client)
			talk.mail("a@example.com")
			d := talk.rcpt(c.rcpt)
			switch {
			case (d.Reply != nil) != (c.code > 0) || d.Reply != nil && d.Reply.Code != c.code:
				t.Errorf("reply %v", d.Reply)
			case c.code == 0 && (len(d.Outcomes) != 1 || d.Outcomes[0].Reason.ID != "b"):
				t.Errorf("the other check said %v", d.Outcomes)
			case talk.run.Request().Forwarded(0) != (c.code == 0):
				t.Error("not noted whether it is forwarded")
			}
		})
	}
}

// TestForwardedHeader shows that the header section is judged as that of forwarded mail if the client is a forwarder of the accepted
// recipient, also if the last recipient was refused.
func TestForwardedHeader(t *testing.T) {
	t.Parallel()
	h, bad := reason("h"), newFake("rcpt", []checks.Stage{checks.RcptTo}, reason("bad"))
	h.NotForwarded = true
	bad.say = func(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
		if r.Rcpt().Local == "bad" {
			return []checks.Verdict{{Reason: bad.info.Reasons[0]}}, nil
		}
		return nil, nil
	}
	forwarding := checks.Policy{
		Recipients: recipients(t, "u"), Actions: map[string]checks.Action{"h": checks.Reject, "bad": checks.Reject},
		Forwarders: checks.Forwarders{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	}
	p := pipeline(t, nil, func(o *checks.Options) { o.Policies = []checks.Policy{forwarding} },
		bad, newFake("header", []checks.Stage{checks.EndOfHeader}, h))
	for client, header := range map[string]string{"192.0.2.9": "", "198.51.100.1": "550 5.7.1 h"} {
		talk := begin(p, client)
		talk.mail("a@example.net")
		want(t, client+": accepted", code(talk.rcpt("u@example.org")), "")
		want(t, client+": refused", code(talk.rcpt("bad@example.org")), "550 5.7.1 bad")
		want(t, client+": header", code(talk.message()), header)
	}
}

func TestForwardersAdd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, entry string
		networks    []string
		names       []string
	}{
		{name: "an address", entry: "192.0.2.1", networks: []string{"192.0.2.1/32"}},
		{name: "a network", entry: "2001:db8::/32", networks: []string{"2001:db8::/32"}},
		{name: "a name", entry: "Lists.Example.NET.", names: []string{"lists.example.net"}},
		{name: "a name with a dot in front", entry: ".lists.example.net", names: []string{"lists.example.net"}},
		{name: "a name with U-labels", entry: "bücher.example", names: []string{"xn--bcher-kva.example"}},
		{name: "bits after the network part", entry: "192.0.2.1/24"},
		{name: "one label", entry: "localhost"},
		{name: "a mailbox", entry: "a@example.net"},
		{name: "nothing", entry: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var want checks.Forwarders
			for _, n := range c.networks {
				want.Networks = append(want.Networks, netip.MustParsePrefix(n))
			}
			want.Names = c.names
			var got checks.Forwarders
			err := got.Add(c.entry)
			if !reflect.DeepEqual(got, want) || (err == nil) != (len(c.networks)+len(c.names) > 0) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
