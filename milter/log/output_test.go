package log

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// stalled is a writer whose first Write blocks until release is closed.
type stalled struct {
	bytes.Buffer
	started chan struct{} // closed by the first Write
	release chan struct{}
}

func newStalled() *stalled {
	return &stalled{started: make(chan struct{}), release: make(chan struct{})}
}

func (s *stalled) Write(p []byte) (int, error) {
	select {
	case <-s.started:
	default:
		close(s.started)
		<-s.release
	}
	return s.Buffer.Write(p)
}

func TestAStalledLogBlocksNobody(t *testing.T) {
	t.Parallel()
	w := newStalled()
	o := ToWriter(w, false, false)
	logger := o.Logger(logrus.InfoLevel)
	logger.Info("first")
	<-w.started
	const lines, length = 100, maxQueued / 50
	for range lines {
		logger.Info(strings.Repeat("x", length))
	}
	dropped := o.Dropped()
	if dropped < lines/2 || dropped > lines/2+2 {
		t.Errorf("%d of %d lines dropped, want about half", dropped, lines)
	}
	if lost := o.Close(time.Millisecond); lost != 1+lines-int(dropped) {
		t.Errorf("Close returned %d lost lines, want %d", lost, 1+lines-int(dropped))
	}
	close(w.release)
	o.Close(time.Minute)
	if want := fmt.Sprintf("level=error msg=\"log lines dropped\" lines=%d", dropped); strings.Count(w.String(), want) != 1 {
		t.Errorf("no line %s", want)
	}
	logger.Info("after Close") // must not panic
}

func TestFallback(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := newOutput(formatter(false, false), func(logrus.Level, []byte) error { return errors.New("no syslog") }, &out)
	o.Logger(logrus.InfoLevel).Info("hello")
	o.Close(time.Minute)
	if out.String() != "level=info msg=hello\n" {
		t.Errorf("got %q", &out)
	}
}

func BenchmarkDecided(b *testing.B) {
	o := newOutput(formatter(false, false), func(logrus.Level, []byte) error { return nil }, nil)
	defer o.Close(time.Second)
	j := Journal{Log: o.Logger(logrus.InfoLevel)}
	s, d := session(), decision()
	b.ReportAllocs()
	for b.Loop() {
		j.Decided(checks.NewRequest(s, checks.RcptTo), d)
	}
}

// full is a writer on a disk that is full while it is set, but for a few bytes.
type full struct {
	bytes.Buffer
	full atomic.Bool
	room int // bytes
}

func (f *full) Write(p []byte) (int, error) {
	if f.full.Load() {
		n, _ := f.Buffer.Write(p[:f.room])
		f.room = 0
		return n, syscall.ENOSPC
	}
	return f.Buffer.Write(p)
}

// TestFullDisk tests that lines that cannot be written are counted, and reported as soon as something can be written, on lines of
// their own.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := &full{room: 10}
	o := ToWriter(w, false, false)
	logger := o.Logger(logrus.InfoLevel)
	w.full.Store(true)
	for range 3 {
		logger.Info("lost")
	}
	if err := o.lines.Flush(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := o.Dropped(); n != 3 {
		t.Errorf("%d lines dropped, want 3", n)
	}
	w.full.Store(false)
	logger.Info("written")
	o.Close(time.Minute)
	if got, want := w.String(), "level=info\nlevel=info msg=written\nlevel=error msg=\"log lines dropped\" lines=3\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
