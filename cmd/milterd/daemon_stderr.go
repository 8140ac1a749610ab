package main

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// stderrTimeout is how long the daemon waits for a reader of standard error that does not read.
const stderrTimeout = time.Second

var errNotRead = errors.New("standard error is not read")

// boundedWriter passes on writes, and gives up if one takes longer than a timeout. Later writes fail until that one ends.
type boundedWriter struct {
	w       io.Writer
	timeout time.Duration
	turn    chan struct{} // has room for the one write that runs
}

func newBoundedWriter(w io.Writer, timeout time.Duration) *boundedWriter {
	return &boundedWriter{w: w, timeout: timeout, turn: make(chan struct{}, 1)}
}

// Write implements io.Writer.
func (b *boundedWriter) Write(p []byte) (int, error) {
	limit := time.NewTimer(b.timeout)
	defer limit.Stop()
	select {
	case b.turn <- struct{}{}:
	case <-limit.C:
		return 0, errNotRead
	}
	p = bytes.Clone(p)
	done := make(chan error, 1)
	go func() {
		_, err := b.w.Write(p)
		<-b.turn
		done <- err
	}()
	select {
	case err := <-done:
		return len(p), err
	case <-limit.C:
		return 0, errNotRead
	}
}
