package milter

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

// TestProxyIsDetected tests when a private address is taken for that of a proxy.
func TestProxyIsDetected(t *testing.T) {
	t.Parallel()
	const proxy, other = "172.17.0.1", "198.51.100.7"
	for _, c := range []struct {
		name     string
		sessions func(i int) string // address of session i of a minute each
		n        int
		want     bool
	}{
		{name: "all from the proxy", sessions: func(int) string { return proxy }, n: 20, want: true},
		{name: "too few", sessions: func(int) string { return proxy }, n: 19},
		{name: "half of them", sessions: func(i int) string { return []string{proxy, other}[i%2] }, n: 50},
		{name: "two thirds", sessions: func(i int) string { return []string{proxy, other, proxy}[i%3] }, n: 50, want: true},
		{name: "a public address", sessions: func(int) string { return other }, n: 50},
		{name: "loopback", sessions: func(int) string { return "127.0.0.1" }, n: 50},
		{name: "many private addresses", sessions: func(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }, n: 50},
		{name: "an IPv6 address", sessions: func(int) string { return "fd00::1" }, n: 50, want: true},
		{name: "mended in the next hour", sessions: func(i int) string { return []string{proxy, other}[i/60] }, n: 90},
		{name: "few sessions in the next hour", sessions: func(int) string { return proxy }, n: 70, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var d proxyDetector
			var logged []string
			for i := range c.n {
				if w := d.add(netip.MustParseAddr(c.sessions(i)), time.Unix(0, 0).Add(time.Duration(i)*time.Minute)); w != "" {
					logged = append(logged, w)
				}
			}
			if got := d.warning(); (got != "") != c.want {
				t.Errorf("got the warning %q, want one: %t", got, c.want)
			}
			if c.want && (len(logged) != 1 || !strings.Contains(logged[0], "smtpd_upstream_proxy_protocol")) {
				t.Errorf("logged %q, want one warning", logged)
			}
		})
	}
}

// TestUpstreamOfSessions tests that a server counts its sessions, but not those of trusted clients.
func TestUpstreamOfSessions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ client, want string }{
		{"172.17.0.1", "172.17.0.1"}, {"10.0.0.1", ""}, {"192.0.2.9", ""},
	} {
		addr, srv, _ := start(t, func(srv *Server) {
			p, err := checks.New(nil, checks.Options{
				Budget:  time.Second,
				Trusted: checks.Trusted{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			srv.Pipeline = func() *checks.Pipeline { return p }
		}, accept)
		for range proxySessions {
			d := dial(t, addr)
			d.must(d.Connect("unknown", netip.AddrPortFrom(netip.MustParseAddr(c.client), 4711), nil))
			d.rcpt("bob@example.org") // the MTA awaits no response to the connection
		}
		got := strings.Join(srv.Warnings(), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q", c.client, got)
		}
	}
}
