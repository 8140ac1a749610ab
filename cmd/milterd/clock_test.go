package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/session"
	"milterd/headers"
	"milterd/milter/miltertest"
	"milterd/milter/store"
)

// clockConfig enforces every reason that depends on the time.
const clockConfig = `
hostname: mx.example.org
local_domains: [example.org]
profile: strict
budget: 10s
actions: {first-contact: "off", domain-new: reject, date-missing: reject}
checks:
  sender: {new_domain: 30d, first_seen: 1h}
  access: {allow: [%q], deny: [%q]}
`

const (
	clockHosts  = 30               // mail hosts, each in a network of its own
	clockBudget = 10 * time.Second // so long that a loaded machine answers within it
	oneDay      = 24 * time.Hour
	longAgo     = -20 * 365 * oneDay // offset of a wrong Date
)

// oldRegistry says of every domain that it was registered ten years before a time, or one year.
type oldRegistry struct{ time.Time }

func (r oldRegistry) Registered(_ context.Context, _, domain string) (time.Time, error) {
	if len(domain)%2 == 0 {
		return r.AddDate(-10, 0, 0), nil
	}
	return r.AddDate(-1, 0, 0), nil
}

// movedClock is a daemon in this process whose clock is off.
type movedClock struct {
	*testDaemon
	t      *testing.T
	socket *session.Socket
	off    time.Duration // of the daemon's clock
	sent   int           // number of messages
}

// startMovedClock starts a daemon with an allowed client and two entries of the deny list that have ended.
func startMovedClock(t *testing.T, off time.Duration) *movedClock {
	t.Helper()
	var zone strings.Builder
	for i := range clockHosts {
		fmt.Fprintf(&zone, "9.%d.1.11.in-addr.arpa. PTR mail.d%[1]d.example.\nmail.d%[1]d.example. A 11.1.%[1]d.9\n", i)
		fmt.Fprintf(&zone, "d%d.example. MX 10 mail.d%[1]d.example.\nd%[1]d.example. TXT \"v=spf1 a:mail.d%[1]d.example -all\"\n", i)
	}
	dir, now := t.TempDir(), time.Now()
	allow, deny := filepath.Join(dir, "allow"), filepath.Join(dir, "deny")
	until := func(d time.Duration) string { return now.Add(d).UTC().Format(time.DateOnly) }
	writeFile(t, allow, "12.0.0.1 until="+until(30*oneDay)+"\n")
	writeFile(t, deny, "@d3.example until="+until(-30*oneDay)+"\n11.1.4.9 until="+until(-2*oneDay)+"\n")
	m := &movedClock{t: t, off: off}
	m.testDaemon = startDaemonIn(t, fmt.Appendf(nil, clockConfig, allow, deny), zone.String(), true, func(d *testDaemon, env *checks.Env) {
		m.testDaemon = d
		m.tick()
		records := store.NewMemory(nil)
		t.Cleanup(func() { _ = records.Close() })
		env.Store, env.Registry = records, oldRegistry{now}
		built := now.Add(-oneDay) // so that half an hour ago was not the day before
		env.Clock = checks.NewClock(d.now(), built, func() time.Duration { return time.Since(now) })
	})
	m.stop = sync.OnceFunc(m.stop)
	t.Cleanup(m.stop)
	m.socket = &session.Socket{Network: "tcp", Address: m.address, Timeout: miltertest.WaitTimeout}
	t.Cleanup(func() { _ = m.socket.Close() })
	return m
}

// tick sets the daemon's clock to the present, plus the offset.
func (m *movedClock) tick() {
	now := time.Now().Add(m.off)
	m.clock.Store(&now)
}

// send sends a message with a Date from a host. It returns the reply that refuses it, or "".
func (m *movedClock) send(addr, domain string, dated time.Duration) string {
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
			}, "")
		},
	}
	for _, step := range steps {
		m.tick()
		began := time.Now()
		reply, err := step()
		if err != nil {
			m.t.Fatal(err)
		}
		if took := time.Since(began); took > clockBudget+miltertest.Leeway {
			m.t.Errorf("a response took %v", took)
		}
		if len(reply) > 0 {
			return strings.Join(reply, " ")
		}
	}
	return ""
}

// sendGood sends a good message from host i.
func (m *movedClock) sendGood(i int) string {
	return m.send(fmt.Sprintf("11.1.%d.9", i), fmt.Sprintf("d%d.example", i), 0)
}

// TestClockJumps moves the clock while mail comes in. No mail is rejected while the clock is in doubt, and none is
// affected after the clock is right again.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	m := startMovedClock(t, 0)
	check := func(when string) {
		t.Helper()
		inDoubt := m.off.Abs() > time.Hour
		for i := range clockHosts {
			if got := m.sendGood(i); inDoubt && strings.HasPrefix(got, "5") || !inDoubt && got != "" {
				t.Errorf("%s, host %d: %s", when, i, got)
			}
		}
		if got := m.send("12.0.0.1", "nowhere.example", 0); strings.HasPrefix(got, "5") {
			t.Errorf("%s, allowed client: %s", when, got)
		}
		for _, dated := range []time.Duration{longAgo, 400 * oneDay} {
			if got := m.send("11.1.0.9", "d0.example", dated); inDoubt && strings.HasPrefix(got, "5") || !inDoubt && !strings.HasPrefix(got, "550 5.6.0") {
				t.Errorf("%s, Date off by %v: %q", when, dated, got)
			}
		}
	}
	check("at the start")
	for _, off := range []time.Duration{
		time.Hour / 2, -time.Hour / 2, 3 * time.Hour, -3 * time.Hour, oneDay, -oneDay, 40 * oneDay, -40 * oneDay, 365 * oneDay, -365 * oneDay,
		3653 * oneDay, -3653 * oneDay, 30000 * oneDay,
	} {
		m.off = off
		when := fmt.Sprintf("off by %v", off)
		check(when)
		m.off = 0
		when += " and right again"
		check(when)
		if err := m.evidence.Flush(t.Context()); err != nil {
			t.Errorf("%s: evidence: %v", when, err)
		}
	}
	m.stop()
	if lost := m.evidence.Lost(); lost > 0 {
		t.Errorf("evidence of %d transactions was lost", lost)
	}
}

// TestClockNeverSet starts the daemon with the clock in 1970, where it defers mail that it would reject for its Date.
func TestClockNeverSet(t *testing.T) {
	t.Parallel()
	m := startMovedClock(t, time.Until(time.Unix(1000, 0)))
	for i := range clockHosts {
		if got := m.sendGood(i); !strings.HasPrefix(got, "450 4.6.0 Date field ") && !strings.HasPrefix(got, "450 4.7.1 ") {
			t.Errorf("host %d: %s", i, got)
		}
	}
}
