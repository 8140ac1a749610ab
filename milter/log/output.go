package log

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// queueLength is how many log lines wait for a stalled syslog: some seconds of a busy host, some megabytes at most.
const queueLength = 8192

// Queue is a logrus hook that never blocks: lines wait in a bounded queue for the one goroutine that formats and writes
// them, and what finds it full is dropped and counted. It is safe for concurrent use.
type Queue struct {
	write    func(*logrus.Entry) error
	fallback io.Writer
	format   *logrus.Logger // gives the entries their formatter

	mu      sync.RWMutex // offer against Close
	closed  bool
	entries chan entry
	fields  logrus.Fields // of the goroutine, used again for each line
	dropped atomic.Uint64
	told    uint64 // drops already reported, of the goroutine
	done    chan struct{}
}

// NewQueue starts a queue in front of write, which may block and is called by one goroutine. The line of an entry that
// write fails to take goes to fallback.
func NewQueue(f logrus.Formatter, write func(*logrus.Entry) error, fallback io.Writer) *Queue {
	q := &Queue{
		write:    write,
		fallback: fallback,
		format:   &logrus.Logger{Out: io.Discard, Formatter: f},
		entries:  make(chan entry, queueLength),
		fields:   logrus.Fields{},
		done:     make(chan struct{}),
	}
	go q.run()
	return q
}

// Logger makes a logger all of whose lines go through the queue.
func (q *Queue) Logger(level logrus.Level) *logrus.Logger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetFormatter(unformatted{})
	l.SetLevel(level)
	l.AddHook(q)
	return l
}

// unformatted leaves the formatting to the queue's goroutine.
type unformatted struct{}

func (unformatted) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

// Levels implements logrus.Hook.
func (q *Queue) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook. It never blocks and never fails.
func (q *Queue) Fire(e *logrus.Entry) error {
	// The entry is used again by its owner: keep a copy. Its fields are not changed any more.
	q.offer(entry{line: &logrus.Entry{Logger: q.format, Data: e.Data, Time: e.Time, Level: e.Level, Message: e.Message}})
	return nil
}

// entry is a line that waits: complete, or such that its fields are put together when it is written. By far the most are of
// the second kind, and need no map each.
type entry struct {
	line    *logrus.Entry
	at      time.Time
	message string
	fill    func(logrus.Fields)
}

// info takes a line at level info.
func (q *Queue) info(message string, fill func(logrus.Fields)) {
	q.offer(entry{at: time.Now(), message: message, fill: fill})
}

func (q *Queue) offer(e entry) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return
	}
	select {
	case q.entries <- e:
	default:
		q.dropped.Add(1)
	}
}

// Dropped tells how many lines were lost because nobody took them.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Close waits until the queue is written, but no longer than the patience. It returns how many lines were lost because that was
// over. What is logged after it is lost too.
func (q *Queue) Close(patience time.Duration) (lost int) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.entries)
	}
	q.mu.Unlock()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-q.done:
		return 0
	case <-t.C:
		return len(q.entries) + 1 // that which is being written
	}
}

func (q *Queue) run() {
	defer close(q.done)
	for e := range q.entries {
		if e.fill != nil {
			clear(q.fields)
			e.fill(q.fields)
			e.line = &logrus.Entry{Logger: q.format, Data: q.fields, Time: e.at, Level: logrus.InfoLevel, Message: e.message}
		}
		q.put(e.line)
		if n := q.dropped.Load(); n != q.told {
			q.put(&logrus.Entry{
				Logger: q.format, Time: e.line.Time, Level: logrus.ErrorLevel,
				Message: "log lines dropped", Data: logrus.Fields{"lines": n - q.told},
			})
			q.told = n
		}
	}
}

func (q *Queue) put(e *logrus.Entry) {
	if q.write(e) != nil && q.fallback != nil {
		_ = writeLine(q.fallback, e)
	}
}

func writeLine(w io.Writer, e *logrus.Entry) error {
	line, err := e.Bytes()
	if err == nil {
		_, err = w.Write(line)
	}
	return err
}
