package log

import (
	"io"
	"log/syslog"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/milter/queue"
)

// maxQueued is the size of the lines that wait for a stalled log: some ten thousand, which a busy host writes in a
// minute. If it were half, lines would be lost after half a minute; if it were double, the daemon would need as much
// more memory.
const maxQueued = 8 << 20 // bytes

// lineOverhead is the memory that a waiting line takes beside its text.
const lineOverhead = 64 // bytes

// Output writes log lines in the background, so that a stalled log does not stall mail. It drops and counts the lines
// for which there is no room. It is a logrus.Hook and safe for concurrent use.
type Output struct {
	formatter logrus.Formatter
	write     func(logrus.Level, []byte) error
	fallback  io.Writer // gets the lines that write did not take; may be nil
	lines     *queue.Writer[line]
	reported  uint64 // dropped lines that the log has reported; only writeAll uses it
}

// line is a formatted log line that waits.
type line struct {
	level logrus.Level
	text  []byte
}

// ToWriter starts an Output to a writer such as standard error. Lines of text begin with the time if stamp is set.
func ToWriter(w io.Writer, json, stamp bool) *Output {
	torn := false // the last line was written in part, as on a disk that became full
	write := func(_ logrus.Level, text []byte) error {
		if torn {
			text = append([]byte("\n"), text...)
		}
		n, err := w.Write(text)
		torn = err != nil && (torn || n > 0)
		return err
	}
	return newOutput(formatter(json, stamp), write, nil)
}

// ToSyslog starts an Output to the local syslog. Lines that syslog does not take go to fallback. It fails if there is
// no syslog.
func ToSyslog(facility syslog.Priority, json bool, fallback io.Writer) (*Output, error) {
	w, err := syslog.New(facility|syslog.LOG_INFO, "milterd")
	if err != nil {
		return nil, err
	}
	write := func(level logrus.Level, text []byte) error { return severity(w, level)(string(text)) }
	return newOutput(formatter(json, false), write, fallback), nil
}

// severity returns the method of w for a level.
func severity(w *syslog.Writer, level logrus.Level) func(string) error {
	switch level {
	case logrus.PanicLevel, logrus.FatalLevel:
		return w.Crit
	case logrus.ErrorLevel:
		return w.Err
	case logrus.WarnLevel:
		return w.Warning
	case logrus.InfoLevel:
		return w.Info
	default:
		return w.Debug
	}
}

func newOutput(f logrus.Formatter, write func(logrus.Level, []byte) error, fallback io.Writer) *Output {
	o := &Output{formatter: f, write: write, fallback: fallback}
	o.lines = queue.New(queue.Config[line]{
		MaxBytes: maxQueued,
		Size:     func(l line) int { return lineOverhead + len(l.text) },
		Write:    o.writeAll,
	})
	return o
}

// Logger returns a logger whose lines go to o.
func (o *Output) Logger(level logrus.Level) *logrus.Logger {
	l := Discard().Logger
	l.SetLevel(level)
	l.AddHook(o)
	return l
}

// Discard returns a log that keeps nothing.
func Discard() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetFormatter(noFormatter{})
	return logrus.NewEntry(l)
}

// noFormatter formats nothing: Fire formats the line.
type noFormatter struct{}

func (noFormatter) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

// Levels implements logrus.Hook.
func (o *Output) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook. It does not block.
func (o *Output) Fire(e *logrus.Entry) error {
	text, err := o.formatter.Format(e)
	if err != nil {
		return err
	}
	o.lines.Add(line{level: e.Level, text: text})
	return nil
}

// Dropped returns the number of lines that were lost since the start, because there was no room for them or they could not be
// written, such as to a full disk.
func (o *Output) Dropped() uint64 { return o.lines.Dropped() }

// Waiting returns the size of the lines that wait or are being written, in bytes.
func (o *Output) Waiting() int { return o.lines.Size() }

// Close writes the lines that wait, for at most the timeout. It returns how many were not written by then. Lines that
// are logged later are lost.
func (o *Output) Close(timeout time.Duration) (lost int) { return o.lines.Close(timeout) }

// writeAll writes lines, and then one that reports how many were dropped.
func (o *Output) writeAll(lines []line) {
	for _, l := range lines {
		if err := o.writeOne(l); err != nil {
			o.lines.Drop(1, err)
		}
	}
	dropped := o.lines.Dropped()
	if dropped == o.reported {
		return
	}
	e := &logrus.Entry{
		Time: time.Now(), Level: logrus.ErrorLevel, Message: "log lines dropped",
		Data: logrus.Fields{"lines": dropped - o.reported},
	}
	text, err := o.formatter.Format(e)
	if err == nil {
		err = o.writeOne(line{level: e.Level, text: text})
	}
	if err == nil { // else it is reported with the next lines
		o.reported = dropped
	}
}

func (o *Output) writeOne(l line) error {
	err := o.write(l.level, l.text)
	if err != nil && o.fallback != nil {
		_, err = o.fallback.Write(l.text)
	}
	return err
}
