package replay

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Bar shows progress in one line of a terminal. Its method Show is safe for concurrent use.
type Bar struct {
	W     io.Writer
	Total int64 // octets to read; 0: not known
	Now   func() time.Time

	mu    sync.Mutex
	next  time.Time
	width int // of what is shown
}

const (
	barWidth = 30
	barEvery = 100 * time.Millisecond
)

// Show shows how far a replay is, now and then.
func (b *Bar) Show(p Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.Now(); now.After(b.next) {
		b.next = now.Add(barEvery)
		b.write(b.line(p))
	}
}

// Clear takes the line away.
func (b *Bar) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write("")
	fmt.Fprint(b.W, "\r")
}

func (b *Bar) write(line string) {
	fmt.Fprintf(b.W, "\r%-*s", b.width, line)
	b.width = len(line)
}

func (b *Bar) line(p Progress) string {
	verb, done, total, n := "reading", p.Octets, b.Total, p.Read
	if p.Sorted {
		verb, done, total, n = "judging", p.Judged, p.Read, p.Judged
	}
	line := fmt.Sprintf("%s %d messages", verb, n)
	if total > 0 {
		part := min(float64(done)/float64(total), 1)
		full := int(part * barWidth)
		line = fmt.Sprintf("%s [%s%s] %3.0f %% %d messages", verb, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*part, n)
	}
	if p.Unreadable > 0 {
		line += fmt.Sprintf(", %d unreadable", p.Unreadable)
	}
	return line
}
