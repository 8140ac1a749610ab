package miltertest

import (
	"errors"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// LogLine is a line of the syslog.
type LogLine struct {
	Facility int    // RFC 3164 section 4.1.1; 2 is LOG_MAIL, -1 an unknown format
	Tag      string // name of the program without process id, such as "postfix/smtpd"
	Text     string
}

// Syslog reads /dev/log of a site. It is safe for concurrent use.
type Syslog struct {
	conn    *net.UnixConn
	reading sync.Mutex // held while a line is read, and while the syslog is stalled
	mu      sync.Mutex // protects lines
	lines   []LogLine
}

func startSyslog(t testing.TB, path string) *Syslog {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	must(t, os.Chmod(path, 0o666))
	// Room for a burst of hundreds of lines while the test is busy.
	must(t, conn.SetReadBuffer(1<<20))
	l := &Syslog{conn: conn}
	var wg sync.WaitGroup
	wg.Go(l.read)
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return l
}

func (l *Syslog) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.next(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // stalled
		}
		if err != nil {
			return
		}
		line := parseLine(strings.TrimRight(string(buf[:n]), "\n\x00"))
		l.mu.Lock()
		l.lines = append(l.lines, line)
		l.mu.Unlock()
	}
}

// next reads one line. It waits while the syslog is stalled.
func (l *Syslog) next(buf []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	return l.conn.Read(buf)
}

// Stall stops reading until resume is called. Programs that log block when the buffer of the socket is full.
func (l *Syslog) Stall() (resume func()) {
	_ = l.conn.SetReadDeadline(time.Unix(1, 0)) // interrupts the read
	l.reading.Lock()
	return func() {
		_ = l.conn.SetReadDeadline(time.Time{})
		l.reading.Unlock()
	}
}

// lineForm matches what syslog(3) and Go's log/syslog write: a priority, a time in one of two formats, and a tag.
var lineForm = regexp.MustCompile(`(?s)^<(\d+)>(?:\w{3} [ \d]\d \d\d:\d\d:\d\d|\S+T\S+) ([^\s\[:]+)(?:\[\d+\])?: ?(.*)$`)

func parseLine(raw string) LogLine {
	m := lineForm.FindStringSubmatch(raw)
	if m == nil {
		return LogLine{Facility: -1, Text: raw}
	}
	priority, _ := strconv.Atoi(m[1])
	return LogLine{Facility: priority >> 3, Tag: m[2], Text: m[3]}
}

// Lines returns all lines so far.
func (l *Syslog) Lines() []LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// Mark returns the number of lines so far, for Since and Await.
func (l *Syslog) Mark() int { return len(l.Lines()) }

// Since returns the lines after a mark for which want returns true.
func (l *Syslog) Since(mark int, want func(LogLine) bool) []LogLine {
	return slices.DeleteFunc(l.Lines()[mark:], func(line LogLine) bool { return !want(line) })
}

// Await waits for a line after a mark for which want returns true.
func (l *Syslog) Await(t testing.TB, mark int, what string, want func(LogLine) bool) LogLine {
	t.Helper()
	var found []LogLine
	Eventually(t, "log line: "+what, func() bool {
		found = l.Since(mark, want)
		return len(found) > 0
	})
	return found[0]
}
