package store

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store"
	"milterd/milter/store/redistest"
)

// BenchmarkDaemons measures one, two and four daemons with a common Redis under the same load. Half of the messages are
// refused and counted for one client, half are greylisted; the counts must be exact. It reports the throughput of the
// machine, which also produces the load, and the processor time of a message in all daemons and in Redis.
func BenchmarkDaemons(b *testing.B) {
	for _, n := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(n), func(b *testing.B) { benchDaemons(b, n) })
	}
}

func benchDaemons(b *testing.B, n int) {
	redis := redistest.Start(b)
	s, err := store.Open(store.Config{Driver: "redis", URL: redis.URL()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := daemontest.Config{DNS: dnstest.Start(b, daemontest.World).Addr, Profile: "safe", Actions: map[string]string{"spf-no-mail": "reject"}}
	c.Extra = fmt.Sprintf("store: {driver: redis, url: %q}\nchecks: {counters: {errors: 1000000}}\nrecords: {max: 0}\n", redis.URL())
	var hosts []*daemontest.Daemon
	for range n {
		hosts = append(hosts, daemontest.Start(b, c))
	}
	used := func() (daemons time.Duration) {
		for _, d := range hosts {
			daemons += processorTime(b, d.Process.Process.Pid)
		}
		return daemons
	}
	daemonsBefore, redisBefore := used(), processorTime(b, redis.PID())
	b.ResetTimer()
	parallel(b, 32, b.N, func(i int) error {
		d := hosts[i/2%n]
		var r, want string
		var err error
		if i%2 == 0 {
			want = "550 5.7.23"
			r, err = d.Mail(daemontest.GoodClient, "a@nomail.test", "alice@mx.test")
		} else {
			want = "451 4.7.1 greylisted"
			r, err = d.Mail("192.0.2.9", "a@none.test", fmt.Sprintf("u%d@mx.test", i/2))
		}
		if err == nil && !strings.HasPrefix(r, want) {
			err = fmt.Errorf("message %d: %q, want %q", i, r, want)
		}
		return err
	})
	b.StopTimer()
	daemons, server := used()-daemonsBefore, processorTime(b, redis.PID())-redisBefore
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(daemons.Seconds()*1e6/float64(b.N), "daemon-µs/message")
	b.ReportMetric(server.Seconds()*1e6/float64(b.N), "redis-µs/message")
	verifyCounts(b, s)
}

// verifyCounts compares the records in the store with the messages that were sent.
func verifyCounts(b *testing.B, s *store.Store) {
	b.Helper()
	refused := (b.N + 1) / 2
	if n := countedErrors(b, s, checks.ClientOf(netip.MustParseAddr(daemontest.GoodClient))); n != refused {
		b.Errorf("%d refusals are counted, want %d", n, refused)
	}
	waiting := 0
	for _, err := range s.Scan(context.Background(), "greylist:wait:") {
		if err != nil {
			b.Fatal(err)
		}
		waiting++
	}
	if want := b.N / 2; waiting != want {
		b.Errorf("%d triplets wait, want %d", waiting, want)
	}
}

// processorTime returns the processor time that all threads of a process have used.
func processorTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name of the program may contain spaces
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime, proc_pid_stat(5)
		n, err := strconv.Atoi(f)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ
	return time.Duration(ticks) * time.Second / perSecond
}
