package resolver

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/milter/resolver/dnstest"
)

// echoServer answers each query with NXDOMAIN at the lowest possible cost, so that mostly the client is measured.
func echoServer(b *testing.B) string {
	b.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	udp := conn.(*net.UDPConn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 512)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			packet[2], packet[3] = 0x81, 0x83 // QR, RD, RA, NXDOMAIN
			udp.WriteToUDPAddrPort(packet[:n], from)
		}
	}()
	b.Cleanup(func() { udp.Close(); <-done })
	return conn.LocalAddr().String()
}

// reportCPU reports the CPU time of an operation, including that of the server.
func reportCPU(b *testing.B) {
	var before syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.Cleanup(func() {
		var after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
	})
}

// BenchmarkCold asks for a new name each time, 32 names in parallel: with Lookup, with exchange alone (no cache, no
// flights), and with dns.Client, which opens a socket for each query.
func BenchmarkCold(b *testing.B) {
	addr := echoServer(b)
	var n atomic.Int64
	run := func(b *testing.B, ask func(name string) error) {
		b.ReportAllocs()
		b.SetParallelism(16)
		reportCPU(b)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := ask(strconv.FormatInt(n.Add(1), 10) + ".example.org."); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("lookup", func(b *testing.B) {
		r := start(b, Config{Servers: []string{addr}})
		run(b, func(name string) error {
			_, err := r.Lookup(context.Background(), checks.Question{Name: name, Type: dns.TypeA})
			return err
		})
	})
	b.Run("query/shared-sockets", func(b *testing.B) {
		r := start(b, Config{Servers: []string{addr}})
		run(b, func(name string) error {
			_, err := r.exchange(context.Background(), checks.Question{Name: name, Type: dns.TypeA})
			return err
		})
	})
	b.Run("query/socket-each", func(b *testing.B) {
		client := dns.Client{Timeout: 2 * time.Second, UDPSize: 1232}
		run(b, func(name string) error {
			m := new(dns.Msg).SetQuestion(name, dns.TypeA).SetEdns0(1232, false)
			_, _, err := client.Exchange(m, addr)
			return err
		})
	})
}

// BenchmarkWarm asks for a cached answer.
func BenchmarkWarm(b *testing.B) {
	s, err := dnstest.Listen("127.0.0.1:0", "example.org. A 192.0.2.1\nexample.org. A 192.0.2.2")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	r := start(b, Config{Servers: []string{s.Addr}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a, err := r.Lookup(context.Background(), question); err != nil || len(a.Records) != 2 {
				b.Error(a, err)
			}
		}
	})
	if got := s.Counts().UDP; got != 1 {
		b.Errorf("%d queries", got)
	}
}
