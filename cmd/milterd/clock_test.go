package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/session"
	"milterd/headers"
	"milterd/milter/store"
)

// A site whose clock is moved while mail comes in, through the milter socket, the checks and a DNS. Whatever can be refused for a
// time is.
const clockConfig = `
hostname: mx.example.org
local_domains: [example.org]
profile: strict
budget: 2s
actions: {first-contact: "off", domain-new: reject, date-missing: reject}
checks:
  sender: {new_domain: 30d, first_seen: 1h}
  access: {allow: [%q], deny: [%q]}
`

const (
	clockHosts  = 30               // good mail hosts, each in a network of its own
	clockLeeway = 5 * time.Second  // that a loaded machine adds to the budget
	longAgo     = -20 * 365 * day_ // of a date that is bogus
	day_        = 24 * time.Hour
)

// oldRegistry knows domains that were registered ten years ago, and a year.
type oldRegistry struct{ time.Time }

func (r oldRegistry) Registered(_ context.Context, _, domain string) (time.Time, error) {
	if len(domain)%2 == 0 {
		return r.AddDate(-10, 0, 0), nil
	}
	return r.AddDate(-1, 0, 0), nil
}

// moved is a daemon whose clock is off.
type moved struct {
	*testDaemon
	t      *testing.T
	socket *session.Socket
	off    time.Duration
	sent   int
}

// startMoved starts one. What lives by the time that passes does so as in the real one.
func startMoved(t *testing.T, off time.Duration) *moved {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var zone strings.Builder
	for i := range clockHosts {
		fmt.Fprintf(&zone, "9.%d.1.11.in-addr.arpa. PTR mail.d%[1]d.example.\nmail.d%[1]d.example. A 11.1.%[1]d.9\n", i)
		fmt.Fprintf(&zone, "d%d.example. MX 10 mail.d%[1]d.example.\nd%[1]d.example. TXT \"v=spf1 a:mail.d%[1]d.example -all\"\n", i)
	}
	dir, now := t.TempDir(), time.Now()
	allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
	until := func(d time.Duration) string { return now.Add(d).UTC().Format(time.DateOnly) }
	writeFile(t, allow, "12.0.0.1 until="+until(30*day_)+"\n")                                       // a host that nothing else is right about
	writeFile(t, deny, "@d3.example until="+until(-30*day_)+"\n11.1.4.9 until="+until(-2*day_)+"\n") // once they were not
	m := &moved{t: t, off: off}
	m.testDaemon = startDaemonIn(t, ln, fmt.Appendf(nil, clockConfig, allow, deny), zone.String(), true, func(d *testDaemon, env *checks.Env) {
		m.testDaemon = d
		m.tick()
		records := store.NewMemory(nil)
		t.Cleanup(func() { _ = records.Close() })
		env.Store, env.Registry = records, oldRegistry{now}
		env.Clock = checks.NewClock(d.now(), now, func() time.Duration { return time.Since(now) })
	})
	m.stop = sync.OnceFunc(m.stop)
	t.Cleanup(m.stop)
	m.socket = &session.Socket{Network: "tcp", Address: m.address, Timeout: 20 * time.Second}
	t.Cleanup(func() { _ = m.socket.Close() })
	return m
}

// tick lets the daemon's clock go on.
func (m *moved) tick() {
	now := time.Now().Add(m.off)
	m.clock.Store(&now)
}

// send sends a message with a date from a host, and returns the reply that refuses it.
func (m *moved) send(addr, domain string, dated time.Duration) string {
	m.t.Helper()
	m.sent++
	written := time.Now().Add(dated).Format(time.RFC1123Z)
	steps := []func() ([]string, error){
		func() ([]string, error) {
			return nil, m.socket.Connect(session.Client{Addr: netip.MustParseAddr(addr)})
		},
		func() ([]string, error) { return nil, m.socket.Helo("mail."+domain, false) },
		func() ([]string, error) { return m.socket.Mail("<alice@"+domain+">", "") },
		func() ([]string, error) { return m.socket.Rcpt("<bob@example.org>") },
		func() ([]string, error) {
			return m.socket.Message([]headers.Field{
				{Name: "Received", Value: " from desk." + domain + " by mail." + domain + " with ESMTPS id 4711; " + time.Now().Format(time.RFC1123Z)},
				{Name: "Date", Value: " " + written}, {Name: "From", Value: " <alice@" + domain + ">"},
				{Name: "Message-ID", Value: fmt.Sprintf(" <%d@%s>", m.sent, domain)},
			})
		},
	}
	for _, step := range steps {
		m.tick()
		began := time.Now()
		reply, err := step()
		if err != nil {
			m.t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second+clockLeeway {
			m.t.Errorf("an answer took %v", took)
		}
		if len(reply) > 0 {
			return strings.Join(reply, " ")
		}
	}
	return ""
}

// good sends a good message from host i.
func (m *moved) good(i int) string {
	return m.send(fmt.Sprintf("11.1.%d.9", i), fmt.Sprintf("d%d.example", i), 0)
}

// TestClockJumps moves the clock while mail comes in. Nothing is refused permanently while the clock is in doubt, and nothing is
// changed by that when it has been put right.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	m := startMoved(t, 0)
	check := func(when string) {
		t.Helper()
		inDoubt := m.off.Abs() > time.Hour
		for i := range clockHosts {
			if got := m.good(i); inDoubt && strings.HasPrefix(got, "5") || !inDoubt && got != "" {
				t.Errorf("%s, host %d: %s", when, i, got)
			}
		}
		if got := m.send("12.0.0.1", "nowhere.example", 0); strings.HasPrefix(got, "5") {
			t.Errorf("%s, an allowed host: %s", when, got)
		}
		for _, dated := range []time.Duration{longAgo, 400 * day_} {
			if got := m.send("11.1.0.9", "d0.example", dated); inDoubt && strings.HasPrefix(got, "5") || !inDoubt && !strings.HasPrefix(got, "550 5.6.0") {
				t.Errorf("%s, a date off by %v: %q", when, dated, got)
			}
		}
	}
	check("at the start")
	for _, off := range []time.Duration{
		time.Hour / 2, -time.Hour / 2, 3 * time.Hour, -3 * time.Hour, day_, -day_, 40 * day_, -40 * day_, 365 * day_, -365 * day_,
		3653 * day_, -3653 * day_, 30000 * day_,
	} {
		m.off = off
		when := fmt.Sprintf("off by %v", off)
		check(when)
		m.off = 0
		when += " and put right"
		check(when)
		if err := m.evidence.Flush(t.Context()); err != nil {
			t.Errorf("%s: evidence: %v", when, err)
		}
	}
	m.stop()
	if lost := m.evidence.Lost(); lost > 0 {
		t.Errorf("the evidence of %d transactions is lost", lost)
	}
}

// TestClockNeverSet starts the daemon with the clock in 1970. Nothing is refused permanently until the clock is set.
func TestClockNeverSet(t *testing.T) {
	t.Parallel()
	m := startMoved(t, time.Until(time.Unix(1000, 0)))
	for i := range clockHosts {
		if got := m.good(i); !strings.HasPrefix(got, "450 4.6.0 Date field ") && !strings.HasPrefix(got, "450 4.7.1 ") {
			t.Errorf("host %d: %s", i, got)
		}
	}
}
