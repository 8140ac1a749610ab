package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/milter/mta"
)

// BenchmarkMessages is a whole SMTP session with one message through a unix socket, from many connections at once, with
// every check of the profile strict: hot, when the DNS is known, beside go-milter's own server that does nothing; and
// cold, when every client is new and the DNS 20 ms away.
func BenchmarkMessages(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		ln := listenUnix(b)
		srv := &gomilter.Server{NewMilter: func() gomilter.Milter { return gomilter.NoOpMilter{} }}
		go srv.Serve(ln)
		defer srv.Close()
		messages(b, ln.Addr(), 32, func(int) int { return 1 })
	})
	b.Run("hot", func(b *testing.B) {
		d := benchDaemon(b, 100)
		messages(b, d, 32, func(i int) int { return i % 100 })
	})
	b.Run("cold", func(b *testing.B) {
		const hosts = 20_000
		d := benchDaemonLatency(b, hosts, 20*time.Millisecond)
		messages(b, d, 64, func(i int) int { return i % hosts })
	})
}

func listenUnix(b *testing.B) net.Listener {
	b.Helper()
	ln, err := net.Listen("unix", b.TempDir()+"/milter.sock")
	if err != nil {
		b.Fatal(err)
	}
	return ln
}

// hostZone is a DNS of good mail hosts 198.51.x.y.
func hostZone(hosts int) string {
	var z strings.Builder
	for i := range hosts {
		fmt.Fprintf(&z, "%d.%d.51.198.in-addr.arpa. PTR mail.d%d.example.\n", i%256, i/256, i)
		fmt.Fprintf(&z, "mail.d%d.example. A 198.51.%d.%d\n", i, i/256, i%256)
		fmt.Fprintf(&z, "d%d.example. MX 10 mx.example.\n", i)
		fmt.Fprintf(&z, "d%d.example. TXT \"v=spf1 a:mail.d%d.example -all\"\n", i, i)
	}
	z.WriteString("mx.example. A 192.0.0.9\n")
	return z.String()
}

func benchDaemon(b *testing.B, hosts int) net.Addr { return benchDaemonLatency(b, hosts, 0) }

func benchDaemonLatency(b *testing.B, hosts int, latency time.Duration) net.Addr {
	b.Helper()
	ln := listenUnix(b)
	d := startDaemonOn(b, ln, []byte("profile: strict\nactions: {first-contact: off}\nhostname: mx.example.org\nlog: {level: warn}\n"), hostZone(hosts), true)
	d.dns.Latency(latency)
	b.Cleanup(d.stop)
	return ln.Addr()
}

// messages sends b.N messages over parallel connections, one message each, and reports messages per second and the
// median time of a message.
func messages(b *testing.B, addr net.Addr, parallel int, host func(i int) int) {
	b.Helper()
	b.ReportAllocs()
	date := time.Now().Format(time.RFC1123Z)
	body := bytes.Repeat([]byte("x"), 4096)
	var next atomic.Int64
	var wg sync.WaitGroup
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	for range parallel {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				began := time.Now()
				if err := message(addr, host(i), date, body); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
}

// message is one session as Postfix has it: macros before every event, 20 header fields.
func message(addr net.Addr, host int, date string, body []byte) error {
	m, err := mta.Dial(addr.Network(), addr.String(), 20*time.Second)
	if err != nil {
		return err
	}
	defer m.Quit()
	name := fmt.Sprintf("mail.d%d.example", host)
	client := netip.AddrFrom4([4]byte{198, 51, byte(host / 256), byte(host)})
	queue := map[string]string{"i": "4dDk2p1xQz"}
	var refused []string
	check := func(r mta.Response, e error) {
		if err == nil {
			err = e
		}
		refused = append(refused, r.Lines...)
	}
	check(m.Connect(name, netip.AddrPortFrom(client, 4711), map[string]string{"j": "mx.example.org", "{client_addr}": client.String()}))
	check(m.Helo(name, map[string]string{}))
	check(m.Mail(fmt.Sprintf("<user@d%d.example>", host), queue))
	check(m.Rcpt("<user@example.org>", queue))
	field := func(name, value string) {
		m.Macros(gomilter.CodeHeader, queue)
		check(m.Header(name, value))
	}
	field("Date", " "+date)
	field("From", " Alice <alice@d.example>")
	field("To", " user@example.org")
	field("Message-ID", " <1@d.example>")
	for range 16 {
		field("X-Other", " a header field of usual length, more or less, that nobody looks at")
	}
	check(m.EndOfHeader(queue))
	check(m.Body(body))
	check(m.EndOfMessage(queue))
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("refused: %q", refused)
	}
	return err
}
