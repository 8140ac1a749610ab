package main_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// packet frames data as the milter protocol does.
func packet(code byte, data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))) + string(code) + data
}

// negotiation is what every MTA begins with.
var negotiation = packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff")

// garbage is what no MTA sends.
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
		"version of old":      packet('O', "\x00\x00\x00\x01"+strings.Repeat("\x00", 8)) + connect,
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
		"macros for nobody":  negotiation + packet('D', "") + packet('D', "C") + packet('D', "Cj") + packet('D', "Z{x}\x00y\x00{z}") + connect,
		"1 MiB of macros":    negotiation + packet('D', "C"+strings.Repeat("{m}\x00v\x00", 130000)) + connect,
		"1 MiB of HELO":      negotiation + connect + packet('H', big) + packet('M', "<a@b>\x00") + packet('R', "<b@mx.test>\x00"),
		"1 MiB of sender":    negotiation + connect + packet('H', "x\x00") + packet('M', big) + packet('R', "<b@mx.test>\x00"),
		"1 MiB of recipient": negotiation + connect + packet('M', "<>\x00") + packet('R', big),
		"1 MiB of header": negotiation + connect + packet('M', "<>\x00") + packet('R', "<b@mx.test>\x00") +
			packet('L', "Date\x00"+big[:1<<20-10]+"\x00") + packet('L', big) + packet('N', ""),
		"body unasked": negotiation + connect + packet('M', "<>\x00") + packet('B', big) + packet('E', big),
		"aborts":       negotiation + strings.Repeat(packet('A', ""), 1000) + connect + strings.Repeat(packet('A', "x"), 1000),
		"quit at once": negotiation + packet('Q', "") + connect,
	}
	nul := strings.Repeat("\x00", 64)
	for _, code := range "CHMRLNEBADQOTUK" {
		all[fmt.Sprintf("empty %c", code)] = negotiation + packet(byte(code), "")
		all[fmt.Sprintf("NULs in %c", code)] = negotiation + packet(byte(code), nul) + packet('M', "<a@b>\x00") + packet(byte(code), nul)
	}
	return all
}

// TestGarbage throws at the milter socket what comes from no MTA. The daemon neither ends, nor keeps anything of it.
func TestGarbage(t *testing.T) {
	dns := dnstest.Start(t, daemontest.World).Addr
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "strict", Actions: map[string]string{"first-contact": "off", "too-many-errors": "off"}})
	sane := func(t *testing.T) {
		t.Helper()
		if step := d.Play(t, daemontest.GoodSession()); step.Event != 0 {
			t.Fatalf("good mail refused at %c: %s\n%s", step.Event, step.Response.Raw, d.Output())
		}
	}
	sane(t)
	before := d.OpenFiles(t)
	for name, raw := range garbage() {
		t.Run(name, func(t *testing.T) {
			throw(t, d, raw)
			sane(t)
		})
	}
	t.Run("slow loris", func(t *testing.T) {
		const many = 200
		for i := range many {
			c := dialRaw(t, d)
			_, _ = c.Write([]byte(negotiation[:i%len(negotiation)]))
		}
		sane(t)
	})
	d.AwaitFiles(t, before)
	d.Entries(t, 0) // each line can be read
	if n := goroutines(t, d); n > fewGoroutines {
		t.Errorf("%d goroutines are left; what the daemon said:\n%.8000s", n, d.Output())
	}
}

// throw sends bytes and hangs up, having read what came back. The daemon may hang up first.
func throw(t *testing.T, d *daemontest.Daemon, raw string) {
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

// fewGoroutines is more than an idle daemon has, and fewer than the connections that the test has made.
const fewGoroutines = 60

// goroutines ends the daemon and counts what it had: SIGQUIT makes the Go runtime write all stacks.
func goroutines(t *testing.T, d *daemontest.Daemon) int {
	t.Helper()
	d.Signal(t, syscall.SIGQUIT)
	miltertest.Eventually(t, "milterd ends after SIGQUIT", func() bool { return d.Ended() })
	return strings.Count(d.Output(), "\ngoroutine ")
}

// hostile are bytes that would break a reply, a log line or a format.
var hostile = map[string]string{
	"CRLF":       "x\r\n250 2.0.0 fine",
	"bare LF":    "x\n250 fine",
	"bare CR":    "x\rfine",
	"log fields": `x" level=fatal msg="forged`,
	"percent":    "100%s%n%%",
	"octets":     "\xff\xfe\x80x\xc3\x28",
	"escape":     "x\x1b[31mred\x07",
	"long":       strings.Repeat("long", 200),
	"spaces":     " \t x \t ",
	"braces":     "{client}{helo}${x}",
	"link":       "https://evil.test/?r=x;",
}

// TestHostile has a client say such bytes in every place. Each is answered by one clean reply and one clean line.
func TestHostile(t *testing.T) {
	dns := dnstest.Start(t, daemontest.World).Addr
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "strict", Actions: map[string]string{"first-contact": "off", "too-many-errors": "off"}})
	places := map[string]func(*miltertest.Session, string){
		"helo":        func(d *miltertest.Session, s string) { d.Helo = []string{s} },
		"sender":      func(d *miltertest.Session, s string) { d.MailFrom = s },
		"recipient":   func(d *miltertest.Session, s string) { d.Client, d.Rcpts = "127.0.0.13", []string{s} },
		"client name": func(d *miltertest.Session, s string) { d.Client, d.ClientName = "127.0.0.13", s },
		"Date":        func(d *miltertest.Session, s string) { d.Header = daemontest.GoodHeader(daemontest.Field{"Date", s}) },
		"Message-ID": func(d *miltertest.Session, s string) {
			d.Header = daemontest.GoodHeader(daemontest.Field{"Message-ID", s})
		},
		"From":       func(d *miltertest.Session, s string) { d.Header = daemontest.GoodHeader(daemontest.Field{"From", s}) },
		"field name": func(d *miltertest.Session, s string) { d.Header = daemontest.GoodHeader(daemontest.Field{s, "x"}) },
	}
	for place, put := range places {
		for name, bytes := range hostile {
			t.Run(place+"/"+name, func(t *testing.T) {
				mark := d.Mark()
				step := d.Play(t, daemontest.GoodSession(func(d *miltertest.Session) { put(d, bytes) }))
				if step.Event == 0 {
					if place != "field name" {
						t.Error("passed")
					}
					return
				}
				daemontest.ReadReply(t, step.Response)
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
