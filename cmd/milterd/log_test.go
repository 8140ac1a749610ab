package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/cmd/milterd/internal/admin"
	"milterd/cmd/milterd/internal/config"
	"milterd/milter/records"
)

// serveFunctions serves the functions of a daemon and returns the path of the socket.
func serveFunctions(t *testing.T, d *daemon) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "milterd") // the name of a test's folder may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { _ = http.Serve(ln, admin.Handler(d.functions())) }()
	return socket
}

// TestLogCommand runs the command for a daemon that has refused one message and accepted another.
func TestLogCommand(t *testing.T) {
	t.Parallel()
	d := newRecordingDaemon(t, nil)
	s := &checks.Session{ID: "s1", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9"), Helo: "evil\x1b[2J\n.example"}
	s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
	id, link := d.link(missingPTR, s.Time)
	o := checks.Outcome{
		Check: "rdns", Reason: missingPTR, Action: checks.Reject,
		Reply: checks.Reply{Code: 550, Enhanced: "5.7.25", Text: "no name", Link: link},
	}
	d.journal().Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{
		Reply: &o.Reply, Reason: missingPTR, Action: checks.Reject, Record: id, Outcomes: []checks.Outcome{o},
		Results: []checks.Result{{Check: "rdns", Outcomes: []checks.Outcome{o}}},
	})
	d.journal().Accepted(checks.NewRequest(s, checks.EndOfHeader))
	awaitRecords(t, d, 2)
	socket := serveFunctions(t, d)

	for _, c := range []struct {
		args   string
		code   int
		has    []string
		hasNot string
	}{
		{"", 0, []string{"ACTION", "reject  rdns-missing  192.0.2.9  evil?[2J .example  <ann@example.com>  <bob@example.org>  s1", "accept  -"}, "\x1b"},
		{"--action accept", 0, []string{"accept"}, "reject"},
		{"--reason rdns-missing --sender example.com --rcpt bob@example.org --client 192.0.2.0/24 --since 1h", 0, []string{"reject"}, "accept"},
		{"--sender other.example", 0, []string{"no records"}, "reject"},
		{"--max 1", 0, []string{"192.0.2.9"}, "zzz"},
		{"--ref " + link, 0, []string{"550 5.7.25 no name", "connect: rdns-missing"}, "TIME"},
		{"--ref " + id, 0, []string{"550 5.7.25 no name"}, "TIME"},
		{"--json --reason rdns-missing", 0, []string{`"id":"` + id + `"`, `"checks":[{"check":"rdns"`}, "accept"},
		{"--since soon", 2, []string{"--since: "}, "reject"},
		{"--max -1", 2, []string{"--max: "}, "reject"},
		{"--ref x", 2, []string{"--ref: "}, "reject"},
		{"--session zzz", 2, []string{`--session: "zzz" is no session id`}, "no records"},
		{"--session oo2f2hjqv5ct", 0, []string{"no records"}, "reject"},
		{"--reason nonsense", 2, []string{`there is no reason "nonsense"; see milterd doc reasons`}, "no records"},
		{"--reason rdns-mising", 2, []string{`there is no reason "rdns-mising"; did you mean rdns-missing?`}, "no records"},
		{"--action nonsense", 2, []string{`there is no action "nonsense"; want one of watch, `, "refused"}, "no records"},
		{"--max x", 2, []string{`--max: "x" is not a whole number`}, "reject"},
		{"word", 2, []string{`want no argument: milterd log [flags]`}, "reject"},
	} {
		code, out, errs := runLine(t, append([]string{"log", "--socket", socket}, strings.Fields(c.args)...)...)
		if code != c.code {
			t.Errorf("%s: exit code %d: %s%s", c.args, code, out, errs)
		}
		for _, want := range c.has {
			if !strings.Contains(out+errs, want) {
				t.Errorf("%s: no %q in\n%s%s", c.args, want, out, errs)
			}
		}
		if strings.Contains(out+errs, c.hasNot) {
			t.Errorf("%s: %q in\n%s%s", c.args, c.hasNot, out, errs)
		}
	}
	none := newRecordingDaemon(t, func(c *config.Config) { c.Records.Max = 0 })
	if _, err := none.findRecords(t.Context(), logArgs{}); err == nil {
		t.Error("no error although no records are kept")
	}
}

// TestRowOfQuarantinedMessage tests that the list of decisions has one row for a message that was set aside, and calls it quarantined.
func TestRowOfQuarantinedMessage(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	showRecords(&out, []records.Record{{
		Action: records.Accept, Quarantined: []string{"spf-fail"}, QueueID: "4dDk", MTA: "Postfix 3.7.11",
		MailFrom: "a@example.net", Rcpts: []string{"bob@example.org", "carol@example.org"}, Session: "s1",
	}, {Action: "quarantine", Reason: "spf-fail", Rcpts: []string{"carol@example.org"}, Session: "s1"}})
	if want := "quarantine\tspf-fail\tunknown\t-\t<a@example.net>\t<bob@example.org> <carol@example.org>\ts1\n\nTo release 4dDk"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
	if n := strings.Count(out.String(), "spf-fail"); n != 1 {
		t.Errorf("%d rows:\n%s", n, out.String())
	}
}

// TestLogInParts tests that more records than one call of the daemon returns are printed once each, the newest first.
func TestLogInParts(t *testing.T) {
	t.Parallel()
	const n = 2*partSize + 1
	d := newRecordingDaemon(t, func(c *config.Config) { c.Records.Max = 2 * n })
	s := &checks.Session{ID: "s1", Time: time.Now(), Client: netip.MustParseAddr("192.0.2.9")}
	s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
	for i := range n {
		d.records.Accepted(checks.NewRequest(s, checks.EndOfHeader))
		if i%100 == 0 {
			awaitRecords(t, d, uint64(i+1)) // more would not fit in the queue
		}
	}
	awaitRecords(t, d, n)
	socket := serveFunctions(t, d)
	for flag, want := range map[string]int{"--max=0": n, "--max=5": 5, "--max=1000": partSize, "--max=1500": partSize + 500, "--action=reject": 0} {
		out := printed(t, "log", "--json", "--socket", socket, flag)
		var list []records.Record
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != want {
			t.Errorf("%s: %d records, want %d; %v", flag, len(list), want, err)
		}
		for i, r := range list {
			if r.Number != int64(n-i) {
				t.Fatalf("%s: record %d has the number %d", flag, i, r.Number)
			}
		}
	}
}
