package greylist_test

import (
	"testing"

	"milterd/checks/greylist"
)

func TestSendersThatNeverRetry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client, from string
		set                []string
		held               bool
	}{
		{name: "a shipped domain by the client's name", client: "192.0.2.30", from: "a@example.net"},
		{name: "an unconfirmed name", client: "192.0.2.31", from: "a@example.net", held: true},
		{name: "a sender's domain without SPF", client: "192.0.2.99", from: "a@amazonses.com", held: true},
		{name: "a sender's domain with SPF", client: "192.0.2.32", from: "a@outlook.example.com", set: []string{".example.com"}},
		{name: "an SPF pass that is too wide", client: "192.0.2.32", from: "a@wide.example.com", set: []string{".example.com"}, held: true},
		{name: "a host", client: "192.0.2.10", from: "a@example.net", set: []string{"MAIL1.example.net"}},
		{name: "another host", client: "198.51.100.10", from: "a@example.net", set: []string{"mail1.example.net"}, held: true},
		{name: "a host name does not match names below it", client: "198.51.100.10", from: "a@example.net", set: []string{"example.net"}, held: true},
		{name: "a domain", client: "198.51.100.10", from: "a@example.net", set: []string{".example.net"}},
		{name: "a network", client: "192.0.2.99", from: "a@example.net", set: []string{"192.0.2.64/26"}},
		{name: "a private network", client: "10.1.2.3", from: "a@example.net", set: []string{"10.0.0.0/8"}},
		{name: "an address", client: "2001:db8::9", from: "a@example.net", set: []string{"2001:db8::9"}},
		{name: "another address", client: "2001:db8::8", from: "a@example.net", set: []string{"2001:db8::9"}, held: true},
		{name: "a bounce", client: "192.0.2.30", from: "<>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			w.change = func(s *greylist.Settings) { s.NoRetry = c.set }
			wantHeld(t, "first", w.send(w.daemon(t), mail{client: c.client, from: c.from, to: []string{"u@example.org"}}), c.held)
		})
	}
}
