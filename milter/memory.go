package milter

import (
	"sync/atomic"
	"time"
)

// messageShare is the memory in bytes that a message in flight may have at the limit too: a message that began is deferred
// only if its header section and recipients are longer, which is rare. Half of it would defer some mail of lists; double
// would allow half as many messages at a time.
const messageShare = 64 << 10

// onceAMinute allows an event once a minute. It is safe for concurrent use.
type onceAMinute struct{ last atomic.Int64 } // Unix seconds

func (o *onceAMinute) allows(now time.Time) bool {
	last := o.last.Load()
	since := now.Unix() - last // less than 0 if the clock was set back
	return (since < 0 || since >= int64(time.Minute/time.Second)) && o.last.CompareAndSwap(last, now.Unix())
}

// memoryFull reports whether the sessions and what waits to be written hold MaxMemory. It logs that once a minute.
func (srv *Server) memoryFull() bool {
	held := srv.heldMemory()
	if srv.MaxMemory <= 0 || held < srv.MaxMemory {
		return false
	}
	if srv.tooMuchMemory.allows(srv.now()) {
		srv.Log.WithField("bytes", held).Error("the limit memory is reached: deferring new messages")
	}
	return true
}

// heldMemory returns the number of bytes that sessions, and what waits to be written, hold.
func (srv *Server) heldMemory() int64 {
	held := srv.held.Load()
	if srv.Waiting != nil {
		held += srv.Waiting()
	}
	return held
}

// account updates what the session holds: an open transaction counts as messageShare at least.
func (s *session) account() {
	size := s.headerBytes + s.rcptBytes
	if s.conn.inTransaction.Load() {
		size = max(size, messageShare)
	}
	if s.abandoned.Rcpts != nil {
		size += s.abandonedBytes
	}
	size += s.macroBytes + s.run.TraceSize()
	s.srv.held.Add(int64(size - s.accounted))
	s.accounted = size
}

// reserve reports whether the message may hold some more bytes: it has not used its share, or there is memory left. It
// counts the bytes beyond the share at once, as account does not run for header fields.
func (s *session) reserve(bytes int) bool {
	if s.headerBytes+s.rcptBytes+bytes <= messageShare {
		return true
	}
	s.account()
	if s.srv.memoryFull() {
		return false
	}
	s.srv.held.Add(int64(bytes))
	s.accounted += bytes
	return true
}
