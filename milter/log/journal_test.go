package log

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// hostile tries to forge a line, a field, and to clear a terminal.
var hostile = "a\r\nNov 21 mx postfix: forged\x00\x1b[2J\"msg=accept"

func session() *checks.Session {
	s := &checks.Session{ID: "s1", Client: netip.MustParseAddr("192.0.2.9"), ClientName: hostile, Helo: hostile}
	s.Envelope = checks.Envelope{
		QueueID: "Q1", MailFrom: checks.Address{Text: hostile},
		Rcpts: []checks.Recipient{{Address: checks.Address{Text: "bob@example.org"}}},
	}
	return s
}

// decision has one outcome and one failed check.
func decision() checks.Decision {
	return checks.Decision{
		Outcomes: []checks.Outcome{{
			Check: "helo", Stage: checks.Helo, Reason: &checks.Reason{ID: "helo-x"}, Action: checks.Reject,
			Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}, Detail: map[string]string{"extra": hostile},
		}},
		Failures: []checks.Failure{{Check: "rdns", Stage: checks.Connect, Err: errors.New(hostile)}},
	}
}

// logged returns what a Journal logs.
func logged(json, stamp bool, do func(Journal)) string {
	var out bytes.Buffer
	o := ToWriter(&out, json, stamp)
	do(Journal{Log: o.Logger(logrus.InfoLevel)})
	o.Close(5 * time.Second)
	return out.String()
}

func TestDecisionsAreOneLineEach(t *testing.T) {
	t.Parallel()
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprint("json=", json), func(t *testing.T) {
			t.Parallel()
			out := logged(json, true, func(j Journal) {
				j.Decided(checks.NewRequest(session(), checks.RcptTo), decision())
				j.Accepted(checks.NewRequest(session(), checks.EndOfHeader))
			})
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if len(lines) != 3 {
				t.Fatalf("%d lines:\n%s", len(lines), out)
			}
			for _, field := range []string{"session", "queue_id", "client", "client_name", "helo", "mail_from", "rcpt", "stage", "check", "reason", "action", "code", "text"} {
				if !strings.Contains(lines[0], field) {
					t.Errorf("no field %s in %s", field, lines[0])
				}
			}
			for _, c := range []byte(strings.Join(lines, "")) {
				if c < ' ' || c == 0x7f {
					t.Errorf("byte %#x in the log", c)
				}
			}
		})
	}
}

func TestFieldsHaveAnOrder(t *testing.T) {
	t.Parallel()
	out := logged(false, false, func(j Journal) { j.Decided(checks.NewRequest(session(), checks.RcptTo), decision()) })
	if want := "level=info msg=reject session=s1 queue_id=Q1 client=192.0.2.9 client_name="; !strings.HasPrefix(out, want) {
		t.Errorf("got %s, want the prefix %s", out, want)
	}
	if want := `rcpt=bob@example.org stage=helo check=helo reason=helo-x action=reject code=550 text="5.7.1 no" extra=`; !strings.Contains(out, want) {
		t.Errorf("no %s in %s", want, out)
	}
}

func TestNoInfoLinesBelowLevelInfo(t *testing.T) {
	t.Parallel()
	out := logged(false, false, func(j Journal) {
		j.Log.SetLevel(logrus.WarnLevel)
		j.Decided(checks.NewRequest(session(), checks.RcptTo), decision())
		j.Accepted(checks.NewRequest(session(), checks.EndOfHeader))
	})
	if strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "level=warning") {
		t.Errorf("got %s", out)
	}
}

// TestLongValuesAreCut bounds what a line takes while it waits.
func TestLongValuesAreCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	out := logged(false, false, func(j Journal) {
		s, d := session(), decision()
		s.Helo, d.Outcomes[0].Detail["date"] = long, long
		j.Decided(checks.NewRequest(s, checks.RcptTo), d)
		j.Accepted(checks.NewRequest(s, checks.EndOfHeader))
	})
	if len(out) > 10<<10 {
		t.Errorf("%d bytes", len(out))
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a", "b\nc")
	f.Add("level=info", "\u2028\u0085\xff")
	f.Fuzz(func(t *testing.T, helo, value string) {
		for _, json := range []bool{false, true} {
			out := logged(json, false, func(j Journal) {
				s, d := session(), decision()
				s.Helo, d.Outcomes[0].Detail["extra"] = helo, value
				j.Decided(checks.NewRequest(s, checks.RcptTo), d)
			})
			if n := strings.Count(out, "\n"); n != 2 {
				t.Errorf("%d lines, want 2: %q", n, out)
			}
		}
	})
}
