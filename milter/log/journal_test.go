package log

import (
	"bytes"
	"context"
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

// decision has a watched reason, one that refuses, and a failed check.
func decision() checks.Decision {
	reply, reason := checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}, &checks.Reason{ID: "helo-x"}
	return checks.Decision{
		Reply: &reply, Reason: reason, Action: checks.Reject,
		Outcomes: []checks.Outcome{
			{Check: "rdns", Stage: checks.Connect, Reason: &checks.Reason{ID: "rdns-x"}, Action: checks.Watch, Reply: reply},
			{Check: "helo", Stage: checks.Helo, Reason: reason, Action: checks.Reject, Reply: reply, Detail: map[string]string{"extra": hostile}},
		},
		Failures: []checks.Failure{{Check: "rdns", Stage: checks.Connect, Err: errors.New(hostile)}},
	}
}

// logged returns what a Journal logs.
func logged(json, stamp bool, do func(Journal)) string {
	var out bytes.Buffer
	o := ToWriter(&out, json, stamp)
	do(Journal{Log: o.Logger(logrus.InfoLevel)})
	o.Close(time.Minute)
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

// TestLinesOfRefusals tests for which decisions there are lines, and what they are about.
func TestLinesOfRefusals(t *testing.T) {
	t.Parallel()
	several := func() *checks.Session {
		s := session()
		s.Envelope.Rcpts = []checks.Recipient{
			{Address: checks.Address{Text: "ann@example.org"}},
			{Address: checks.Address{Text: "bob@example.org"}, Refused: "5.1.1"},
			{Address: checks.Address{Text: "carol@example.org"}},
		}
		return s
	}
	watched := decision()
	watched.Reply, watched.Failures, watched.Outcomes = nil, nil, watched.Outcomes[:1]
	ofHeader := decision()
	ofHeader.Failures, ofHeader.Outcomes[1].Stage = nil, checks.EndOfHeader
	ofRcpt := decision()
	ofRcpt.Failures = nil
	greylisted := decision()
	greylisted.Failures, greylisted.Action = nil, checks.Tempfail
	greylisted.Reason = &checks.Reason{ID: "greylisted", Greylisting: true}
	greylisted.Outcomes[1] = checks.Outcome{
		Check: "greylist", Stage: checks.RcptTo, Reason: greylisted.Reason, Action: checks.Tempfail,
		Reply: checks.Reply{Code: 451, Enhanced: "4.7.1", Text: "wait"}, Detail: map[string]string{"suspicion": "rdns-x"},
	}
	for _, c := range []struct {
		name     string
		decision checks.Decision
		want     []string // one for each line: parts of it, separated by " ... "
	}{
		{name: "watched", decision: watched},
		{name: "a recipient", decision: ofRcpt, want: []string{"msg=reject ... rcpt=carol@example.org ... reason=helo-x action=reject code=550"}},
		{name: "a message", decision: ofHeader, want: []string{
			"msg=reject ... rcpt=ann@example.org ... reason=helo-x action=reject code=550", "rcpt=carol@example.org",
		}},
		{name: "greylisted", decision: greylisted, want: []string{
			"msg=greylist ... rcpt=carol@example.org ... reason=greylisted suspicion=rdns-x action=greylist code=451 text=\"4.7.1 wait\"",
		}},
	} {
		out := logged(false, false, func(j Journal) { j.Decided(checks.NewRequest(several(), checks.RcptTo), c.decision) })
		lines := strings.Split(out, "\n")
		lines = lines[:len(lines)-1]
		if len(lines) != len(c.want) {
			t.Errorf("%s: %d lines:\n%s", c.name, len(lines), out)
			continue
		}
		for i, line := range lines {
			for _, part := range strings.Split(c.want[i], " ... ") {
				if !strings.Contains(line, part) {
					t.Errorf("%s: no %s in %s", c.name, part, line)
				}
			}
		}
	}
}

// TestLineOfFailures tests that checks that failed for one cause are in one line.
func TestLineOfFailures(t *testing.T) {
	t.Parallel()
	silent, other := errors.New("PTR: no answer"), errors.New("MX: no answer")
	d := checks.Decision{Failures: []checks.Failure{
		{Check: "rdns", Stage: checks.Connect, Err: silent}, {Check: "helo", Stage: checks.Helo, Err: silent},
		{Check: "sender", Stage: checks.MailFrom, Err: other}, {Check: "helo", Stage: checks.Helo, Err: silent},
	}}
	out := logged(false, false, func(j Journal) { j.Decided(checks.NewRequest(session(), checks.RcptTo), d) })
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `stage=connect check="rdns,helo" error="PTR: no answer"`) ||
		!strings.Contains(lines[1], `stage=mail check=sender error="MX: no answer"`) {
		t.Errorf("got\n%s", out)
	}
}

// TestLineOfAcceptedMessage tests the reasons in the line of an accepted message.
func TestLineOfAcceptedMessage(t *testing.T) {
	t.Parallel()
	suspicion := checks.Verdict{Reason: &checks.Reason{ID: "rdns-x"}}
	out := logged(false, false, func(j Journal) {
		j.Accepted(checks.NewRequest(session(), checks.RcptTo, suspicion, suspicion, checks.Verdict{Reason: &checks.Reason{ID: "helo-x"}}))
	})
	if !strings.Contains(out, "msg=accept ") || !strings.Contains(out, " rcpt=bob@example.org rcpts=1 waived=\"rdns-x,helo-x\"\n") {
		t.Errorf("got %s", out)
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
		s.Helo, s.Envelope.Rcpts[0].Text, d.Outcomes[1].Detail["date"], d.Failures[0].Err = long, long, long, errors.New(long)
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
				s.Helo, d.Outcomes[1].Detail["extra"] = helo, value
				j.Decided(checks.NewRequest(s, checks.RcptTo), d)
			})
			if n := strings.Count(out, "\n"); n != 2 {
				t.Errorf("%d lines, want 2: %q", n, out)
			}
		}
	})
}

// everything is a check whose reasons all apply at RCPT.
type everything []*checks.Reason

func (e everything) Check(context.Context, *checks.Request) (list []checks.Verdict, err error) {
	for _, r := range e {
		list = append(list, checks.Verdict{Reason: r})
	}
	return list, nil
}

// TestLineOfMarkedMessage shows the reasons for which an accepted message was tagged and quarantined.
func TestLineOfMarkedMessage(t *testing.T) {
	t.Parallel()
	reasons := everything{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}
	p, err := checks.New([]checks.Instance{{Check: reasons, Info: checks.Info{Stages: []checks.Stage{checks.RcptTo}, Reasons: reasons}}}, checks.Options{
		Actions: map[string]checks.Action{"a": checks.Tag, "b": checks.Quarantine, "c": checks.Watch, "d": checks.Tag},
		ReplyAt: checks.RcptTo, Budget: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	run := p.NewRun(session())
	run.Judge(t.Context(), checks.RcptTo)
	run.Judge(t.Context(), checks.EndOfMessage)
	out := logged(false, false, func(j Journal) { j.Accepted(run.Request()) })
	if want := `rcpts=1 watched=c tagged="a,d" quarantined=b` + "\n"; !strings.HasSuffix(out, want) {
		t.Errorf("got %s, want the end %s", out, want)
	}
}
