package faults

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	gomilter "github.com/emersion/go-milter"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// packet returns a packet of the milter protocol.
func packet(code byte, data string) string {
	return string(miltertest.Packet(gomilter.Code(code), []byte(data)))
}

// negotiation is the first packet of an MTA.
var negotiation = packet('O', string(miltertest.Offer(miltertest.AllActions, miltertest.AllProtocol)))

// garbage returns byte sequences that no MTA sends.
func garbage() map[string]string {
	big := strings.Repeat("A", 1<<20-1)
	connect := packet('C', "x\x004\x00\x19127.0.0.10\x00")
	all := map[string]string{
		"nothing":             "",
		"length zero":         "\x00\x00\x00\x00",
		"length of 4 GiB":     "\xff\xff\xff\xffO",
		"length beyond 1 MiB": "\x00\x10\x00\x01O" + big,
		"cut in the length":   "\x00\x00",
		"cut in the packet":   "\x00\x00\x00\x0dO\x00\x00",
		"no negotiation":      connect + packet('H', "x\x00"),
		"HTTP":                "GET / HTTP/1.1\r\nHost: mx.test\r\n\r\n",
		"short negotiation":   packet('O', "\x00\x00\x00\x06"),
		"empty negotiation":   packet('O', ""),
		"negotiation twice":   negotiation + negotiation + connect,
		"offer of nothing":    packet('O', strings.Repeat("\x00", 12)) + connect + packet('H', "x\x00"),
		"old version":         packet('O', "\x00\x00\x00\x01"+strings.Repeat("\x00", 8)) + connect,
		"unknown code":        negotiation + packet('?', "what") + packet('\x00', "\x00"),
		"reverse order": negotiation + packet('E', "") + packet('N', "") + packet('L', "a\x00b\x00") +
			packet('R', "<a>\x00") + packet('M', "<a>\x00") + packet('H', "x\x00") + connect,
		"end without message":  negotiation + connect + packet('E', ""),
		"recipients alone":     negotiation + connect + strings.Repeat(packet('R', "<alice@mx.test>\x00"), 50),
		"header alone":         negotiation + connect + strings.Repeat(packet('L', "a\x00b\x00"), 50) + packet('N', ""),
		"senders alone":        negotiation + connect + strings.Repeat(packet('M', "<a@sender.test>\x00"), 50),
		"connect again":        negotiation + connect + connect + packet('M', "<a@sender.test>\x00") + connect + packet('R', "<b@mx.test>\x00"),
		"connect of no family": negotiation + packet('C', "x\x00") + packet('C', "x\x00Z\x00\x00zzz\x00") + packet('C', "x\x004"),
		"connect of no address": negotiation + packet('C', "x\x004\x00\x19not an address\x00") +
			packet('H', "x\x00") + packet('M', "<>\x00") + packet('R', "<b@mx.test>\x00"),
		"macros of no event": negotiation + packet('D', "") + packet('D', "C") + packet('D', "Cj") + packet('D', "Z{x}\x00y\x00{z}") + connect,
		"1 MiB of macros":    negotiation + packet('D', "C"+strings.Repeat("{m}\x00v\x00", 130000)) + connect,
		"1 MiB of HELO":      negotiation + connect + packet('H', big) + packet('M', "<a@b>\x00") + packet('R', "<b@mx.test>\x00"),
		"1 MiB of sender":    negotiation + connect + packet('H', "x\x00") + packet('M', big) + packet('R', "<b@mx.test>\x00"),
		"1 MiB of recipient": negotiation + connect + packet('M', "<>\x00") + packet('R', big),
		"1 MiB of header": negotiation + connect + packet('M', "<>\x00") + packet('R', "<b@mx.test>\x00") +
			packet('L', "Date\x00"+big[:1<<20-10]+"\x00") + packet('L', big) + packet('N', ""),
		"unwanted body": negotiation + connect + packet('M', "<>\x00") + packet('B', big) + packet('E', big),
		"aborts":        negotiation + strings.Repeat(packet('A', ""), 1000) + connect + strings.Repeat(packet('A', "x"), 1000),
		"quit at once":  negotiation + packet('Q', "") + connect,
	}
	nul := strings.Repeat("\x00", 64)
	for _, code := range "CHMRLNEBADQOTUK" {
		all[fmt.Sprintf("empty %c", code)] = negotiation + packet(byte(code), "")
		all[fmt.Sprintf("NULs in %c", code)] = negotiation + packet(byte(code), nul) + packet('M', "<a@b>\x00") + packet(byte(code), nul)
	}
	return all
}

// TestGarbage sends garbage to the milter socket. The daemon must not end, and must leave no files or goroutines behind.
func TestGarbage(t *testing.T) {
	t.Parallel()
	dns := dnstest.Start(t, daemontest.World).Addr
	admin := miltertest.Loopback() + ":8893"
	d := daemontest.Start(t, daemontest.Config{
		DNS: dns, Profile: "strict", Actions: map[string]string{"first-contact": "off", "too-many-errors": "off"},
		Extra: fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", admin),
	})
	goroutines := func() float64 { return daemontest.Metric(t, "http://"+admin+"/metrics", "go_goroutines") }
	mustWork := func(t *testing.T) {
		t.Helper()
		if outcome := d.Play(t, daemontest.GoodSession()); outcome.Event != 0 {
			t.Fatalf("good mail refused at %c: %s\n%s", outcome.Event, outcome.Response.Raw, d.Output())
		}
	}
	mustWork(t)
	goroutinesBefore, filesBefore := goroutines(), openFiles(t, d)
	for name, raw := range garbage() {
		t.Run(name, func(t *testing.T) {
			sendRaw(t, d, raw)
			mustWork(t)
		})
	}
	t.Run("slow loris", func(t *testing.T) {
		const many = 200
		for i := range many {
			c := dialRaw(t, d)
			_, _ = c.Write([]byte(negotiation[:i%len(negotiation)]))
		}
		mustWork(t)
	})
	awaitFiles(t, d, filesBefore)
	d.Entries(t, 0)  // reports lines that cannot be parsed
	const spare = 10 // for what the daemon does by itself
	miltertest.Eventually(t, "the goroutines of the connections have ended", func() bool { return goroutines() <= goroutinesBefore+spare })
}

// sendRaw sends bytes, reads until the daemon closes the connection, and closes it. The daemon may close it at any time.
func sendRaw(t *testing.T, d *daemontest.Daemon, raw string) {
	t.Helper()
	c := dialRaw(t, d)
	_, _ = c.Write([]byte(raw))
	if half, ok := c.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	var got bytes.Buffer
	_, _ = got.ReadFrom(c)
	_ = c.Close()
}

// dialRaw connects to the milter socket of a daemon, without negotiating, until the end of the test.
func dialRaw(t *testing.T, d *daemontest.Daemon) net.Conn {
	t.Helper()
	network, addr := miltertest.SplitListener(d.Listener)
	c, err := net.DialTimeout(network, addr, miltertest.WaitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// hostile are values that would break a reply, a log line or a format string.
var hostile = map[string]string{
	"CRLF":       "x\r\n250 2.0.0 fine",
	"bare LF":    "x\n250 fine",
	"bare CR":    "x\rfine",
	"log fields": `x" level=fatal msg="forged`,
	"percent":    "100%s%n%%",
	"8-bit":      "\xff\xfe\x80x\xc3\x28",
	"escape":     "x\x1b[31mred\x07",
	"long":       strings.Repeat("long", 200),
	"spaces":     " \t x \t ",
	"braces":     "{client}{helo}${x}",
	"link":       "https://evil.test/?r=x;",
}

// TestHostile sends such values in every place of a session. Each is refused by one valid reply and one valid log line.
func TestHostile(t *testing.T) {
	t.Parallel()
	dns := dnstest.Start(t, daemontest.World).Addr
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "strict", Actions: map[string]string{"first-contact": "off", "too-many-errors": "off"}})
	places := map[string]func(*miltertest.Session, string){
		"helo":        func(s *miltertest.Session, v string) { s.Helo = []string{v} },
		"sender":      func(s *miltertest.Session, v string) { s.MailFrom = v },
		"recipient":   func(s *miltertest.Session, v string) { s.Client, s.Rcpts = "127.0.0.13", []string{v} },
		"client name": func(s *miltertest.Session, v string) { s.Client, s.ClientName = "127.0.0.13", v },
		"Date":        func(s *miltertest.Session, v string) { s.Header = daemontest.GoodHeader(daemontest.Field{"Date", v}) },
		"Message-ID": func(s *miltertest.Session, v string) {
			s.Header = daemontest.GoodHeader(daemontest.Field{"Message-ID", v})
		},
		"From":       func(s *miltertest.Session, v string) { s.Header = daemontest.GoodHeader(daemontest.Field{"From", v}) },
		"field name": func(s *miltertest.Session, v string) { s.Header = daemontest.GoodHeader(daemontest.Field{v, "x"}) },
	}
	for place, put := range places {
		for name, value := range hostile {
			t.Run(place+"/"+name, func(t *testing.T) {
				mark := d.Mark()
				outcome := d.Play(t, daemontest.GoodSession(func(s *miltertest.Session) { put(s, value) }))
				if outcome.Event == 0 {
					if place != "field name" {
						t.Error("passed")
					}
					return
				}
				daemontest.ReadReply(t, outcome.Response)
				d.AwaitEntry(t, mark, daemontest.Entry{"msg": "reject"})
				refused := 0
				for _, e := range d.Entries(t, mark) {
					if e["msg"] == "reject" {
						refused++
					}
					if e["level"] == "fatal" || e["msg"] == "forged" {
						t.Errorf("forged: %v", e)
					}
				}
				if refused != 1 {
					t.Errorf("%d log lines for one refusal", refused)
				}
			})
		}
	}
}

// openFiles returns the number of a daemon's file descriptors.
func openFiles(t *testing.T, d *daemontest.Daemon) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// awaitFiles waits until a daemon has no more file descriptors than before, except for some sockets to name servers, which it
// keeps open.
func awaitFiles(t *testing.T, d *daemontest.Daemon, before int) {
	t.Helper()
	const spare = 8
	miltertest.Eventually(t, fmt.Sprintf("milterd has at most %d files open", before+spare), func() bool {
		return openFiles(t, d) <= before+spare
	})
}
