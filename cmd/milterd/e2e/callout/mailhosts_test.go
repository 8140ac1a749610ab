package callout

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// calloutPort is the port of the senders' mail hosts, each of which has an address of its own.
const calloutPort = "2526"

// environment is a Postfix whose milterd makes callouts, with the mail hosts of the senders.
type environment struct {
	*daemontest.MailServer
	zone     strings.Builder          // of the senders' domains
	scripted map[string]*scriptedHost // by domain
	postfix  *miltertest.Site         // of the mail host of postfix.test
}

// Parameters of the Postfixes among the mail hosts.
const (
	// manyDomains has a domain for each kind of answer.
	manyDomains = `virtual_mailbox_domains = postfix.test, all.test, later.test, latenull.test
virtual_mailbox_maps = inline:{ {ann@postfix.test = ann/}, {@all.test = all/}, {ann@later.test = ann/}, {ann@latenull.test = ann/} }
smtpd_restriction_classes = nonull
nonull = check_sender_access inline:{ {<> = 550 5.7.1 no mail without a sender} }
smtpd_recipient_restrictions = check_recipient_access inline:{ {later.test = 450 4.2.0 greylisted}, {latenull.test = nonull} }`

	// noNull refuses the null reverse-path at MAIL.
	noNull = `smtpd_delay_reject = no
smtpd_sender_restrictions = check_sender_access inline:{ {<> = 550 5.7.1 no mail without a sender} }`
)

// newEnvironment starts the mail hosts and the Postfix, but not the daemon.
func newEnvironment(t *testing.T) *environment {
	t.Helper()
	e := &environment{scripted: map[string]*scriptedHost{}}
	start := func(run func(*miltertest.Site) *miltertest.MTA, domains ...string) *miltertest.Site {
		site := miltertest.NewSite(t, "")
		site.Domain = domains[0]
		m := run(site)
		for _, d := range domains {
			e.setMX(d, m.Open)
		}
		return site
	}
	postfix := func(parameters string) func(*miltertest.Site) *miltertest.MTA {
		return func(s *miltertest.Site) *miltertest.MTA { return s.Postfix(t, strings.Split(parameters, "\n")...) }
	}
	e.postfix = start(postfix(manyDomains), "postfix.test", "all.test", "later.test", "latenull.test")
	start(postfix(noNull), "nonull.test")
	start(func(s *miltertest.Site) *miltertest.MTA { return s.Sendmail(t) }, "sendmail.test")
	start(func(s *miltertest.Site) *miltertest.MTA { return s.Exim(t) }, "exim.test")

	e.setMX("closed.test", net.JoinHostPort(miltertest.Loopback(), calloutPort))
	e.script(t, "silent.test", func(_ net.Conn, in *bufio.Scanner) { in.Scan() })
	e.script(t, "slow.test", replying(600*time.Millisecond, map[string]string{"RCPT": "550 5.1.1 no such user here"}))
	e.script(t, "endless.test", repeating("220-welcome to the longest greeting of all\r\n"))
	e.script(t, "line.test", repeating("2"))
	e.script(t, "garbage.test", replying(0, map[string]string{"greeting": "HTTP/1.1 400 Bad \x1b[31mRequest"}))
	e.script(t, "busy.test", replying(0, map[string]string{"RCPT": "421 4.3.2 shutting down"}))
	e.script(t, "policy.test", replying(0, map[string]string{"RCPT": "550 5.7.1 blocked for callouts"}))

	site := miltertest.NewSite(t, e.zone.String())
	e.MailServer = &daemontest.MailServer{MTA: site.Postfix(t), Site: site}
	return e
}

// setMX makes the host at an address the only mail host of a domain.
func (e *environment) setMX(domain, addr string) {
	host, _, _ := net.SplitHostPort(addr)
	fmt.Fprintf(&e.zone, "%s. MX 10 mx.%[1]s.\nmx.%[1]s. A %s\n", domain, host)
}

// script starts a scripted mail host for a domain.
func (e *environment) script(t *testing.T, domain string, serve func(net.Conn, *bufio.Scanner)) {
	t.Helper()
	h := &scriptedHost{serve: serve}
	ln, err := net.Listen("tcp", net.JoinHostPort(miltertest.Loopback(), calloutPort))
	if err != nil {
		t.Fatal(err)
	}
	e.scripted[domain] = h
	e.setMX(domain, ln.Addr().String())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(miltertest.WaitTimeout))
				h.serve(conn, bufio.NewScanner(io.TeeReader(conn, h)))
			})
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(func() { _ = ln.Close() })
}

// scriptedHost is a mail host that does what a real server cannot be configured to do.
type scriptedHost struct {
	serve func(conn net.Conn, in *bufio.Scanner)

	mu       sync.Mutex
	received []string // in upper case
}

// Write records what the host received.
func (h *scriptedHost) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received = append(h.received, strings.ToUpper(string(p)))
	return len(p), nil
}

// replying is a mail host that replies after a pause. Replies are by the beginning of the command, or "greeting"; the
// others are 250.
func replying(pause time.Duration, replies map[string]string) func(net.Conn, *bufio.Scanner) {
	return func(conn net.Conn, in *bufio.Scanner) {
		command := "greeting"
		for {
			time.Sleep(pause)
			reply := "250 2.0.0 ok"
			if command == "greeting" {
				reply = "220 mx.scripted.test ESMTP"
			}
			for prefix, r := range replies {
				if strings.HasPrefix(command, prefix) {
					reply = r
				}
			}
			_, err := io.WriteString(conn, reply+"\r\n")
			if err != nil || command == "QUIT" || strings.HasPrefix(reply, "421") || !in.Scan() {
				return
			}
			command = strings.ToUpper(in.Text())
		}
	}
}

// repeating is a mail host that sends a text without end.
func repeating(text string) func(net.Conn, *bufio.Scanner) {
	return func(conn net.Conn, _ *bufio.Scanner) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}
