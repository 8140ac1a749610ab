package log

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

var hostile = "a\r\nNov 21 mx postfix: forged\x00\x1b[2J\"msg=accept"

func session() *checks.Session {
	s := &checks.Session{ID: "s1", Client: netip.MustParseAddr("192.0.2.9"), ClientName: hostile, Helo: hostile}
	s.Envelope = checks.Envelope{QueueID: "Q1", MailFrom: checks.Address{Text: hostile}, Rcpts: []checks.Recipient{{Address: checks.Address{Text: "bob@example.org"}}}}
	return s
}

func decision() checks.Decision {
	return checks.Decision{
		Outcomes: []checks.Outcome{{
			Check: "helo", Stage: checks.Helo, Reason: &checks.Reason{ID: "helo-x"}, Action: checks.Reject,
			Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}, Detail: map[string]string{"extra": hostile},
		}},
		Failures: []checks.Failure{{Check: "rdns", Stage: checks.Connect, Err: errors.New(hostile)}},
	}
}

func TestDecisionsAreOneLineEach(t *testing.T) {
	t.Parallel()
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprint("json=", json), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			q := ToWriter(&out, json, true)
			j := Journal{q.Logger(logrus.InfoLevel), q}
			j.Decided(session(), decision())
			j.Accepted(session())
			q.Close(5 * time.Second)
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if len(lines) != 3 {
				t.Fatalf("%d lines:\n%s", len(lines), &out)
			}
			for _, field := range []string{"session", "queue_id", "client", "client_name", "helo", "mail_from", "rcpt", "stage", "check", "reason", "action", "code", "text"} {
				if !strings.Contains(lines[0], field) {
					t.Errorf("no field %s in %s", field, lines[0])
				}
			}
			for _, c := range []byte(strings.Join(lines, "")) {
				if c < ' ' || c == 0x7f {
					t.Errorf("octet %#x in the log", c)
				}
			}
		})
	}
}

func TestFieldsHaveAnOrder(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	q := ToWriter(&out, false, false)
	Journal{q.Logger(logrus.InfoLevel), q}.Decided(session(), decision())
	q.Close(5 * time.Second)
	if want := "level=info msg=reject session=s1 queue_id=Q1 client=192.0.2.9 client_name="; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %s, want it to begin with %s", &out, want)
	}
	if want := `rcpt=bob@example.org stage=helo check=helo reason=helo-x action=reject code=550 text="5.7.1 no" extra=`; !strings.Contains(out.String(), want) {
		t.Errorf("no %s in %s", want, &out)
	}
}

// stalled is a writer that takes nothing until it is let go.
type stalled struct {
	bytes.Buffer
	begun chan struct{}
	let   chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	if s.begun != nil {
		close(s.begun)
		s.begun = nil
		<-s.let
	}
	return s.Buffer.Write(p)
}

func TestAStalledSyslogStallsNothing(t *testing.T) {
	t.Parallel()
	w := &stalled{begun: make(chan struct{}), let: make(chan struct{})}
	begun := w.begun
	q := ToWriter(w, false, false)
	log := q.Logger(logrus.InfoLevel)
	log.Info("first")
	<-begun
	const extra = 100
	for range queueLength + extra {
		log.Info("next")
	}
	if n := q.Dropped(); n != extra {
		t.Errorf("%d lines dropped, want %d", n, extra)
	}
	if lost := q.Close(time.Millisecond); lost != queueLength+1 {
		t.Errorf("gave %d lines up, want %d", lost, queueLength+1)
	}
	close(w.let)
	q.Close(5 * time.Second)
	if !strings.Contains(w.String(), fmt.Sprintf("level=error msg=\"log lines dropped\" lines=%d", extra)) {
		t.Error("the drops are not told")
	}
	log.Info("after the end") // must not panic
}

// TestWaitingLinesAreShort has lines wait whose values are long.
func TestWaitingLinesAreShort(t *testing.T) { // not parallel: it looks at all of the heap
	w := &stalled{begun: make(chan struct{}), let: make(chan struct{})}
	q := ToWriter(w, false, false)
	j := Journal{q.Logger(logrus.InfoLevel), q}
	const lines, length = 200, 1 << 20
	before := inUse()
	for range lines {
		s, d := session(), decision()
		s.Helo = strings.Repeat("h", length)
		d.Failures, d.Outcomes[0].Detail = nil, map[string]string{
			"date": strings.Repeat("x", length), "field": strings.Repeat("x", length)[:4], // as of a field that is long
		}
		j.Decided(s, d)
		j.Accepted(s)
	}
	if grown := inUse() - before; grown > lines*length/10 {
		t.Errorf("%d lines hold %d octets", 2*lines, grown)
	}
	close(w.let)
	q.Close(5 * time.Second)
}

// inUse is what the heap holds.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestWhatSyslogRefusesGoesToTheFallback(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	q := NewQueue(Formatter(false, false), func(*logrus.Entry) error { return errors.New("syslog is gone") }, &out)
	q.Logger(logrus.InfoLevel).Info("hello")
	q.Close(5 * time.Second)
	if out.String() != "level=info msg=hello\n" {
		t.Errorf("got %q", &out)
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a", "b\nc")
	f.Add("level=info", "\u2028\u0085\xff")
	f.Fuzz(func(t *testing.T, helo, value string) {
		for _, json := range []bool{false, true} {
			var out bytes.Buffer
			q := ToWriter(&out, json, false)
			s := session()
			s.Helo = helo
			d := decision()
			d.Outcomes[0].Detail["extra"] = value
			Journal{q.Logger(logrus.InfoLevel), q}.Decided(s, d)
			q.Close(5 * time.Second)
			if n := bytes.Count(out.Bytes(), []byte("\n")); n != 2 {
				t.Errorf("%d lines of 2: %q", n, &out)
			}
		}
	})
}

func BenchmarkDecided(b *testing.B) {
	q := NewQueue(Formatter(false, false), func(*logrus.Entry) error { return nil }, nil)
	defer q.Close(time.Second)
	j := Journal{q.Logger(logrus.InfoLevel), q}
	s, d := session(), decision()
	b.ReportAllocs()
	for b.Loop() {
		j.Decided(s, d)
	}
}
