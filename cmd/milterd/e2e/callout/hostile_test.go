package callout

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/resolver/dnstest"
)

// countingHost is a mail host without users at all addresses of the machine, which counts connections.
type countingHost struct {
	port        int
	connections atomic.Int64
}

func startCountingHost(t *testing.T) *countingHost {
	t.Helper()
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	h := &countingHost{port: ln.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			h.connections.Add(1)
			go daemontest.ServeMailHost(conn)
		}
	}()
	return h
}

// TestManySenders tests that a mail host receives few connections, however many senders of its domains send mail at once.
func TestManySenders(t *testing.T) {
	zone := "mx.provider.test. A 127.0.0.51\n"
	for i := range 20 {
		zone += fmt.Sprintf("d%d.test. MX 10 mx.provider.test.\n", i)
	}
	for _, c := range []struct {
		name        string
		mails       int
		from        func(i int) string
		connections int64
	}{
		{"a thousand senders of a provider", 1000, func(i int) string { return fmt.Sprintf("user%d@d%d.test", i, i%20) }, 10},
		{"two hundred messages of a sender", 200, func(int) string { return "user@d1.test" }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			host := startCountingHost(t)
			actions := daemontest.OnlyReason("callout-rejected", "reject")
			maps.Copy(actions, map[string]string{"callout-unreachable": "reject", "callout-pending": "tempfail"})
			d := daemontest.Start(t, daemontest.Config{
				DNS: dnstest.Start(t, zone).Addr, Profile: "strict", Actions: actions,
				Extra: fmt.Sprintf("max_connections: 2000\nchecks: {callout: {port: %d, allow_private: true, per_mx: 10/h}}\n", host.port),
			})
			var mails sync.WaitGroup
			var refused atomic.Int64
			for i := range c.mails {
				mails.Go(func() {
					conn, err := d.Connect("192.0.2.1")
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					reply, err := conn.Envelope(c.from(i), "alice@mx.test")
					switch {
					case err != nil:
						t.Error(err)
					case strings.HasPrefix(reply, "550 5.1.7"):
						refused.Add(1)
					case reply != "" && !strings.HasPrefix(reply, "450 4.1.7 a mail host"):
						t.Errorf("got the reply %q", reply)
					}
				})
			}
			mails.Wait()
			if refused.Load() == 0 {
				t.Error("no sender was refused")
			}
			d.Stop(t)
			if n := host.connections.Load(); n != c.connections {
				t.Errorf("%d connections, want %d", n, c.connections)
			}
		})
	}
}

// TestHostileZones tests that no callout is made to addresses that a hostile zone must not choose: those of this machine
// and its networks, and addresses of no host.
func TestHostileZones(t *testing.T) {
	t.Parallel()
	private := []string{"127.0.0.1", "127.8.8.8", "::1", "10.0.0.1"}
	never := []string{"0.0.0.0", "::", "::ffff:127.0.0.1", "224.0.0.1"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p := netip.MustParsePrefix(a.String()); !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			never = append(never, p.Addr().String())
		}
	}
	server, host := dnstest.Start(t, hostileZone(append(private, never...))), startCountingHost(t)
	for _, allow := range []bool{false, true} {
		t.Run(fmt.Sprintf("allow_private %t", allow), func(t *testing.T) {
			actions := daemontest.OnlyReason("callout-unreachable", "tempfail")
			d := daemontest.Start(t, daemontest.Config{
				DNS: server.Addr, Profile: "strict", Actions: actions,
				Extra: fmt.Sprintf("checks: {callout: {port: %d, allow_private: %t}}\n", host.port, allow),
			})
			refused := never
			if !allow {
				refused = append(private, never...)
			}
			for _, addr := range refused {
				outcome := d.Play(t, daemontest.SessionFrom("a@"+hostileDomain(addr)))
				if _, text := daemontest.ReadReply(t, outcome.Response); !strings.Contains(text, "mx."+hostileDomain(addr)+" at connect: has no address that may be asked") {
					t.Errorf("%s: got %q", addr, text)
				}
			}
			outcome := d.Play(t, daemontest.SessionFrom("a@thousand.test"))
			if _, text := daemontest.ReadReply(t, outcome.Response); !strings.Contains(text, "the domain names more than 10 mail hosts") {
				t.Errorf("a thousand mail hosts: got %q", text)
			}
			if n := host.connections.Load(); n != 0 {
				t.Errorf("%d connections", n)
			}
			if allow { // the host does count
				d.Play(t, daemontest.SessionFrom("a@"+hostileDomain(private[0])))
				if host.connections.Load() != 1 {
					t.Error("the mail host did not count a connection")
				}
			}
		})
	}
}

// hostileDomain returns the domain whose mail host has an address.
func hostileDomain(addr string) string {
	return "d" + strings.NewReplacer(".", "-", ":", "-").Replace(addr) + "x.test"
}

// hostileZone is a zone with a domain for each address, and the domain thousand.test with a thousand mail hosts.
func hostileZone(addrs []string) string {
	var zone strings.Builder
	for _, addr := range addrs {
		kind := "A"
		if strings.Contains(addr, ":") {
			kind = "AAAA"
		}
		fmt.Fprintf(&zone, "%s. MX 10 mx.%[1]s.\nmx.%[1]s. %s %s\n", hostileDomain(addr), kind, addr)
	}
	for i := range 1000 {
		fmt.Fprintf(&zone, "thousand.test. MX 10 mx%d.thousand.test.\nmx%d.thousand.test. A 127.0.0.1\n", i, i)
	}
	return zone.String()
}
