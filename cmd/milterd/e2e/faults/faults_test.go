package faults

import (
	"errors"
	"fmt"
	"io"
	"maps"
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
)

// faultsAround are the faults of the DNS, the syslog, the MTAs and the operating system.
func faultsAround(site *miltertest.Site) []fault {
	var queries atomic.Int64
	lossy := func(_ dns.ResponseWriter, _, resp *dns.Msg) *dns.Msg {
		if queries.Add(1)%2 == 0 {
			return nil
		}
		return resp
	}
	badDNS := func(name string, b ...dnstest.Behaviour) fault {
		begin := func(*testing.T, *soak) func() { site.DNS.Behave(b...); return func() { site.DNS.Behave() } }
		return fault{name: name, begin: begin, effective: wrongReply}
	}
	return []fault{
		badDNS("a DNS that loses half of the queries", lossy),
		badDNS("a dead DNS", dnstest.Dead),
		badDNS("a DNS that answers SERVFAIL", dnstest.Rcode(dns.RcodeServerFailure)),
		badDNS("a DNS that lies", dnstest.Lie),
		badDNS("a DNS that answers with forged messages", dnstest.Forged, dnstest.Dead),
		{name: "a slow DNS", effective: wrongReply, begin: func(*testing.T, *soak) func() {
			site.DNS.Latency(soakBudget * 3 / 4)
			return func() { site.DNS.Latency(0) }
		}},
		{name: "a stalled syslog", begin: func(*testing.T, *soak) func() { return site.Log.Stall() }},
		{name: "MTAs that reset their connections", begin: resetConnections},
		{name: "MTAs that send garbage", begin: sendGarbage},
		{name: "MTAs that do not read", begin: readNothing, effective: func(t *testing.T, s *soak) bool {
			return s.metric(t, "milterd_connections") >= numDeaf
		}},
		{name: "a lack of file descriptors", begin: starve, effective: logged("accept failed")},
	}
}

// wrongReply reports whether the next message gets another reply than while nothing fails.
func wrongReply(_ *testing.T, s *soak) bool {
	m, codes := s.sendNext()
	return codes != m.want
}

// logged returns a function that reports whether a message is in the log since about its first call.
func logged(msg string) func(*testing.T, *soak) bool {
	mark := -1
	return func(t *testing.T, s *soak) bool {
		if mark < 0 {
			const margin = 100 // lines since the fault began
			mark = max(0, s.Mark()-margin)
		}
		for _, e := range s.Entries(t, mark) {
			if e["msg"] == msg {
				return true
			}
		}
		return false
	}
}

// resetConnections opens connections and resets each after one more byte of a session.
func resetConnections(t *testing.T, s *soak) (end func()) {
	session := negotiation + packet('C', "x\x004\x00\x19127.0.0.10\x00") + packet('H', daemontest.GoodHelo+"\x00") +
		packet('D', "Mi\x00Q0\x00") + packet('M', "<"+daemontest.GoodSender+">\x00") + packet('R', "<alice@mx.test>\x00") +
		packet('L', "Date\x00today\x00") + packet('N', "") + packet('E', "")
	network, addr := miltertest.SplitListener(s.Listener)
	return daemontest.Repeat(t, 1, func(i int) {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, session[:i%len(session)])
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		<-time.After(time.Millisecond) // leaves processor time for the load
	})
}

// sendGarbage opens connections that send what no MTA sends.
func sendGarbage(t *testing.T, s *soak) (end func()) {
	network, addr := miltertest.SplitListener(s.Listener)
	sequences := slices.Sorted(maps.Values(garbage()))
	return daemontest.Repeat(t, 1, func(i int) {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, sequences[i%len(sequences)])
		_ = c.Close()
		<-time.After(time.Millisecond) // leaves processor time for the load
	})
}

// numDeaf is the number of MTAs that send and do not read.
const numDeaf = 20

// readNothing sends events that have responses, until the daemon reads no more, and does not read the responses.
func readNothing(t *testing.T, s *soak) (end func()) {
	network, addr := miltertest.SplitListener(s.Listener)
	begin := []byte(packet('O', string(miltertest.Offer(miltertest.AllActions, 0))) + packet('C', "x\x004\x00\x19127.0.0.10\x00"))
	helo := []byte(strings.Repeat(packet('H', daemontest.GoodHelo+"\x00"), 1000))
	var conns []net.Conn
	var running sync.WaitGroup
	for range numDeaf {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		conns = append(conns, c)
		running.Go(func() {
			for _, err := c.Write(begin); err == nil; {
				_, err = c.Write(helo)
			}
		})
	}
	return func() {
		for _, c := range conns {
			_ = c.Close()
		}
		running.Wait()
	}
}

// starve limits the daemon to the file descriptors that it has.
func starve(t *testing.T, s *soak) (end func()) {
	pid := s.Process.Process.Pid
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: uint64(openFiles(t, s.Daemon)), Max: old.Max}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Error(err)
		}
	}
}

// reloads sends SIGHUP again and again, with a good and a bad configuration in turn.
func reloads(c daemontest.Config) fault {
	write := func(t *testing.T, s *soak, c daemontest.Config) {
		next := &daemontest.Daemon{File: s.File + ".next"} // renamed, so that the daemon reads no half of it
		next.Configure(t, c)
		if err := os.Rename(next.File, s.File); err != nil {
			t.Error(err)
		}
		s.Signal(t, syscall.SIGHUP)
	}
	failed, reloaded := logged("reload failed: the old configuration stays in force"), logged("configuration reloaded")
	begin := func(t *testing.T, s *soak) func() {
		good := withListeners(s.Daemon, c)
		bad := good
		bad.Profile = "strickt"
		stop := daemontest.Repeat(t, 1, func(i int) {
			write(t, s, []daemontest.Config{good, bad}[i%2])
			<-time.After(10 * time.Millisecond)
		})
		return func() { stop(); write(t, s, good) }
	}
	effective := func(t *testing.T, s *soak) bool { return failed(t, s) && reloaded(t, s) }
	return fault{name: "many reloads", begin: begin, effective: effective}
}

// inside returns a path of the daemon's mount namespace as the test can open it.
func (s *soak) inside(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", s.Process.Process.Pid, path)
}

// fullDisk fills the disk of the store, also with the space that the store frees.
func fullDisk(disk string) fault {
	return fault{name: "a full disk", effective: notReady, begin: func(t *testing.T, s *soak) func() {
		name := s.inside(filepath.Join(disk, "fill"))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		stop := daemontest.Repeat(t, 1, func(int) {
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
	}}
}

// readOnlyDisk remounts the disk of the store read-only.
func readOnlyDisk(disk string) fault {
	return fault{name: "a read-only disk", effective: notReady, begin: func(t *testing.T, s *soak) func() {
		in := func(command string) {
			out, err := exec.Command("nsenter", "-t", strconv.Itoa(s.Process.Process.Pid), "-m", "-r", "sh", "-c", command, disk).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
		}
		in(`mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"`)
		return func() { in(`mount -o remount,bind,rw "$0" && umount -l "$0"`) }
	}}
}

// notReady reports whether the daemon says that it is not ready.
func notReady(t *testing.T, s *soak) bool {
	status, _ := daemontest.Get(t, s.admin+"/readyz")
	return status == 503
}
