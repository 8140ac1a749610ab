package dmarc_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
	"milterd/checks/facts/dmarc/aggregate"
)

// mailServer is the mail server of the site, to which reports are submitted.
type mailServer struct {
	mu       sync.Mutex
	down     bool
	arrived  chan struct{}     // if not nil: receives a value for each message, before the server waits for reply
	reply    chan struct{}     // receives a value, or is closed, when the server may reply to a message
	replies  map[string]string // to a command that begins with the key
	messages []submitted
}

type submitted struct {
	to   []string
	text string
}

// dial implements checks.Env.Dial.
func (s *mailServer) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	go s.serve(server)
	return client, nil
}

func (s *mailServer) serve(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 mx.example.org ESMTP\r\n")
	var m submitted
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		reply := s.replyTo(line)
		switch {
		case reply != "":
		case strings.HasPrefix(line, "RCPT TO:"):
			m.to = append(m.to, strings.Trim(line[len("RCPT TO:"):], "<>"))
			reply = "250 ok"
		case line == "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			var text strings.Builder
			for line, err := in.ReadString('\n'); err == nil && line != ".\r\n"; line, err = in.ReadString('\n') {
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			m.text = text.String()
			s.mu.Lock()
			s.messages = append(s.messages, m)
			s.mu.Unlock()
			if s.arrived != nil {
				s.arrived <- struct{}{}
				<-s.reply
			}
			reply = "250 queued"
		default:
			reply = "250 ok"
		}
		fmt.Fprintf(conn, "%s\r\n", reply)
		if line == "QUIT" {
			return
		}
	}
}

func (s *mailServer) replyTo(line string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for start, reply := range s.replies {
		if strings.HasPrefix(line, start) {
			return reply
		}
	}
	return ""
}

func (s *mailServer) set(down bool, replies map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.replies = down, replies
}

// take returns the messages since the last call, by their first recipient.
func (s *mailServer) take() []submitted {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.messages
	s.messages = nil
	slices.SortFunc(list, func(a, b submitted) int { return strings.Compare(a.to[0], b.to[0]) })
	return list
}

// reportZone has domains that want reports, besides those of zone.
const reportZone = `
_dmarc.bank.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@bank.example"
_dmarc.shop.example TXT "v=DMARC1; p=quarantine; adkim=s; rua=mailto:a@shop.example,mailto:b@shop.example!1k,mailto:x@reports.example.net"
_dmarc.test.example TXT "v=DMARC1; p=reject; t=y; rua=mailto:dmarc@test.example"
_dmarc.club.example TXT "v=DMARC1; p=none"
test.example TXT "v=spf1 ip4:192.0.2.1 -all"
`

// reporting is a site of some hosts that send reports.
type reporting struct {
	server *mailServer
	store  *checktest.Store
	env    checks.Env
	hosts  []checks.Check
	now    time.Time
}

func newReporting(t *testing.T, hosts int) *reporting {
	t.Helper()
	s := &reporting{server: &mailServer{}, now: checktest.Now}
	s.store = checktest.NewStore(func() time.Time { return s.now })
	var lines []string
	for line := range strings.Lines(zone) {
		if !strings.HasPrefix(line, "_dmarc.") || strings.HasPrefix(line, "_dmarc.wide") {
			lines = append(lines, line)
		}
	}
	s.env = checktest.Env(t, strings.Join(lines, "")+reportZone)
	s.env.Signatures, s.env.Store, s.env.Dial, s.env.Site = 5, s.store, s.server.dial, checks.Site{Hostname: "mx.example.org"}
	for range hosts {
		c := checktest.Build(t, dmarc.Info, s.env, func(c *dmarc.Settings) {
			c.Reports.From, c.Reports.Org = "postmaster@example.org", "Example, \"Org\" \u00e9"
		})
		s.hosts = append(s.hosts, c)
		s.maintain(t, len(s.hosts)-1, 0)
	}
	return s
}

func (s *reporting) maintain(t *testing.T, host int, after time.Duration) {
	t.Helper()
	s.now = s.now.Add(after)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.hosts[host].(checks.Maintainer).Maintain(ctx, s.now)
}

// nextDay has the hosts write what they counted, and moves the clock to the time when its reports are due.
func (s *reporting) nextDay(t *testing.T) {
	t.Helper()
	for i := range s.hosts {
		s.maintain(t, i, 0)
	}
	s.now = s.now.Truncate(24 * time.Hour).Add(24*time.Hour + 9*time.Minute)
	for i := range s.hosts {
		s.maintain(t, i, 0)
	}
	s.now = s.now.Add(2 * time.Minute)
}

// receive has a host judge a message and observe what became of it: accepted, or refused for a reason.
func (s *reporting) receive(t *testing.T, host int, m message, refused string) {
	t.Helper()
	r := m.request(t, s.env)
	r.Time = s.now
	r.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
	verdicts, err := s.hosts[host].Check(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	e := checks.Event{Kind: checks.Accepted, Stage: checks.EndOfMessage}
	for _, v := range verdicts {
		if refused != "" && v.Reason.ID == refused {
			e = checks.Event{Kind: checks.Refused, Stage: checks.EndOfMessage, Reason: v.Reason, Reply: v.Reason.Reply}
		}
	}
	if (e.Reason != nil) != (refused != "") {
		t.Fatalf("no verdict %s: %v", refused, checktest.IDs(verdicts))
	}
	s.hosts[host].(checks.Observer).Observe(t.Context(), r, e)
}

var (
	fromBank = message{client: "192.0.2.1", from: "a@bank.example", header: "From: a@bank.example\n"}
	signed   = message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@mail.bank.example\n", sign: "bank.example,lost.evil.example"}
	forged   = message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@bank.example\n"}
	fromShop = message{client: "192.0.2.1", from: "a@shop.example", header: "From: a@shop.example\n"}
)

// reportOf returns the report in a message, which must have the form of RFC 9990 section 3.5.2.
func reportOf(t *testing.T, text string) *aggregate.Report {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("%s, %v", kind, err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || from[0].Name != "Example, \"Org\" \u00e9" || from[0].Address != "postmaster@example.org" {
		t.Errorf("From: %v, %v", from, err)
	}
	parts := multipart.NewReader(m.Body, parameters["boundary"])
	var report *aggregate.Report
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.Header.Get("Content-Type") != "application/gzip" {
			continue
		}
		data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
		if err != nil {
			t.Fatal(err)
		}
		if report, err = aggregate.Parse(data); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("example.org!%s!%d!%d!", report.Policy.Domain, report.Begin.Unix(), report.End.Unix())
		if name := part.FileName(); !strings.HasPrefix(name, want) || !strings.HasSuffix(name, ".xml.gz") {
			t.Errorf("file name %q, want %s", name, want)
		}
	}
	if report == nil {
		t.Fatalf("no report in %s", text)
	}
	subject := fmt.Sprintf("Report Domain: %s Submitter: example.org Report-ID: <%s>", report.Policy.Domain, report.ID)
	if got := m.Header.Get("Subject"); got != subject || m.Header.Get("Message-ID") != "<"+report.ID+">" || m.Header.Get("Auto-Submitted") == "" {
		t.Errorf("subject %q, want %q", got, subject)
	}
	return report
}
