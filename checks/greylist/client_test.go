package greylist_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/greylist"
)

func TestClientIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		first, second mail
		same          bool
	}{
		{"hosts of one organisational domain", mail{client: "192.0.2.10"}, mail{client: "198.51.100.10"}, true},
		{"a host with a name and one without", mail{client: "192.0.2.10"}, mail{client: "192.0.2.11"}, false},
		{"neighbours in a /24", mail{client: "192.0.2.98"}, mail{client: "192.0.2.99"}, true},
		{"two /24", mail{client: "192.0.2.99"}, mail{client: "198.51.100.99"}, false},
		{"neighbours in a /64", mail{client: "2001:db8::1:1"}, mail{client: "2001:db8::2:2"}, true},
		{"two /64", mail{client: "2001:db8:0:1::1"}, mail{client: "2001:db8:0:2::1"}, false},
		{"neighbours whose names have their addresses", mail{client: "192.0.2.20"}, mail{client: "192.0.2.21"}, false},
		{"the same host, whose name has its address", mail{client: "192.0.2.20"}, mail{client: "192.0.2.20"}, true},
		{"a pool with SPF", mail{client: "203.0.113.7", from: "a@spf.example.com"}, mail{client: "198.51.100.70", from: "a@spf.example.com"}, true},
		{"a pool with SPF for bounces", mail{client: "203.0.113.7", helo: "spf.example.com", from: "<>"}, mail{client: "198.51.100.70", helo: "spf.example.com", from: "<>"}, true},
		{"an SPF record that is too wide", mail{client: "203.0.113.7", from: "a@wide.example.com"}, mail{client: "198.51.100.70", from: "a@wide.example.com"}, false},
		{"a new sender for each message", mail{client: "192.0.2.99", from: "prvs=1234abcdef=a@x.example"}, mail{client: "192.0.2.99", from: "prvs=2345abcdef=a@X.example"}, true},
		{"another sender", mail{client: "192.0.2.99", from: "a@x.example"}, mail{client: "192.0.2.99", from: "b@x.example"}, false},
		{"another recipient", mail{client: "192.0.2.99", to: []string{"u@example.org"}}, mail{client: "192.0.2.99", to: []string{"v@example.org"}}, false},
		{"a recipient in capitals", mail{client: "192.0.2.99", to: []string{"u@example.org"}}, mail{client: "192.0.2.99", to: []string{"U@EXAMPLE.org"}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			for _, m := range []*mail{&c.first, &c.second} {
				if m.from == "" {
					m.from = "a@example.net"
				}
				if m.to == nil {
					m.to = []string{"u@example.org"}
				}
			}
			wantHeld(t, "first", w.send(p, c.first), true)
			w.now = w.now.Add(4 * time.Minute)
			wantHeld(t, "second", w.send(p, c.second), !c.same)
		})
	}
}

func TestAutoAllow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		client string
		from   string
		other  string // another client that is not allowed
		near   string // another client that is allowed
	}{
		{name: "organisational domain and /24", client: "198.51.100.10", other: "192.0.2.10", near: "198.51.100.11"},
		{name: "a network", client: "192.0.2.99", other: "198.51.100.99", near: "192.0.2.98"},
		{name: "an address that is in its name", client: "192.0.2.20", other: "192.0.2.21", near: "192.0.2.20"},
		{name: "a domain with SPF", client: "203.0.113.7", from: "@spf.example.com", other: "198.51.100.70", near: "203.0.113.8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			p := w.daemon(t)
			if c.from == "" {
				c.from = "@example.net"
			}
			number := 0
			try := func(client string) bool { // a new triplet each time
				number++
				return w.send(p, mail{client: client, from: string(rune('a'+number/26)) + string(rune('a'+number%26)) + c.from, to: []string{"u@example.org"}}).held()
			}
			pass := func() { // two messages, half an hour apart
				m := mail{client: c.client, from: "pass" + c.from, to: []string{fmt.Sprintf("u%d@example.org", number)}}
				wantHeld(t, "first", w.send(p, m), true)
				w.now = w.now.Add(30 * time.Minute)
				wantHeld(t, "retry", w.send(p, m), false)
				wantHeld(t, "again", w.send(p, m), false)
				number++
			}
			for i := range 9 { // at 0:30, 1:00, 1:30 ... the 5th count is the 9th pass
				pass()
				if held := try(c.client); held != (i < 8) {
					t.Fatalf("after %d passes: held %v", i+1, held)
				}
			}
			if try(c.near) {
				t.Errorf("%s is held", c.near)
			}
			if !try(c.other) {
				t.Errorf("%s is not held", c.other)
			}
			w.now = w.now.Add(34 * 24 * time.Hour)
			if try(c.client) {
				t.Error("held after 34 d")
			}
			w.now = w.now.Add(35 * 24 * time.Hour)
			if !try(c.client) {
				t.Error("not held after 35 d without use")
			}
		})
	}
}

func TestAutoAllowOff(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	w.change = func(c *greylist.Settings) { c.AutoAllow = 0 }
	p := w.daemon(t)
	for i := range 20 {
		m := with(func(m *mail) { m.to = []string{fmt.Sprintf("u%d@example.org", i)} })
		wantHeld(t, "first", w.send(p, m), true)
		w.now = w.now.Add(2 * time.Hour)
		wantHeld(t, "retry", w.send(p, m), false)
	}
}

func TestUnknownClientIsHeld(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	c := checktest.Build[greylist.Settings](t, greylist.Info, w.env, nil)
	for _, want := range []bool{true, false} {
		r := checktest.Session{MailFrom: "a@example.net", Time: w.now}.Request(t, checks.Verdict{Reason: suspicious})
		r.Stage = checks.RcptTo
		vs, err := c.Check(context.Background(), r)
		if len(vs) != 1 || (vs[0].Reason != nil) != want || err != nil {
			t.Errorf("got %+v, %v, want held: %v", vs, err, want)
		}
		if got := vs[0].Detail["why"]; want && got != "the client has no reverse DNS name" {
			t.Errorf("the reply says: %q", got)
		}
		w.now = w.now.Add(3 * time.Minute)
	}
}
