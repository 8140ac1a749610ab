package evidence

import (
	"context"
	"strings"
	"testing"
	"time"
	"unsafe"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestSeveralRecipients shows that a transaction is one occasion, and that two transactions of a connection are two.
func TestSeveralRecipients(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	talk := session(0, "own.good.example", "a@good.example")
	p, err := checks.New(nil, checks.Options{ReplyAt: checks.RcptTo})
	if err != nil {
		t.Fatal(err)
	}
	run := p.NewRun(talk)
	r := run.Request()
	for range 2 {
		s.Decided(r, run.Judge(t.Context(), checks.MailFrom))
		for range 3 {
			s.Decided(r, checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
		}
		s.Accepted(r)
	}
	if got := s.watch(); got.Occasions != 2 || got.Passed != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestManyRecipients shows that a waiting transaction keeps some of its recipients only.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	const rcpts = 10_000
	kept := make(chan int, 2)
	c := Open(checktest.NewStore(func() time.Time { return start }), Options{Origin: func(_ context.Context, r *checks.Request) Origin {
		kept <- cap(r.Envelope.Rcpts)
		return Origin{}
	}})
	s := session(0, "", "")
	s.Envelope.Rcpts = make([]checks.Recipient, rcpts)
	c.Decided(requestOf(s), checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
	c.Accepted(requestOf(s))
	c.Close(time.Minute)
	for range 2 {
		if n := <-kept; n < maxRcpts || n > 2*maxRcpts {
			t.Errorf("%d of %d recipients kept", n, rcpts)
		}
	}
}

func TestAPanicLosesOneTransaction(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mail(1, "panic", "a@good.example", rejected)
	s.mail(1, "own.good.example", "a@good.example", watched)
	s.flush()
	if s.Lost() != 1 {
		t.Errorf("%d lost", s.Lost())
	}
	if got := s.watch().Occasions; got != 1 {
		t.Errorf("%d occasions", got)
	}
}

// TestSizeOfManyRecipients tests that recipients that are not kept count, as the results of checks have something of each.
func TestSizeOfManyRecipients(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := Open(checktest.NewStore(func() time.Time { return start }), Options{Origin: func(context.Context, *checks.Request) Origin {
		<-release
		return Origin{}
	}})
	defer c.Close(time.Minute)
	defer close(release)
	s := session(0, "h", "a@example.com")
	s.Envelope.Rcpts = make([]checks.Recipient, 10_000)
	c.Accepted(requestOf(s))
	if got, want := c.Waiting(), 10_000*recipientBytes; got < want {
		t.Errorf("%d bytes wait, want %d or more", got, want)
	}
}

// TestPendingEntriesAreSmall tests that an entry that waits for the store keeps neither the header field of the message nor
// the keys of all recipients in memory.
func TestPendingEntriesAreSmall(t *testing.T) {
	t.Parallel()
	const from = "author.example other.example"
	c := Open(checktest.NewStore(func() time.Time { return start }), Options{
		Origin:  func(context.Context, *checks.Request) Origin { return Origin{Pairs: make([]string, maxRcpts)} },
		Known:   func(context.Context, string, time.Time) (bool, error) { return false, nil },
		Authors: func(*checks.Request) []string { return strings.Fields(from) },
	})
	defer c.Close(time.Minute)
	r := requestOf(session(0, "h", "a@example.com"))
	c.Decided(r, checks.Decision{Outcomes: []checks.Outcome{{Check: "helo", Reason: judged, Action: checks.Watch}}})
	c.Accepted(r)
	if err := c.queue.Flush(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.pending.entries {
		if len(e.Pairs) != maxPairs || cap(e.Pairs) > 2*maxPairs {
			t.Errorf("%d keys of recipients, with room for %d", len(e.Pairs), cap(e.Pairs))
		}
		if len(e.Authors) != 2 || unsafe.StringData(e.Authors[0]) == unsafe.StringData(from) {
			t.Errorf("authors %q are part of the header field", e.Authors)
		}
	}
}

// TestTimeBefore1970 tests the tally of a host whose clock is wrong.
func TestTimeBefore1970(t *testing.T) {
	t.Parallel()
	if got := newTally(time.Time{}); got.N != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestQueueIsFull shows that slow lookups delay no mail, and that what they keep waiting is bounded.
func TestQueueIsFull(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := Open(checktest.NewStore(func() time.Time { return start }), Options{Origin: func(context.Context, *checks.Request) Origin {
		<-release
		return Origin{}
	}})
	const n = 2 * maxQueued / snapshotBytes
	for range n {
		c.Accepted(requestOf(session(0, "h", "a@example.com")))
	}
	if lost := c.Lost(); lost != n/2 {
		t.Errorf("%d of %d lost, want half", lost, n)
	}
	close(release)
	c.Close(10 * time.Second)
}
