package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestHostileRecipientsAreCounted tests that a session does not keep more of its recipients than the limit memory counts, also if
// greylisting defers each.
func TestHostileRecipientsAreCounted(t *testing.T) {
	// Not parallel, as the heap is that of all tests.
	const rcpts = 3000
	p := pipelineOf(t, "safe", checktest.Env(t, "d.test. MX 10 mx.d.test.\nmx.d.test. A 11.22.33.1\n").DNS)
	s := &checks.Session{ID: "s", Time: time.Now(), Client: netip.MustParseAddr("11.22.33.44")}
	run := p.NewRun(s)
	run.Judge(t.Context(), checks.Connect)
	s.Envelope.MailFrom = checks.ParseAddress("a@d.test")
	run.Judge(t.Context(), checks.MailFrom)
	deferred, text := 0, 0
	for i := range rcpts {
		address := fmt.Sprintf("user%d@example.org", i)
		text += len(address)
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(address)})
		if d := run.Judge(t.Context(), checks.RcptTo); d.Reply != nil && d.Reply.Code == 451 {
			deferred++
		}
	}
	if deferred != rcpts {
		t.Fatalf("%d of %d recipients are deferred", deferred, rcpts)
	}
	open := liveHeap()
	runtime.KeepAlive(run)
	run, s = nil, nil
	kept := (int(open-liveHeap()) - text) / rcpts
	counted := int(constantsIn(t, filepath.Join("../..", "milter")).value(t, "rcptOverhead"))
	t.Logf("a recipient keeps %d bytes besides its text, and %d are counted", kept, counted)
	if kept > counted {
		t.Errorf("a recipient keeps %d bytes besides its text, and %d are counted", kept, counted)
	}
	runtime.KeepAlive(p)
}
