package replay

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Bar shows progress on one line of a terminal.
type Bar struct {
	W     io.Writer
	Total int64 // bytes to read; 0 if that is not known
	Now   func() time.Time

	next  time.Time // when to write the line again
	width int       // of the line
}

const (
	barWidth    = 30
	barInterval = 100 * time.Millisecond // half of it flickers, twice as much looks stuck
)

// Show shows how far a replay is, at most ten times a second.
func (b *Bar) Show(p Progress) {
	if now := b.Now(); now.After(b.next) {
		b.next = now.Add(barInterval)
		b.write(b.line(p))
	}
}

// Clear removes the line.
func (b *Bar) Clear() {
	b.write("")
	fmt.Fprint(b.W, "\r")
}

func (b *Bar) write(line string) {
	fmt.Fprintf(b.W, "\r%-*s", b.width, line)
	b.width = len(line)
}

func (b *Bar) line(p Progress) string {
	verb, messages, done, total := "reading", p.Read, p.Bytes, b.Total
	if p.Judging {
		verb, messages, done, total = "judging", p.Judged, int64(p.Judged), int64(p.Read)
	}
	line := fmt.Sprintf("%s %d messages", verb, messages)
	if total > 0 {
		part := min(float64(done)/float64(total), 1)
		full := int(part * barWidth)
		bar := strings.Repeat("#", full) + strings.Repeat(".", barWidth-full)
		line = fmt.Sprintf("%s [%s] %3.0f %% %d messages", verb, bar, 100*part, messages)
	}
	if p.Unreadable > 0 {
		line += fmt.Sprintf(", %d unreadable", p.Unreadable)
	}
	return line
}
