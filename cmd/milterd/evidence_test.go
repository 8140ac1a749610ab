package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"milterd/cmd/milterd/internal/session"
	"milterd/headers"
	"milterd/milter/evidence"
)

// A month of mail, through the milter socket, the checks and a DNS, on a clock that is moved.
//
// A host of a domain is well, unless its name says what is wrong with it: all of them pass SPF for their domain, as those of
// spammers do.
type month struct {
	*testDaemon
	t    *testing.T
	zone strings.Builder
	days [][]letter
	made map[string]netip.Addr // hosts
}

// letter is one message on a day.
type letter struct {
	host, from, to string
	wait           time.Duration // after the one before
	want           string        // beginning of the first reply that refuses; empty: it is let in
}

const monthConfig = `
hostname: mx.example.org
local_domains: [example.org]
profile: safe
actions: {helo-underscore: watch, helo-mismatch: watch, helo-cname: watch, rdns-missing: reject, rdns-mismatch: greylist}
`

// begun is the first day of the month, in the middle of a week.
var begun = time.Date(2026, 10, 20, 8, 0, 0, 0, time.UTC)

// faults are what may be wrong with a host, as the beginning of its name says: what its HELO name is, and what the DNS has.
var faults = map[string]struct{ helo, zone string }{
	"mail":   {"%[1]s", "%[2]s PTR %[1]s.\n%[1]s. A %[3]s\n"},
	"under":  {"bad_%[1]s", "%[2]s PTR bad_%[1]s.\nbad_%[1]s. A %[3]s\n"},
	"wrong":  {"other.%[1]s", "%[2]s PTR %[1]s.\n%[1]s. A %[3]s\nother.%[1]s. A 11.0.0.1\n"},
	"alias":  {"alias.%[1]s", "%[2]s PTR %[1]s.\n%[1]s. A %[3]s\nalias.%[1]s. CNAME %[1]s.\n"},
	"noptr":  {"%[1]s", "%[1]s. A %[3]s\n"},
	"misptr": {"%[1]s", "%[2]s PTR elsewhere.%[1]s.\nelsewhere.%[1]s. A 11.0.0.1\n%[1]s. A %[3]s\n"},
}

// at sends a message on a day, from a host FAULT.DOMAIN.
func (m *month) at(day int, letters ...letter) {
	for len(m.days) <= day {
		m.days = append(m.days, nil)
	}
	m.days[day] = append(m.days[day], letters...)
	for _, l := range letters {
		m.make(l.host)
	}
}

// make gives a host its address and its part of the DNS.
func (m *month) make(host string) {
	fault, domain, _ := strings.Cut(host, ".")
	if _, there := m.made[host]; there || host == "" {
		return
	}
	n := len(m.made) + 1
	addr := netip.AddrFrom4([4]byte{11, byte(1 + n/200), byte(n % 200), 9}) // a network for each
	m.made[host] = addr
	reverse := fmt.Sprintf("9.%d.%d.11.in-addr.arpa.", n%200, 1+n/200)
	fmt.Fprintf(&m.zone, faults[fault].zone, host, reverse, addr)
	if _, there := m.made["."+domain]; !there {
		m.made["."+domain] = addr
		fmt.Fprintf(&m.zone, "%s. MX 10 mx.%[1]s.\nmx.%[1]s. A 11.0.0.9\n%[1]s. TXT \"v=spf1 exists:%%{i}.ok.%[1]s -all\"\n", domain)
	}
	fmt.Fprintf(&m.zone, "%s.ok.%s. A 127.0.0.2\n", addr, domain)
}

// play lets the month pass.
func (m *month) play() {
	m.testDaemon = startDaemon(m.t, []byte(monthConfig), m.zone.String(), true)
	m.t.Cleanup(m.stop)
	socket := &session.Socket{Network: "tcp", Address: m.address, Timeout: 20 * time.Second}
	for day, letters := range m.days {
		now := begun.AddDate(0, 0, day)
		for i, l := range letters {
			now = now.Add(time.Minute + l.wait)
			at := now
			m.clock.Store(&at)
			if got := m.send(socket, l, now); !strings.HasPrefix(got, l.want) || l.want == "" && got != "" {
				m.t.Fatalf("day %d: %+v got %q", day, l, got)
			}
			if i%100 == 99 {
				m.flush() // so that nothing is lost because the month takes a second
			}
		}
		m.flush()
	}
	if err := socket.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *month) flush() {
	m.t.Helper()
	if err := m.evidence.Flush(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// send returns the reply that refuses.
func (m *month) send(socket *session.Socket, l letter, now time.Time) string {
	client, helo := session.Client{Addr: netip.MustParseAddr("127.0.0.1")}, "localhost"
	if l.host != "" {
		fault, _, _ := strings.Cut(l.host, ".")
		client, helo = session.Client{Addr: m.made[l.host]}, fmt.Sprintf(faults[fault].helo, l.host)
	}
	steps := []func() ([]string, error){
		func() ([]string, error) { return nil, socket.Connect(client) },
		func() ([]string, error) { return nil, socket.Helo(helo, false) },
		func() ([]string, error) { return socket.Mail("<"+l.from+">", "") },
		func() ([]string, error) { return socket.Rcpt("<" + l.to + ">") },
		func() ([]string, error) {
			return socket.Message([]headers.Field{
				{Name: "Date", Value: now.Format(time.RFC1123Z)}, {Name: "From", Value: "<" + l.from + ">"},
				{Name: "Message-ID", Value: fmt.Sprintf("<%d@%s>", now.Unix(), strings.TrimPrefix(l.host, "."))},
			})
		},
	}
	for _, step := range steps {
		reply, err := step()
		if err != nil {
			m.t.Fatal(err)
		}
		if len(reply) > 0 {
			return strings.Join(reply, " ")
		}
	}
	return ""
}

const (
	bob    = "bob@example.org"
	months = 30 // days
)

// traffic is what happens in the month.
func traffic(m *month) {
	for day := range months {
		// Forty sites whose mail is as it should be.
		for i := range 40 {
			if (day+i)%3 == 0 {
				domain := fmt.Sprintf("good%d.example", i)
				m.at(day, letter{host: "mail." + domain, from: "alice@" + domain, to: bob})
			}
		}
		// Spam from domains that last two days, with SPF records and names in good order, but for their HELO names.
		for i := range 8 {
			domain := fmt.Sprintf("spam%d-%d.example", day/2, i)
			m.at(day, letter{host: "under." + domain, from: fmt.Sprintf("offer%d@%s", day, domain), to: bob})
			m.at(day, letter{host: "wrong." + domain, from: fmt.Sprintf("offer%d@%s", day, domain), to: bob})
			m.at(day, letter{host: "noptr." + domain, from: fmt.Sprintf("offer%d@%s", day, domain), to: bob, want: "550 5.7.25"})
		}
		// One spammer keeps his domain, writes to postmaster who takes everything, and is found out by the missing name too.
		m.at(day, letter{host: "mail.bulk.example", from: "news@bulk.example", to: "postmaster@example.org"})
		if day%10 == 5 {
			m.at(day, letter{host: "under.bulk.example", from: "news@bulk.example", to: bob})
			m.at(day, letter{host: "noptr.bulk.example", from: "news@bulk.example", to: bob, want: "550 5.7.25"})
		}
		// A partner to whom bob writes, a small site that nobody answers, and the second host of a site whose first is well: their
		// HELO names are wrong.
		if day%7 == 3 {
			m.at(day, letter{host: "wrong.partner.example", from: "carol@partner.example", to: bob})
		}
		if day%6 == 0 {
			m.at(day, letter{host: "wrong.notices.example", from: "robot@notices.example", to: bob})
		}
		if day%14 == 9 {
			m.at(day, letter{host: "wrong.good3.example", from: "alice@good3.example", to: bob})
		}
	}
	m.at(12, letter{from: "bob@example.org", to: "carol@partner.example"})
	// HELO names that are aliases are rare.
	for _, day := range []int{2, 11, 21} {
		m.at(day, letter{host: "alias.rare.example", from: "x@rare.example", to: bob})
	}
	// The new host of a good site has no reverse name until somebody gives it one.
	for day := 10; day < 12; day++ {
		m.at(day, letter{host: "noptr.good7.example", from: "alice@good7.example", to: bob, want: "550 5.7.25"})
	}
	// Somebody is refused once, and bob writes to him afterwards.
	m.at(18, letter{host: "noptr.late.example", from: "dave@late.example", to: bob, want: "550 5.7.25"})
	m.at(19, letter{from: "bob@example.org", to: "dave@late.example"})
	// Greylisting holds three: one comes back, a good one does not, and neither does a spammer.
	m.at(15, letter{host: "misptr.good5.example", from: "alice@good5.example", to: bob, want: "451 4.7.1"})
	m.at(15, letter{host: "misptr.good5.example", from: "alice@good5.example", to: bob, wait: 20 * time.Minute})
	m.at(16, letter{host: "misptr.good6.example", from: "alice@good6.example", to: bob, want: "451 4.7.1"})
	m.at(16, letter{host: "misptr.spam8-0.example", from: "x@spam8-0.example", to: bob, want: "451 4.7.1"})
}

func TestAMonthOfEvidence(t *testing.T) {
	t.Parallel()
	m := &month{t: t, made: map[string]netip.Addr{}}
	traffic(m)
	m.play()

	settings, err := evidenceArgs{}.settings(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := m.evidence.Watch(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	action, err := m.evidence.Action(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	if watch.Lost+action.Lost > 0 {
		t.Errorf("%d transactions lost", watch.Lost)
	}
	var shown bytes.Buffer
	w := tabwriter.NewWriter(&shown, 0, 0, 2, ' ', 0)
	showWatch(w, watch)
	showAction(w, action)
	w.Flush()
	t.Logf("\n%s", &shown)

	for _, want := range []struct {
		reason  string
		verdict evidence.Verdict
		good    []string // senders and why
	}{
		{"helo-underscore", evidence.Safe, nil},
		{"helo-mismatch", evidence.Unsafe, []string{"notices.example regular", "partner.example answered", "good3.example delivers"}},
		{"helo-cname", evidence.Unknown, nil},
	} {
		i := slices.IndexFunc(watch.Reasons, func(x evidence.Watched) bool { return x.Reason == want.reason })
		x := watch.Reasons[i]
		if x.Verdict != want.verdict {
			t.Errorf("%s is %s: %s; want %s", x.Reason, x.Verdict, x.Why, want.verdict)
		}
		if got := good(x.Affected); !slices.Equal(got, want.good) {
			t.Errorf("%s: good senders %q, want %q", x.Reason, got, want.good)
		}
		for _, g := range want.good {
			if name, _, _ := strings.Cut(g, " "); !strings.Contains(x.Why, name) {
				t.Errorf("%s: %q does not name %s", x.Reason, x.Why, name)
			}
		}
	}
	for _, want := range []struct {
		reason         string
		wronged        []string
		held, cameBack int
	}{
		{"rdns-missing", []string{"good7.example delivers", "late.example answered"}, 0, 0},
		{"rdns-mismatch", []string{"good6.example delivers"}, 3, 1},
	} {
		i := slices.IndexFunc(action.Reasons, func(x evidence.Enforced) bool { return x.Reason == want.reason })
		x := action.Reasons[i]
		if got := good(x.Wronged); !slices.Equal(got, want.wronged) || x.HeldSenders != want.held || x.CameBack != want.cameBack {
			t.Errorf("%s: wronged %q, held %d, came back %d; want %+v", x.Reason, got, x.HeldSenders, x.CameBack, want)
		}
	}
	for _, want := range []string{"helo-underscore", "safe to enforce: ", "not safe: because of notices.example (5, regular), ", "too little seen yet: 3 of 100 occasions"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
}

// good lists the good ones of senders.
func good(list []evidence.Sender) []string {
	var names []string
	for _, s := range list {
		if s.Good != "" {
			names = append(names, s.Name()+" "+s.Good)
		}
	}
	return names
}
