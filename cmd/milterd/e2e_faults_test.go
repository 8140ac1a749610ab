package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
	"milterd/milter/store/redistest"
)

// TestSoak has daemons under load suffer what breaks around them, one thing after the other. What they need from outside is
// their own: an embedded store on a small disk, a syslog, a name server, and for the other daemon a Redis.
// MILTERD_TEST_SOAK=10m lets it go on for so long.
func TestSoak(t *testing.T) {
	miltertest.Require(t)
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		site := miltertest.NewSite(t, soakWorld())
		disk := filepath.Join(site.Dir, "state")
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		c := soakConfig(t, site, fmt.Sprintf("store: {driver: embedded, path: %q}\n", filepath.Join(disk, "milterd")))
		s := startSoak(t, site, c, "/bin/sh", "-c", `mount -t tmpfs -o size=160m state "$0" && exec "$@"`, disk)
		s.run(t, slices.Concat(soakFaults(site), jumps(), []fault{reloads(c), fullDisk(disk), readOnlyDisk(disk)}))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		site, redis := miltertest.NewSite(t, soakWorld()), redistest.Start(t)
		s := startSoak(t, site, soakConfig(t, site, fmt.Sprintf("store: {driver: redis, url: %q}\n", redis.URL())))
		down := func(t *testing.T, s *soak) bool {
			status, text := daemontest.Get(t, s.admin+"/readyz")
			return status == 503 && strings.Contains(text, "the store is down")
		}
		s.run(t, append(jumps(), []fault{
			{"a frozen Redis", func(*testing.T, *soak) func() { redis.Freeze(); return redis.Thaw }, down},
			{"a killed Redis", func(*testing.T, *soak) func() { redis.Stop(); return redis.Start }, down},
			{"a name server and a Redis that fail together", func(*testing.T, *soak) func() {
				redis.Freeze()
				site.DNS.Behave(dnstest.Dead)
				return func() { redis.Thaw(); site.DNS.Behave() }
			}, down},
			// Answers take all of the budget then, which is no time of the day.
			{"a dead DNS and a clock that never rests", func(t *testing.T, s *soak) func() {
				rest := restless(t, s)
				site.DNS.Behave(dnstest.Dead)
				return func() { site.DNS.Behave(); rest() }
			}, unanswered},
		}...))
	})
}

// soakConfig is the strictest: whatever can be refused is. Every fourth host was denied until the day before yesterday.
func soakConfig(t *testing.T, site *miltertest.Site, more string) daemontest.Config {
	t.Helper()
	deny := filepath.Join(site.Dir, "deny")
	entry := "198.51.0.0/18 until=" + time.Now().AddDate(0, 0, -2).UTC().Format(time.DateOnly) + "\n"
	if err := os.WriteFile(deny, []byte(entry), 0o644); err != nil {
		t.Fatal(err)
	}
	return daemontest.Config{
		DNS: site.DNS.Addr, Syslog: "mail", Profile: "strict",
		// What depends on what was before has no answer that is always the same.
		Actions: map[string]string{"first-contact": "off", "too-many-errors": "off", "sender-history": "off"},
		Extra:   fmt.Sprintf("budget: %v\nchecks: {access: {deny: [%q]}}\n", soakBudget, deny) + more,
	}
}

// startSoak runs a daemon in a site, by a program that becomes it.
func startSoak(t *testing.T, site *miltertest.Site, c daemontest.Config, before ...string) *soak {
	t.Helper()
	bin, err := buildMovable()
	if err != nil {
		t.Fatal(err)
	}
	host := miltertest.Loopback()
	d := &daemontest.Daemon{Listener: "inet:7525@" + host, File: filepath.Join(site.Dir, "milterd.yaml")}
	d.Listen = []string{strconv.Quote(d.Listener)}
	c = complete(d, c)
	d.Configure(t, c)
	args := append(before, bin, "serve", "-c", d.File)
	clock := newHostClock(t, filepath.Join(site.Dir, "clock"))
	cmd := site.Command(args[0], args[1:]...)
	cmd.Env = clock.env()
	d.Process = miltertest.StartProcess(t, cmd)
	d.Lines = func() (lines []string) {
		for _, l := range site.Log.Lines() {
			lines = append(lines, l.Text)
		}
		return lines
	}
	d.Await(t)
	return &soak{Daemon: d, admin: "http://" + host + ":8893", clock: clock}
}

// complete says where the daemon of a soak listens.
func complete(d *daemontest.Daemon, c daemontest.Config) daemontest.Config {
	_, host, _ := strings.Cut(d.Listener, "@")
	c.Listen = d.Listen
	c.Extra += fmt.Sprintf("admin: {listen: \"%s:8893\", socket: \"\"}\n", host)
	return c
}

// soakFaults are those of what surrounds every daemon.
func soakFaults(site *miltertest.Site) []fault {
	var queries atomic.Int64
	lossy := func(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
		if queries.Add(1)%2 == 0 {
			return nil
		}
		return resp
	}
	badDNS := func(name string, b ...dnstest.Behaviour) fault {
		return fault{name, func(*testing.T, *soak) func() { site.DNS.Behave(b...); return func() { site.DNS.Behave() } }, unanswered}
	}
	return []fault{
		badDNS("half of the DNS lost", lossy),
		badDNS("a dead DNS", dnstest.Dead),
		badDNS("SERVFAIL", dnstest.Rcode(dns.RcodeServerFailure)),
		badDNS("a DNS that lies", dnstest.Lie),
		{"a DNS that is late", func(*testing.T, *soak) func() {
			site.DNS.Latency(soakBudget * 3 / 4)
			return func() { site.DNS.Latency(0) }
		}, unanswered},
		{"a stalled syslog", func(*testing.T, *soak) func() { return site.Log.Stall() }, nil},
		{"mail servers that vanish in mid-packet", vanish, nil},
		{"mail servers that do not read", readNothing, func(t *testing.T, s *soak) bool { return s.metric(t, "milterd_connections") >= deaf }},
		{"a want of descriptors", starve, logged("accept failed")},
	}
}

// unanswered is the sign of a DNS that does not do its job.
func unanswered(_ *testing.T, s *soak) bool {
	l, got := s.post()
	return got != l.good
}

// logged is a sign: a line of the log since the fault began.
func logged(msg string) func(*testing.T, *soak) bool {
	from := -1
	return func(t *testing.T, s *soak) bool {
		if from < 0 {
			from = max(0, s.Mark()-100) // it may have been there before the first look
		}
		for _, e := range s.Entries(t, from) {
			if e["msg"] == msg {
				return true
			}
		}
		return false
	}
}

// again runs f again and again until off is called.
func again(f func(i int)) (off func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				f(i)
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// vanish has mail servers end their connections with a reset, each after another octet of a session.
func vanish(t *testing.T, s *soak) (off func()) {
	session := negotiation + packet('C', "x\x004\x00\x19127.0.0.10\x00") + packet('H', daemontest.GoodHelo+"\x00") +
		packet('D', "Mi\x00Q0\x00") + packet('M', "<"+daemontest.GoodSender+">\x00") + packet('R', "<alice@mx.test>\x00") +
		packet('L', "Date\x00today\x00") + packet('N', "") + packet('E', "")
	network, addr := miltertest.SplitListener(s.Listener)
	return again(func(i int) {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, session[:i%len(session)])
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		<-time.After(time.Millisecond) // the others need the processor too
	})
}

// deaf is how many mail servers send and never read.
const deaf = 20

// readNothing has them send events that have answers until nobody takes any more.
func readNothing(t *testing.T, s *soak) (off func()) {
	network, addr := miltertest.SplitListener(s.Listener)
	events := []byte(packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00") + packet('C', "x\x004\x00\x19127.0.0.10\x00"))
	helo := []byte(strings.Repeat(packet('H', daemontest.GoodHelo+"\x00"), 1000))
	var conns []net.Conn
	var wg sync.WaitGroup
	for range deaf {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		conns = append(conns, c)
		wg.Go(func() {
			for _, err := c.Write(events); err == nil; {
				_, err = c.Write(helo)
			}
		})
	}
	return func() {
		for _, c := range conns {
			_ = c.Close()
		}
		wg.Wait()
	}
}

// starve takes all descriptors from the daemon but for a few.
func starve(t *testing.T, s *soak) (off func()) {
	pid := s.Process.Process.Pid
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: uint64(s.Daemon.OpenFiles(t)), Max: old.Max}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Error(err)
		}
	}
}

// reloads is a storm of SIGHUP, with good files and bad ones.
func reloads(c daemontest.Config) fault {
	write := func(t *testing.T, s *soak, c daemontest.Config) {
		next := &daemontest.Daemon{File: s.File + ".next"} // so that nobody reads half a file
		next.Configure(t, c)
		if err := os.Rename(next.File, s.File); err != nil {
			t.Error(err)
		}
		s.Signal(t, syscall.SIGHUP)
	}
	failed, reloaded := logged("reload failed: the old configuration stays in force"), logged("configuration reloaded")
	return fault{"a storm of reloads", func(t *testing.T, s *soak) func() {
		good := complete(s.Daemon, c)
		bad := good
		bad.Profile = "strickt"
		stop := again(func(i int) {
			write(t, s, []daemontest.Config{good, bad}[i%2])
			<-time.After(10 * time.Millisecond)
		})
		return func() { stop(); write(t, s, good) }
	}, func(t *testing.T, s *soak) bool { return failed(t, s) && reloaded(t, s) }}
}

// inside is a path as the daemon sees it, which has mounts of its own.
func (s *soak) inside(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", s.Process.Process.Pid, path)
}

// fullDisk fills the disk of the store.
func fullDisk(disk string) fault {
	return fault{"a full disk", func(t *testing.T, s *soak) func() {
		name := s.inside(filepath.Join(disk, "fill"))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		stop := again(func(int) { // what the store gives back is taken too
			if _, err := f.Write(make([]byte, 64<<10)); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Error(err)
				}
				<-time.After(time.Millisecond)
			}
		})
		return func() {
			stop()
			if err := errors.Join(f.Close(), os.Remove(name)); err != nil {
				t.Error(err)
			}
		}
	}, notReady}
}

// readOnlyDisk lets no file of the store be made, renamed or removed.
func readOnlyDisk(disk string) fault {
	return fault{"a read-only disk", func(t *testing.T, s *soak) func() {
		in := func(command string) {
			out, err := exec.Command("nsenter", "-t", strconv.Itoa(s.Process.Process.Pid), "-m", "sh", "-c", command, disk).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
		}
		in(`mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"`)
		return func() { in(`mount -o remount,bind,rw "$0" && umount -l "$0"`) }
	}, notReady}
}

// notReady is the sign of a store that needs a look.
func notReady(t *testing.T, s *soak) bool {
	status, _ := daemontest.Get(t, s.admin+"/readyz")
	return status == 503
}
