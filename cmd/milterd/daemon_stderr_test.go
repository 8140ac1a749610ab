package main

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestBoundedWriter tests a writer that blocks for an hour.
func TestBoundedWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r, w := io.Pipe() // blocks until the reader reads
		b := newBoundedWriter(w, time.Second)
		began := time.Now()
		for range 3 {
			if _, err := b.Write([]byte("lost\n")); !errors.Is(err, errNotRead) {
				t.Errorf("got %v, want %v", err, errNotRead)
			}
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("three writes took %s", took)
		}
		go func() { _, _ = io.Copy(&out, r) }()
		synctest.Wait()
		if _, err := b.Write([]byte("read\n")); err != nil {
			t.Error(err)
		}
		w.Close()
		synctest.Wait()
		if got := out.String(); got != "lost\nread\n" { // the first write was under way
			t.Errorf("got %q", got)
		}
	})
}
