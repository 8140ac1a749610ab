package replay

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Bar shows progress on one line of a terminal: the number of messages while files are read, and the part of them that
// is judged.
type Bar struct {
	W   io.Writer
	Now func() time.Time

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
		b.write(line(p))
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

func line(p Progress) string {
	line := fmt.Sprintf("reading %d messages", p.Read)
	if p.Judging {
		part := float64(p.Judged) / float64(max(p.Read, 1))
		full := int(part * barWidth)
		bar := strings.Repeat("#", full) + strings.Repeat(".", barWidth-full)
		line = fmt.Sprintf("judging [%s] %3.0f %% %d messages", bar, 100*part, p.Judged)
	}
	if p.Unreadable > 0 {
		line += fmt.Sprintf(", %d unreadable", p.Unreadable)
	}
	return line
}
