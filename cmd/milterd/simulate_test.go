package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/session"
	"milterd/milter/miltertest"
)

// sessionFiles returns the session files of the examples, beside the checks those of their reasons and, a folder below, those
// of faults that mail has shown, and those of this package.
func sessionFiles(t *testing.T) []*session.Script {
	t.Helper()
	return readSessions(t, "../../examples/*.session", "../../checks/*/testdata/*.session", "../../checks/*/testdata/cases/*.session",
		"testdata/sessions/*.session")
}

// readSessions reads the session files whose names match patterns, at least one for each.
func readSessions(t *testing.T, patterns ...string) []*session.Script {
	t.Helper()
	var paths []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("found no session file %s: %v", pattern, err)
		}
		paths = append(paths, found...)
	}
	var scripts []*session.Script
	for _, p := range paths {
		s, err := session.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, s)
	}
	return scripts
}

// TestSessionsBySimulate plays the session files by the command simulate, but not that of TestDemoWithAnyDNS.
func TestSessionsBySimulate(t *testing.T) {
	t.Parallel()
	for _, s := range sessionFiles(t) {
		if filepath.Base(s.Name) == "demo.session" {
			continue
		}
		t.Run(filepath.Base(s.Name), func(t *testing.T) {
			t.Parallel()
			if s.Zone == "" {
				t.Fatal(`without a part "zone" the real DNS decides; add one, which may be empty`)
			}
			if code, out, errs := runLine(t, "simulate", s.Name); code != 0 {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// TestSessionsOverSocket plays the session files over the milter protocol with a real DNS server, with prefetch and
// without. Replies and log lines must be the same.
func TestSessionsOverSocket(t *testing.T) {
	t.Parallel()
	for _, s := range sessionFiles(t) {
		t.Run(filepath.Base(s.Name), func(t *testing.T) {
			t.Parallel()
			var transcripts []string
			for _, prefetch := range []bool{true, false} {
				transcripts = append(transcripts, playOverSocket(t, s, prefetch))
			}
			if transcripts[0] != transcripts[1] {
				t.Errorf("with prefetch:\n%s\nwithout:\n%s", transcripts[0], transcripts[1])
			}
			id, _ := strings.CutSuffix(filepath.Base(s.Name), ".session")
			if strings.Contains(s.Name, "/checks/") && !strings.Contains(s.Name, "/cases/") && !strings.Contains(transcripts[0], "reason="+id+" action=reject") {
				t.Errorf("%s did not refuse:\n%s", id, transcripts[0])
			}
		})
	}
}

// playOverSocket plays a session file and returns the dialogue and the log.
func playOverSocket(t *testing.T, s *session.Script, prefetch bool) string {
	t.Helper()
	d := startDaemon(t, s.Config, s.Zone, prefetch)
	var transcript strings.Builder
	player := clocked{&session.Socket{Network: "tcp", Address: d.address, Timeout: miltertest.WaitTimeout}, &d.clock}
	wrong, err := session.Play(s, player, func(command string, reply []string) { printExchange(&transcript, command, reply) })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range wrong {
		t.Error(m)
	}
	d.stop()
	transcript.WriteString(d.log.String())
	return dnsPort.ReplaceAllString(transcript.String(), "127.0.0.1:PORT")
}

// TestQueueIDs tests that each message of a session has a queue id of its own, by which reports tell messages apart.
func TestQueueIDs(t *testing.T) {
	t.Parallel()
	const message = "C: MAIL FROM:<alice@example.net>\nC: RCPT TO:<bob@example.org>\n"
	s, err := session.Parse("two.session", []byte("Two messages.\n-- zone --\n-- smtp --\nclient 192.0.2.9\nC: EHLO 192.0.2.9\n"+message+"C: RSET\n"+message))
	if err != nil {
		t.Fatal(err)
	}
	if got := playOverSocket(t, s, false); strings.Count(got, "queue_id=TEST1 ") != 1 || strings.Count(got, "queue_id=TEST2 ") != 1 {
		t.Errorf("got\n%s", got)
	}
}

// TestLogWhileStoreIsDown tests that during an outage of the store the log has no line about it for each mail, but that of the checks
// that could not find out, once for all of them. The store itself logs when an outage begins and ends.
func TestLogWhileStoreIsDown(t *testing.T) {
	t.Parallel()
	var total atomic.Int64
	t.Cleanup(func() { // after the parallel sessions
		if total.Load() == 0 {
			t.Error("no line about the store in any session")
		}
	})
	for _, s := range sessionFiles(t) {
		t.Run(filepath.Base(s.Name), func(t *testing.T) {
			t.Parallel()
			st := checktest.NewStore(time.Now)
			d := startDaemonIn(t, s.Config, s.Zone, false, func(_ *testDaemon, env *checks.Env) { env.Store = st })
			st.Fail(fmt.Errorf("store: %w since noon", checks.ErrStoreDown))
			player := clocked{&session.Socket{Network: "tcp", Address: d.address, Timeout: miltertest.WaitTimeout}, &d.clock}
			commands := 0
			_, err := session.Play(s, player, func(command string, _ []string) {
				if strings.HasPrefix(command, "MAIL") || strings.HasPrefix(command, "RCPT") || strings.HasPrefix(command, "DATA") {
					commands++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			d.stop()
			lines := d.log.String()
			unknown, all := strings.Count(lines, `msg="could not find out"`), strings.Count(lines, `msg="could not`)
			total.Add(int64(strings.Count(lines, checks.ErrStoreDown.Error())))
			if unknown > commands || all > unknown {
				t.Errorf("%d checks could not find out, %d lines in all, in %d commands:\n%s", unknown, all, commands, lines)
			}
		})
	}
}

// dnsPort is the address of the DNS server of a test, which errors name.
var dnsPort = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// clocked sets the clock of the daemon to that of the script.
type clocked struct {
	*session.Socket
	clock *atomic.Pointer[time.Time]
}

func (c clocked) Time(t time.Time) { c.clock.Store(&t) }

// TestSimulateJSONMarks tests the action of mail that is let in.
func TestSimulateJSONMarks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, actions, message, want string }{
		{"accepted", "rdns-missing: watch", "", `"action":"accept","reason":""`},
		{"tagged", "rdns-missing: tag", "", `"action":"tag","reason":"rdns-missing"`},
		{"quarantined", "rdns-missing: quarantine", "", `"action":"quarantine","reason":"rdns-missing"`},
		{"quarantined for a field", "rdns-missing: tag, msgid-missing: quarantine", message, `"action":"quarantine","reason":"msgid-missing"`},
		{"refused", "rdns-missing: tag, msgid-missing: reject", message, `"action":"reject","reason":"msgid-missing"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "marks.session")
			writeFile(t, path, "-- config --\nactions: {helo-unresolvable: watch, sender-no-domain: watch, "+c.actions+"}\n-- zone --\n@ SOA . . 1 1 1 1 1\n-- smtp --\nclient 192.0.2.10\nC: EHLO mail.example.com\n"+
				"C: MAIL FROM:<dave@example.com>\nC: RCPT TO:<carol@example.org>\n"+c.message)
			if out := printed(t, "simulate", "--json", path); !strings.Contains(out, c.want) {
				t.Errorf("no %s in\n%s", c.want, out)
			}
		})
	}
}

// TestMarksOfExamples tests which messages of the examples that fail DMARC are let in with a mark, in the profiles safe and strict.
func TestMarksOfExamples(t *testing.T) {
	t.Parallel()
	mark := regexp.MustCompile(`(?m)^ +X-Milterd: (\S+);.*\[(\w+)\]$`)
	for _, c := range []struct{ file, profile, want string }{
		{"list", "safe", "dmarc-list tag"},
		{"list", "strict", "dmarc-list quarantine"},
		{"newsletter", "safe", "dmarc-quarantine tag"},
		{"newsletter", "strict", "dmarc-quarantine quarantine"},
		{"dmarc", "safe", ""},
	} {
		t.Run(c.file+" "+c.profile, func(t *testing.T) {
			t.Parallel()
			text := readFile(t, "../../examples/"+c.file+".session")
			path := filepath.Join(t.TempDir(), c.file+".session")
			writeFile(t, path, strings.Replace(text, "-- config --\n", "-- config --\nprofile: "+c.profile+"\nactions: {first-contact: off}\n", 1))
			out := printed(t, "simulate", path)
			var got []string
			for _, m := range mark.FindAllStringSubmatch(out, -1) {
				got = append(got, m[1]+" "+m[2])
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// message is a message without a Message-ID.
const message = "C: DATA\nC: From: dave@example.com\nC: Date: Sat, 21 Nov 2026 12:00:00 +0000\nC:\nC: .\n"

// TestSimulateWrongReply tests that a reply that differs from the session file is reported with its line.
func TestSimulateWrongReply(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wrong.session")
	writeFile(t, path, "-- zone --\n-- smtp --\nclient 192.0.2.1\nC: EHLO 192.0.2.1\nC: MAIL FROM:<>\nC: RCPT TO:<u@example.org>\nS: 250\n")
	code, out, errs := runLine(t, "simulate", "-c", "none", path)
	if want := path + `:7: want the reply "250", got "501 5.5.2 `; code != exitNo || !strings.Contains(out, want) {
		t.Errorf("exit code %d, no %q in\n%s%s", code, want, out, errs)
	}
}

// TestSessionFileMistakes tests that an error in any part of a session file is reported with its line.
func TestSessionFileMistakes(t *testing.T) {
	t.Parallel()
	const smtp = "-- smtp --\nclient 192.0.2.1\nC: EHLO a.example\n"
	for _, c := range []struct{ name, text, want string }{
		{"the configuration", "Title\n-- config --\nhostname: mx.example.org\nactionz: {}\n" + smtp, `:4:1: unknown key "actionz"`},
		{"the zone", "Title\n\n-- zone --\nmail.example.net. A nonsense\n" + smtp, "at line: 4:"},
		{"a directive of the zone", "-- zone --\n!DEAD example.net\n" + smtp, "zone: line 2: unknown directive"},
		{"the dialogue", smtp + "Q: what\n", ":4: \"Q: what\": want a line that starts with"},
		{"a client", "-- smtp --\nclient x.y\n", ":2: client \"x.y\": not an address"},
		{"no dialogue", "nothing\n", "no part \"smtp\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "bad.session")
			writeFile(t, path, c.text)
			if code, _, errs := runLine(t, "simulate", "-c", "none", path); code != exitNo || !strings.Contains(errs, c.want) || !strings.Contains(errs, path) {
				t.Errorf("exit code %d: %s", code, errs)
			}
		})
	}
}

// explainedSession has an exempt recipient, a watched and an enforced reason, and a trusted client.
const explainedSession = `-- config --
actions: {helo-underscore: watch, rdns-missing: reject, spf-none: off}
-- zone --
example.net. MX 10 mx.example.net.
mx.example.net. A 9.9.9.9
mail_1.example.net. A 192.0.2.9
9.2.0.192.in-addr.arpa. PTR mail.example.net.
mail.example.net. A 192.0.2.9
!TIMEOUT 10.2.0.192.in-addr.arpa
-- smtp --
client 192.0.2.9
C: EHLO mail_1.example.net
C: MAIL FROM:<alice@example.net>
C: RCPT TO:<postmaster@example.org>
C: DATA
C: Date: yesterday
C: .
C: MAIL FROM:<alice@example.net>
C: RCPT TO:<bob@example.org>
C: DATA
C: Date: yesterday
C:
C: .
client 192.0.2.8
C: EHLO mail_1.example.net
C: MAIL FROM:<>
C: RCPT TO:<bob@example.org>
client 192.0.2.10
C: EHLO mail.example.net
C: AUTH bob
C: MAIL FROM:<bob@example.org>
C: RCPT TO:<amy@example.net>
`

// TestSimulateExplain tests what is shown of reasons with --explain, and why mail was not checked.
func TestSimulateExplain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.session")
	writeFile(t, path, explainedSession)
	out := printed(t, "simulate", "--explain", path)
	text := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"not checked: no check applies to mail to <postmaster@example.org>",
		"not checked: no check applies to the message",
		"helo-underscore (watch): ",
		"helo-underscore Meaning: ",
		"rdns-missing (reject): 192.0.2.8 has no reverse DNS name",
		"8.2.0.192.in-addr.arpa. PTR? no such name",
		"rdns-missing Meaning: The address of your server has no name in the reverse DNS",
		"Remedy: Have the provider of the address set its PTR record",
		"not checked: the client is trusted",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(text, "spf-none Meaning") {
		t.Errorf("explained a reason that is off:\n%s", out)
	}
	if out := printed(t, "simulate", path); strings.Contains(out, "Meaning:") {
		t.Errorf("without --explain: %s", out)
	}
}

// TestHostileTrace tests that names and notes with control characters do not reach the terminal.
func TestHostileTrace(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b[2Jb"
	var out bytes.Buffer
	printDecision(&out, checks.NewRequest(&checks.Session{}, checks.RcptTo), checks.Decision{Results: []checks.Result{{
		Check: "spf", Notes: []string{hostile}, Err: errors.New(hostile),
		Asked: []checks.Asked{{Question: checks.Question{Name: hostile, Type: dns.TypeTXT}, Err: errors.New(hostile)}},
	}}})
	if text := out.String(); strings.Contains(text, "\x1b") || strings.Count(text, "a?[2Jb") != 4 {
		t.Errorf("%q", text)
	}
}

func TestSimulateMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"", "simulate: want a session: --client and --rcpt, session files, or --smtp with --client"},
		{"-c x.yaml --helo x", "simulate: want a session"},
		{"--rcpt u@example.org", "--client: want the address of the client"},
		{"--client 192.0.2 --rcpt u@example.org", `--client: "192.0.2" is no address`},
		{"--client 192.0.2.9", "--rcpt: want a recipient"},
		{"--smtp", "--client: want the address of the client"},
		{"--smtp --client 192.0.2", `--client: "192.0.2" is no address`},
		{"--smtp --client 192.0.2.9 --json", "--json and --smtp cannot be used together"},
		{"--smtp --client 192.0.2.9 --helo x", "--helo and --smtp cannot be used together"},
		{"--smtp --client 192.0.2.9 x.session", "takes no session files"},
		{"--record oo2f2hjqv5ct --name mail.example.net", "--name and --record cannot be used together"},
		{"--explain --json x.session", "--explain and --json cannot be used together"},
		{"--client 192.0.2.9 --rcpt u@example.org --milter 8891", `did you mean "inet:8891@127.0.0.1"?`},
	} {
		if code, out, errs := runWith(t, strings.NewReader(""), append([]string{"simulate"}, strings.Fields(c.args)...)...); code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d: %s%s", c.args, code, out, errs)
		}
	}
}
