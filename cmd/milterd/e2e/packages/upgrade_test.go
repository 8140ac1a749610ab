package packages

import (
	"fmt"
	"net"
	"net/smtp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

const (
	goarch       = runtime.GOARCH
	deniedClient = "192.0.2.66" // on the list in the store
)

// testUpgrades upgrades and downgrades the package while clients send mail through Postfix. No message is refused or lost,
// each is judged, and configuration and state stay.
func testUpgrades(t *testing.T, c *container, mta *miltertest.MTA, n network, old, next string) {
	c.run(t, "sh", "-c", "printf 'hostname: mx.test\nlocal_domains: [mx.test]\n' >>/etc/milterd/milterd.yaml && systemctl reload milterd.service")
	c.run(t, "milterd", "access", "deny", deniedClient)
	changed := c.run(t, "sha256sum", "/etc/milterd/milterd.yaml")

	l := startLoad(t, mta.Addr, n)
	l.await(t, 20)
	for _, step := range []struct{ deb, version string }{{next, nextVersion}, {old, version}, {next, nextVersion}, {old, version}} {
		c.install(t, step.deb)
		if got := c.run(t, "sh", "-c", "/proc/$(systemctl show -P MainPID milterd.service)/exe --version"); !strings.Contains(got, " "+step.version+" ") {
			t.Errorf("after the installation of %s the daemon is %q", step.version, got)
		}
		l.await(t, 20)
	}
	accepted := l.stop()
	t.Logf("four upgrades and downgrades under load: %d messages accepted, %d refused, %d lost", accepted, l.refused.Load(), l.failed.Load())
	if l.refused.Load() > 0 || l.failed.Load() > 0 {
		t.Errorf("%v", l.first.Load())
	}
	miltertest.Eventually(t, "all messages are delivered", func() bool { return len(mta.Mail(t, "bob")) >= accepted })
	if delivered := len(mta.Mail(t, "bob")); delivered != accepted {
		t.Errorf("%d messages delivered, %d accepted", delivered, accepted)
	}
	miltertest.Eventually(t, "all messages are judged", func() bool {
		return strings.Count(c.run(t, "journalctl", "--no-pager", "-t", "milterd"), "rcpt=bob@mx.test") == accepted
	})
	if got := c.run(t, "sha256sum", "/etc/milterd/milterd.yaml"); got != changed {
		t.Error("the configuration was changed")
	}
	if got := c.run(t, "milterd", "access", "list"); !strings.Contains(got, deniedClient) {
		t.Errorf("the entry of the list is lost: %s", got)
	}
}

// load are clients that send mail to bob until they are stopped.
type load struct {
	done                      chan struct{}
	clients                   sync.WaitGroup
	accepted, refused, failed atomic.Int64
	first                     atomic.Value // first error
}

// startLoad starts clients of a mail server, each of which connects again after each third message.
func startLoad(t *testing.T, addr string, n network) *load {
	t.Helper()
	l := &load{done: make(chan struct{})}
	const clients = 4
	for i := range clients {
		l.clients.Go(func() {
			leave, err := n.enter()
			if err != nil {
				l.fail(&l.failed, err)
				return
			}
			defer leave()
			for serial := 0; ; serial++ {
				select {
				case <-l.done:
					return
				default:
				}
				if err := l.session(addr, fmt.Sprintf("%d.%d", i, serial)); err != nil {
					l.fail(&l.failed, err)
				}
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) fail(count *atomic.Int64, err error) {
	count.Add(1)
	l.first.CompareAndSwap(nil, err.Error())
}

// session sends messages on one connection.
func (l *load) session(addr, id string) error {
	const messages = 3
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(miltertest.WaitTimeout)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "mx.test")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Text.PrintfLine("XCLIENT ADDR=198.51.100.7 NAME=[UNAVAILABLE]"); err != nil { // no trusted client
		return err
	}
	if _, _, err := c.Text.ReadResponse(220); err != nil {
		return err
	}
	if err := c.Hello(daemontest.GoodHelo); err != nil {
		return err
	}
	for i := range messages {
		if err := send(c, fmt.Sprintf("%s.%d", id, i)); err != nil {
			l.fail(&l.refused, err)
			return nil
		}
		l.accepted.Add(1)
		const pause = 50 * time.Millisecond // leaves processor time for what is installed
		<-time.After(pause)
	}
	return c.Quit()
}

func send(c *smtp.Client, id string) error {
	if err := c.Mail(daemontest.GoodSender); err != nil {
		return err
	}
	if err := c.Rcpt("bob@mx.test"); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(daemontest.Message(daemontest.GoodHeader(daemontest.Field{"Subject", id})))); err != nil {
		return err
	}
	return w.Close()
}

// await waits until n more messages are accepted.
func (l *load) await(t *testing.T, n int64) {
	t.Helper()
	until := l.accepted.Load() + n
	miltertest.Eventually(t, "mail is accepted", func() bool { return l.accepted.Load() >= until || l.first.Load() != nil })
}

// stop stops the clients after the messages that they send, and returns how many were accepted.
func (l *load) stop() int {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	l.clients.Wait()
	return int(l.accepted.Load())
}
