package milter

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/milter/miltertest"
)

func TestShutdownWaitsForTheMessage(t *testing.T) {
	t.Parallel()
	inCheck, goOn := make(chan struct{}), make(chan struct{})
	briefly := func(s *Server) { s.drainIdle = 10 * time.Millisecond }
	address, srv, journal := start(t, briefly, func(r *checks.Request) ([]checks.Verdict, error) {
		if r.Stage == checks.RcptTo {
			close(inCheck)
			<-goOn
		}
		return nil, nil
	})
	idle := dial(t, address)
	idle.hello()
	busy := dial(t, address)
	busy.hello()
	busy.must(busy.Mail("<a@example.net>", nil))
	result := make(chan miltertest.Response)
	go func() {
		r, _ := busy.Rcpt("<u@example.org>", nil)
		result <- r
	}()
	<-inCheck
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	down := make(chan error)
	go func() { down <- srv.Shutdown(ctx) }()
	if _, _, err := idle.Receive(); err == nil {
		t.Error("the idle connection goes on")
	}
	if _, err := net.Dial("tcp", address); err == nil {
		miltertest.Eventually(t, "the listener closes", func() bool { _, err := net.Dial("tcp", address); return err != nil })
	}
	close(goOn)
	if r := <-result; r.Refused() {
		t.Errorf("got %v", r)
	}
	busy.must(busy.EndOfHeader(nil))
	busy.must(busy.EndOfMessage(nil))
	if err := <-down; err != nil {
		t.Error(err)
	}
	if len(journal.accepted) != 1 {
		t.Error("the message was lost")
	}
}

func TestShutdownWaitsForTheSession(t *testing.T) {
	t.Parallel()
	address, srv, journal := start(t, func(s *Server) { s.drainIdle = time.Minute }, accept)
	d := dial(t, address)
	d.hello()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	down := make(chan error)
	go func() { down <- srv.Shutdown(ctx) }()
	miltertest.Eventually(t, "the listener closes", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for range 2 {
		d.must(d.Mail("<a@example.net>", nil))
		d.rcpt("<u@example.org>")
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(nil))
	}
	if err := d.Quit(); err != nil {
		t.Error(err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if len(journal.accepted) != 2 {
		t.Errorf("%d messages were accepted", len(journal.accepted))
	}
}

func TestShutdownDeadline(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, nil, accept)
	d := dial(t, address)
	d.must(d.Mail("<a@example.net>", nil))
	d.rcpt("<u@example.org>")
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestShutdownLeavesDeafCheck tests that a check that ignores its context does not keep the server from stopping.
func TestShutdownLeavesDeafCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inCheck, goOn := make(chan struct{}), make(chan struct{})
		ln := newPipes()
		srv, _ := startOn(t, ln, nil, scripted(func(r *checks.Request) ([]checks.Verdict, error) {
			if r.Stage == checks.RcptTo {
				close(inCheck)
				<-goOn
			}
			return nil, nil
		}))
		t.Cleanup(func() { close(goOn) }) // before the server is stopped a second time
		d := dialOn(t, ln.dial(), miltertest.AllProtocol)
		d.must(d.Mail("<a@example.net>", nil))
		go func() { _, _ = d.Rcpt("<u@example.org>", nil) }()
		<-inCheck
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != time.Millisecond+abandonAfter {
			t.Errorf("the server stopped after %v", took)
		}
	})
}
