package store

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
	"milterd/headers"
	"milterd/milter/store"
	"milterd/milter/store/redistest"
)

// reportSink is a mail server that counts the DMARC reports it takes, by the line that names the number of messages.
type reportSink struct {
	mu      sync.Mutex
	reports map[string]int
}

// dial implements checks.Env.Dial.
func (s *reportSink) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go s.serve(server)
	return client, nil
}

func (s *reportSink) serve(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 mx.example.org\r\n")
	subject, data := "", false
	for in := bufio.NewScanner(conn); in.Scan(); {
		line := in.Text()
		switch {
		case line == "DATA":
			data = true
			fmt.Fprint(conn, "354 go on\r\n")
		case data && strings.HasPrefix(line, "Subject: "):
			subject = line
		case data && strings.Contains(line, " messages came with this domain"):
			s.mu.Lock()
			s.reports[subject+": "+line]++
			s.mu.Unlock()
		case !data || line == ".":
			data = false
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
}

// TestDMARCReports has two hosts with a common Redis count mail and then send the reports at the same time: each domain gets one
// report, about the mail of both.
func TestDMARCReports(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	const domains = 25
	var zone strings.Builder
	for i := range domains {
		fmt.Fprintf(&zone, "_dmarc.d%d.example TXT \"v=DMARC1; p=reject; rua=mailto:a@d%[1]d.example\"\nd%[1]d.example TXT \"v=spf1 ip4:192.0.2.1 -all\"\n", i)
	}
	sink := &reportSink{reports: map[string]int{}}
	now := time.Date(2026, 11, 28, 23, 0, 0, 0, time.UTC)
	var hosts [2]checks.Check
	maintain := func(at time.Time) {
		var wg sync.WaitGroup
		for _, h := range hosts {
			wg.Go(func() { h.(checks.Maintainer).Maintain(t.Context(), at) })
		}
		wg.Wait()
	}
	for i := range hosts {
		s, err := store.Open(store.Config{Driver: "redis", URL: redis.URL()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		env := checktest.Env(t, zone.String())
		env.Store, env.Dial, env.Signatures = s, sink.dial, 5
		hosts[i] = checktest.Build(t, dmarc.Info, env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })
	}
	maintain(now)
	for n := range 2 * 3 * domains {
		domain := fmt.Sprintf("d%d.example", n%domains)
		r := checktest.Session{Client: "192.0.2.1", Helo: "mail." + domain, MailFrom: "a@" + domain, Time: now, Header: []headers.Field{{Name: "From", Value: "a@" + domain}}}.Request(t)
		r.Stage = checks.EndOfMessage
		if _, err := hosts[n%2].Check(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		hosts[n%2].(checks.Observer).Observe(t.Context(), r, checks.Event{Kind: checks.Accepted, Stage: checks.EndOfMessage})
	}
	maintain(now.Add(time.Minute))
	for n := range 10 {
		maintain(now.Add(time.Hour + time.Duration(11+n)*time.Minute))
	}
	if len(sink.reports) != domains {
		t.Errorf("%d reports, want %d", len(sink.reports), domains)
	}
	for about, times := range sink.reports {
		if times != 1 || !strings.Contains(about, ": 6 messages came") {
			t.Errorf("%d times: %s", times, about)
		}
	}
}
