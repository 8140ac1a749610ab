package evidence

import (
	"context"
	"testing"
	"time"

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
