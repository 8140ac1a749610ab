package miltertest

import (
	"errors"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Line is one line of the log.
type Line struct {
	Facility int    // RFC 3164 section 4.1.1; 2 is mail
	Tag      string // of the program, without its process id: "postfix/smtpd"
	Text     string
}

// Syslog is what reads /dev/log inside a site.
type Syslog struct {
	conn  *net.UnixConn
	turn  sync.Mutex // held by who reads, and while the syslog is stalled
	mu    sync.Mutex
	lines []Line
}

func startSyslog(t testing.TB, path string) *Syslog {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	must(t, os.Chmod(path, 0o666))
	// A line may come in a burst of hundreds, while the test is busy.
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

// next reads one line, if the syslog is not stalled. It does not read ahead.
func (l *Syslog) next(buf []byte) (int, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	return l.conn.Read(buf)
}

// Stall lets nobody read, until the function that it returns is called: when the buffer of the socket is full, who logs has
// to wait.
func (l *Syslog) Stall() (resume func()) {
	_ = l.conn.SetReadDeadline(time.Unix(1, 0)) // the reader gives its turn up
	l.turn.Lock()
	return func() {
		_ = l.conn.SetReadDeadline(time.Time{})
		l.turn.Unlock()
	}
}

// lineForm is what syslog(3) and Go's log/syslog write: a priority, a time that has two forms, and a tag.
var lineForm = regexp.MustCompile(`(?s)^<(\d+)>(?:\w{3} [ \d]\d \d\d:\d\d:\d\d|\S+T\S+) ([^\s\[:]+)(?:\[\d+\])?: ?(.*)$`)

func parseLine(raw string) Line {
	m := lineForm.FindStringSubmatch(raw)
	if m == nil {
		return Line{Facility: -1, Text: raw}
	}
	priority, _ := strconv.Atoi(m[1])
	return Line{Facility: priority >> 3, Tag: m[2], Text: m[3]}
}

// Lines are what was logged so far.
func (l *Syslog) Lines() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Line(nil), l.lines...)
}

// Mark is a position in the log: what is logged from now on.
func (l *Syslog) Mark() int { return len(l.Lines()) }

// Since returns the lines after a mark that satisfy want.
func (l *Syslog) Since(mark int, want func(Line) bool) []Line {
	var out []Line
	for _, line := range l.Lines()[mark:] {
		if want(line) {
			out = append(out, line)
		}
	}
	return out
}

// Await waits for a line after a mark that satisfies want.
func (l *Syslog) Await(t testing.TB, mark int, what string, want func(Line) bool) Line {
	t.Helper()
	var found []Line
	Eventually(t, "log line: "+what, func() bool {
		found = l.Since(mark, want)
		return len(found) > 0
	})
	return found[0]
}
