package main

import (
	"bytes"
	"cmp"
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
	"milterd/milter/miltertest"
)

// month is a month of mail through the milter socket of a daemon whose clock the test moves.
//
// The first label of a host's name is its fault, see faults. All hosts pass SPF for their domain, as those of many
// spammers do.
type month struct {
	*testDaemon
	t     *testing.T
	zone  strings.Builder
	days  [][]mail
	addrs map[string]netip.Addr // addresses of hosts, by name
}

// mail is a message.
type mail struct {
	host     string // of the client; empty is a local submission
	from, to string
	author   string        // address in From; empty: from
	wait     time.Duration // since the message before
	want     string        // beginning of the first refusal; empty if the message is accepted
}

const monthConfig = `
hostname: mx.example.org
local_domains: [example.org]
profile: safe
actions: {helo-underscore: watch, helo-mismatch: watch, helo-cname: watch, rdns-missing: reject, rdns-mismatch: greylist}
`

// monthBegins is the time of the first day, which is not the first of a week.
var monthBegins = time.Date(2026, 10, 20, 8, 0, 0, 0, time.UTC)

// faults are the HELO names and zones of hosts by fault. The format arguments are the host's name, the name of its PTR
// record, and its address.
var faults = map[string]struct{ helo, zone string }{
	"mail":   {"%[1]s", "%[2]s PTR %[1]s.\n%[1]s. A %[3]s\n"},
	"under":  {"bad_%[1]s", "%[2]s PTR bad_%[1]s.\nbad_%[1]s. A %[3]s\n"},
	"wrong":  {"other.%[1]s", "%[2]s PTR %[1]s.\n%[1]s. A %[3]s\nother.%[1]s. A 11.0.0.1\n"},
	"alias":  {"alias.%[1]s", "%[2]s PTR %[1]s.\n%[1]s. A %[3]s\nalias.%[1]s. CNAME %[1]s.\n"},
	"noptr":  {"%[1]s", "%[1]s. A %[3]s\n"},
	"misptr": {"%[1]s", "%[2]s PTR elsewhere.%[1]s.\nelsewhere.%[1]s. A 11.0.0.1\n%[1]s. A %[3]s\n"},
}

// add adds messages to a day. Their hosts are named FAULT.DOMAIN.
func (m *month) add(day int, mails ...mail) {
	for len(m.days) <= day {
		m.days = append(m.days, nil)
	}
	m.days[day] = append(m.days[day], mails...)
	for _, l := range mails {
		m.addHost(l.host)
	}
}

// addHost gives a host an address and its records.
func (m *month) addHost(host string) {
	fault, domain, _ := strings.Cut(host, ".")
	if _, ok := m.addrs[host]; ok || host == "" {
		return
	}
	n := len(m.addrs) + 1
	addr := netip.AddrFrom4([4]byte{11, byte(1 + n/200), byte(n % 200), 9}) // each in a network of its own
	m.addrs[host] = addr
	reverse := fmt.Sprintf("9.%d.%d.11.in-addr.arpa.", n%200, 1+n/200)
	fmt.Fprintf(&m.zone, faults[fault].zone, host, reverse, addr)
	if _, ok := m.addrs["."+domain]; !ok {
		m.addrs["."+domain] = addr
		fmt.Fprintf(&m.zone, "%s. MX 10 mx.%[1]s.\nmx.%[1]s. A 11.0.0.9\n%[1]s. TXT \"v=spf1 exists:%%{i}.ok.%[1]s -all\"\n", domain)
	}
	fmt.Fprintf(&m.zone, "%s.ok.%s. A 127.0.0.2\n", addr, domain)
}

// play sends the messages of all days.
func (m *month) play() {
	m.testDaemon = startDaemon(m.t, []byte(monthConfig), m.zone.String(), true)
	m.t.Cleanup(m.stop)
	socket := &session.Socket{Network: "tcp", Address: m.address, Timeout: miltertest.WaitTimeout}
	for day, mails := range m.days {
		now := monthBegins.AddDate(0, 0, day)
		for i, l := range mails {
			now = now.Add(time.Minute + l.wait)
			at := now
			m.clock.Store(&at)
			if got := m.send(socket, l, now); !strings.HasPrefix(got, l.want) || l.want == "" && got != "" {
				m.t.Fatalf("day %d: %+v got %q", day, l, got)
			}
			if i%100 == 99 {
				m.flush() // the queue holds less than a day
			}
		}
		m.flush()
	}
	if err := socket.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// flush waits until the evidence is stored.
func (m *month) flush() {
	m.t.Helper()
	if err := m.evidence.Flush(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// send sends a message and returns the reply that refuses it, or "".
func (m *month) send(socket *session.Socket, l mail, now time.Time) string {
	client, helo := session.Client{Addr: netip.MustParseAddr("127.0.0.1")}, "localhost"
	if l.host != "" {
		fault, _, _ := strings.Cut(l.host, ".")
		client, helo = session.Client{Addr: m.addrs[l.host]}, fmt.Sprintf(faults[fault].helo, l.host)
	}
	steps := []func() ([]string, error){
		func() ([]string, error) { return nil, socket.Connect(client) },
		func() ([]string, error) { return nil, socket.Helo(helo, false) },
		func() ([]string, error) { return socket.Mail("<"+l.from+">", "") },
		func() ([]string, error) { return socket.Rcpt("<" + l.to + ">") },
		func() ([]string, error) {
			return socket.Message([]headers.Field{
				{Name: "Date", Value: now.Format(time.RFC1123Z)}, {Name: "From", Value: "<" + cmp.Or(l.author, l.from) + ">"},
				{Name: "Message-ID", Value: fmt.Sprintf("<%d@%s>", now.Unix(), strings.TrimPrefix(l.host, "."))},
			}, "")
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
	bob  = "bob@example.org"
	days = 30 // of the month
)

// addTraffic adds the messages of the month.
func addTraffic(m *month) {
	for day := range days {
		// Forty good sites.
		for i := range 40 {
			if (day+i)%3 == 0 {
				domain := fmt.Sprintf("good%d.example", i)
				m.add(day, mail{host: "mail." + domain, from: "alice@" + domain, to: bob})
			}
		}
		// Spam from domains that last two days. Their SPF records are right, their HELO names or PTR records wrong.
		for i := range 8 {
			domain := fmt.Sprintf("spam%d-%d.example", day/2, i)
			m.add(day, mail{host: "under." + domain, from: fmt.Sprintf("offer%d@%s", day, domain), to: bob})
			m.add(day, mail{host: "wrong." + domain, from: fmt.Sprintf("offer%d@%s", day, domain), to: bob})
			m.add(day, mail{host: "noptr." + domain, from: fmt.Sprintf("offer%d@%s", day, domain), to: bob, want: "550 5.7.25"})
		}
		// A spammer with one domain, whose mail to postmaster is always accepted. One of its hosts has no PTR record.
		m.add(day, mail{host: "mail.bulk.example", from: "news@bulk.example", to: "postmaster@example.org"})
		if day%10 == 5 {
			m.add(day, mail{host: "under.bulk.example", from: "news@bulk.example", to: bob})
			m.add(day, mail{host: "noptr.bulk.example", from: "news@bulk.example", to: bob, want: "550 5.7.25"})
		}
		// Wrong HELO names: of a partner to whom bob writes, of a small site that receives no answers, and of the second
		// host of a good site.
		if day%7 == 3 {
			m.add(day, mail{host: "wrong.partner.example", from: "carol@partner.example", to: bob})
		}
		if day%6 == 0 {
			m.add(day, mail{host: "wrong.notices.example", from: "robot@notices.example", to: bob})
		}
		if day%14 == 9 {
			m.add(day, mail{host: "wrong.good3.example", from: "alice@good3.example", to: bob})
		}
	}
	// A list that passes on mail of the good sites.
	for day := 1; day < days; day += 4 {
		author := fmt.Sprintf("alice@good%d.example", day)
		m.add(day, mail{host: "mail.list.example", from: "bounces@list.example", author: author, to: bob})
	}
	m.add(12, mail{from: "bob@example.org", to: "carol@partner.example"})
	// A fault that is seen rarely.
	for _, day := range []int{2, 11, 21} {
		m.add(day, mail{host: "alias.rare.example", from: "x@rare.example", to: bob})
	}
	// The new host of a good site has no PTR record for two days.
	for day := 10; day < 12; day++ {
		m.add(day, mail{host: "noptr.good7.example", from: "alice@good7.example", to: bob, want: "550 5.7.25"})
	}
	// A sender is refused, and bob writes to it later.
	m.add(18, mail{host: "noptr.late.example", from: "dave@late.example", to: bob, want: "550 5.7.25"})
	m.add(19, mail{from: "bob@example.org", to: "dave@late.example"})
	// Greylisting defers three: a good sender that retries, a good sender that does not, and a spammer that does not.
	m.add(15, mail{host: "misptr.good5.example", from: "alice@good5.example", to: bob, want: "451 4.7.1"})
	m.add(15, mail{host: "misptr.good5.example", from: "alice@good5.example", to: bob, wait: 20 * time.Minute})
	m.add(16, mail{host: "misptr.good6.example", from: "alice@good6.example", to: bob, want: "451 4.7.1"})
	m.add(16, mail{host: "misptr.spam8-0.example", from: "x@spam8-0.example", to: bob, want: "451 4.7.1"})
}

// TestMonthOfEvidence tests the reports about a month of mail.
func TestMonthOfEvidence(t *testing.T) {
	t.Parallel()
	m := &month{t: t, addrs: map[string]netip.Addr{}}
	addTraffic(m)
	m.play()

	settings, err := evidenceArgs{}.settings(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	watch, action, err := m.evidence.Reports(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	if watch.Lost+action.Lost > 0 {
		t.Errorf("%d transactions lost", watch.Lost)
	}
	testWatched(t, watch)
	testEnforced(t, action)
	testForwarders(t, m.evidence)

	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	showWatch(w, watchReport{WatchReport: watch})
	showAction(w, action)
	w.Flush()
	for _, want := range []string{"helo-underscore", "safe to enforce: ", "not safe: because of notices.example (5, regular), ", "too little seen yet: 3 of 100 occasions"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, &table)
		}
	}
}

// testForwarders tests that the list is known, and proposed as a forwarder.
func testForwarders(t *testing.T, c *evidence.Collector) {
	report, err := c.Forwarders(t.Context())
	if err != nil || len(report.Forwarders) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if f := report.Forwarders[0]; f.Client != "list.example" || f.SPF || f.Messages != 8 || !f.Known {
		t.Errorf("%+v", f)
	}
	if !c.Relays("list.example") || !c.IsGood("good1.example") || c.Relays("good1.example") || c.IsGood("spam1-0.example") {
		t.Error("the known senders are others")
	}
	var table bytes.Buffer
	showForwarders(&table, report)
	if want := "\n  forwarders: [\"list.example\"]\n"; !strings.Contains(table.String(), want) {
		t.Errorf("no %q in\n%s", want, &table)
	}
}

// testWatched compares the verdicts about watched reasons.
func testWatched(t *testing.T, report evidence.WatchReport) {
	for _, want := range []struct {
		reason  string
		verdict evidence.Verdict
		good    []string // good senders and why they are good
	}{
		{"helo-underscore", evidence.Safe, nil},
		{"helo-mismatch", evidence.Unsafe, []string{"notices.example regular", "partner.example answered", "good3.example delivers"}},
		{"helo-cname", evidence.Unknown, nil},
	} {
		i := slices.IndexFunc(report.Reasons, func(x evidence.Watched) bool { return x.Reason == want.reason })
		got := report.Reasons[i]
		if got.Verdict != want.verdict {
			t.Errorf("%s is %s: %s; want %s", got.Reason, got.Verdict, got.Why, want.verdict)
		}
		if good := goodSenders(got.Affected); !slices.Equal(good, want.good) {
			t.Errorf("%s: good senders %q, want %q", got.Reason, good, want.good)
		}
		for _, g := range want.good {
			if name, _, _ := strings.Cut(g, " "); !strings.Contains(got.Why, name) {
				t.Errorf("%s: %q does not name %s", got.Reason, got.Why, name)
			}
		}
	}
}

// testEnforced compares the good senders that enforced reasons affected.
func testEnforced(t *testing.T, report evidence.ActionReport) {
	for _, want := range []struct {
		reason        string
		wronged       []string
		held, retried int
	}{
		{"rdns-missing", []string{"good7.example delivers", "late.example answered"}, 0, 0},
		{"rdns-mismatch", []string{"good6.example delivers"}, 3, 1},
	} {
		i := slices.IndexFunc(report.Reasons, func(x evidence.Enforced) bool { return x.Reason == want.reason })
		got := report.Reasons[i]
		if good := goodSenders(got.Wronged); !slices.Equal(good, want.wronged) || got.HeldSenders != want.held || got.CameBack != want.retried {
			t.Errorf("%s: wronged %q, held %d, retried %d; want %+v", got.Reason, good, got.HeldSenders, got.CameBack, want)
		}
	}
}

// goodSenders returns the names of good senders, each with why it is good.
func goodSenders(list []evidence.Sender) []string {
	var names []string
	for _, s := range list {
		if s.Good != "" {
			names = append(names, s.Name()+" "+s.Good)
		}
	}
	return names
}
