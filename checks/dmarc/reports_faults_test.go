package dmarc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
	"milterd/checks/facts/dmarc/aggregate"
)

// TestMidnight tests that messages which end after midnight in another order than they began lose no counts.
func TestMidnight(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 2)
	s.now = s.now.Truncate(24 * time.Hour).Add(24*time.Hour - time.Minute)
	before, after := s.now, s.now.Add(2*time.Minute)
	receive := func(host int, at time.Time, m message, refused string) {
		s.now = at
		s.receive(t, host, m, refused)
	}
	receive(0, before, fromBank, "")
	receive(1, before, forged, "dmarc-reject") // stays in memory until the end of the day
	receive(1, after, fromShop, "")
	receive(1, before, fromBank, "") // began before midnight
	receive(1, after, fromShop, "")
	s.maintain(t, 0, 0)
	s.maintain(t, 1, 0)
	p := dmarc.ReporterOf(s.hosts[0])
	for day, want := range map[time.Time]map[string]int64{before: {"bank.example": 2}, after: {"bank.example": 1, "shop.example": 2}} {
		list, err := p.Outgoing(t.Context(), day)
		if err != nil || len(list) != len(want) {
			t.Errorf("%s: %+v, %v", day, list, err)
		}
		for _, o := range list {
			if o.Messages != want[o.Domain] {
				t.Errorf("%s: %d messages of %s, want %d", day, o.Messages, o.Domain, want[o.Domain])
			}
		}
	}
}

// cutOff is a resolver that cancels a context instead of answering, while it has one.
type cutOff struct {
	checks.Resolver
	cancel context.CancelFunc
}

// Lookup implements checks.Resolver.
func (c *cutOff) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if c.cancel == nil {
		return c.Resolver.Lookup(ctx, q)
	}
	c.cancel()
	return checks.Answer{}, ctx.Err()
}

// TestAlignmentInterrupted tests that an alignment whose evaluation was interrupted is evaluated again, and is neither reported as a
// failure nor logged as one of the store.
func TestAlignmentInterrupted(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 0)
	resolver := &cutOff{Resolver: s.env.DNS}
	env := s.env
	env.DNS = resolver
	s.hosts = []checks.Check{checktest.Build(t, dmarc.Info, env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })}
	s.maintain(t, 0, 0)
	s.receive(t, 0, message{client: "192.0.2.1", from: "a@bank.example", header: "From: a@mail.bank.example\n", sign: "bank.example"}, "")
	ctx, cancel := context.WithCancel(t.Context())
	resolver.cancel = cancel
	var log strings.Builder
	s.env.Log.Logger.SetOutput(&log)
	s.hosts[0].(checks.Maintainer).Maintain(ctx, s.now)
	if ctx.Err() == nil {
		t.Fatal("the alignment asks the DNS nothing")
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
	resolver.cancel = nil
	s.maintain(t, 0, 0)
	v, ok, err := dmarc.ReporterOf(s.hosts[0]).Preview(t.Context(), s.now, s.now, "bank.example")
	if err != nil || !ok || v.Rows != 1 || !strings.Contains(v.XML, "<dkim>pass</dkim>") || !strings.Contains(v.XML, "<spf>pass</spf>") {
		t.Errorf("%v, %v: %s", ok, err, v.XML)
	}
}

// TestSlowSubmission tests that a report is sent once if the mail server replies after the time of the call of Maintain, and that a
// call in between returns at once.
func TestSlowSubmission(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	s.nextDay(t)
	s.server.arrived, s.server.reply = make(chan struct{}, 9), make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.hosts[0].(checks.Maintainer).Maintain(ctx, s.now)
	}()
	<-s.server.arrived
	<-ctx.Done()
	s.hosts[0].(checks.Maintainer).Maintain(t.Context(), s.now)
	select {
	case <-done:
		t.Error("Maintain waits for the submission of another call")
	default:
	}
	close(s.server.reply)
	<-done
	for range 3 {
		s.maintain(t, 0, time.Hour)
	}
	if got := s.server.take(); len(got) != 1 {
		t.Errorf("the report was sent %d times", len(got))
	}
}

// TestShutdownInSubmission tests that the end of the daemon does not wait for a mail server.
func TestShutdownInSubmission(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	s.nextDay(t)
	s.server.arrived, s.server.reply = make(chan struct{}, 1), make(chan struct{})
	defer close(s.server.reply)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.server.arrived
		cancel()
	}()
	begin := time.Now()
	s.hosts[0].(checks.Maintainer).Maintain(ctx, s.now)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("Maintain took %s", took)
	}
}

// TestStoreDownAfterSubmission tests that it is logged if the result of a submission cannot be stored: the report is sent again.
func TestStoreDownAfterSubmission(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	var log strings.Builder
	s.env.Log.Logger.SetOutput(&log)
	s.receive(t, 0, fromBank, "")
	s.nextDay(t)
	s.server.arrived, s.server.reply = make(chan struct{}), make(chan struct{})
	go func() {
		<-s.server.arrived
		s.store.Fail(errors.New("disk full"))
		close(s.server.reply)
	}()
	s.maintain(t, 0, 0)
	if !strings.Contains(log.String(), "disk full") {
		t.Errorf("log: %q", log.String())
	}
}

// TestStoreOutage tests that an outage of the store, which the store logs, is not logged at each call of Maintain.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	var log strings.Builder
	s.env.Log.Logger.SetOutput(&log)
	s.receive(t, 0, fromBank, "")
	s.store.Fail(fmt.Errorf("bolt: %w", checks.ErrStoreDown))
	s.maintain(t, 0, 0) // has counts to store
	s.store.Fail(nil)
	s.nextDay(t)
	s.store.Fail(fmt.Errorf("bolt: %w", checks.ErrStoreDown))
	s.maintain(t, 0, 0) // has a report to send
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
	s.store.Fail(nil)
	s.maintain(t, 0, 0)
	if got := s.server.take(); len(got) != 1 {
		t.Errorf("%d reports were sent", len(got))
	}
}

// TestLongReply tests that a refusal is stored however long the reply of the mail server is: else the report is sent again.
func TestLongReply(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	s.nextDay(t)
	s.server.set(false, map[string]string{"DATA": "554 5.7.1 " + strings.Repeat("no", 64<<10)})
	s.maintain(t, 0, 0)
	out, err := dmarc.ReporterOf(s.hosts[0]).Outgoing(t.Context(), s.now.Add(-24*time.Hour))
	if err != nil || len(out) != 1 || !out[0].Failed || !strings.Contains(out[0].Why, "5.7.1") {
		t.Errorf("%d, %v", len(out), err)
	}
}

// TestSameID tests that a report has the same Report-ID from any host with the store, so that a domain that gets it again from
// another host knows it.
func TestSameID(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	env := s.env
	env.Site.Hostname = "mx2.example.org"
	other := checktest.Build(t, dmarc.Info, env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })
	s.hosts = append(s.hosts, other)
	s.maintain(t, 1, 0)
	s.receive(t, 0, fromBank, "")
	s.server.set(false, map[string]string{"RCPT": "450 4.2.1 later"})
	s.nextDay(t)
	s.maintain(t, 0, 0) // the result is stored with the origin
	var ids []string
	for _, h := range s.hosts {
		v, ok, err := dmarc.ReporterOf(h).Preview(t.Context(), s.now, s.now.Add(-24*time.Hour), "bank.example")
		if err != nil || !ok || v.Attempts != 1 {
			t.Fatalf("%+v, %v, %v", v, ok, err)
		}
		r, err := aggregate.Parse([]byte(v.XML))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("%q", ids)
	}
}

// TestDeadDestination tests that a domain gets its report in the end if the name servers of another address in its record are down.
func TestDeadDestination(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromShop, "")
	s.maintain(t, 0, 0)
	env := s.env
	env.DNS = checktest.NewZone(t, "_dmarc.shop.example TXT \"v=DMARC1; p=none; rua=mailto:x@reports.example.net,mailto:a@shop.example\"\n"+
		"!SERVFAIL shop.example._report._dmarc.reports.example.net TXT\n")
	s.hosts[0] = checktest.Build(t, dmarc.Info, env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })
	s.maintain(t, 0, 0)
	s.nextDay(t)
	for range 3 {
		s.maintain(t, 0, 0)
		if got := s.server.take(); len(got) != 0 {
			t.Errorf("%s: sent %+v", s.now, got)
		}
		s.now = s.now.Add(4*time.Hour + time.Minute)
	}
	s.maintain(t, 0, 0)
	out, err := dmarc.ReporterOf(s.hosts[0]).Outgoing(t.Context(), s.now.Add(-24*time.Hour))
	if err != nil || len(out) != 1 || len(out[0].To) != 1 || out[0].To[0] != "a@shop.example" || !strings.Contains(out[0].Why, "reports.example.net") {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestSlowDestinations tests that a report is not tried in the time that slow name servers of others have left over.
func TestSlowDestinations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newReporting(t, 0)
		var zone strings.Builder
		for i := range 6 {
			fmt.Fprintf(&zone, "_dmarc.d%d.example TXT \"v=DMARC1; p=none; rua=mailto:a@evil.example\"\nd%d.example TXT \"v=spf1 ip4:192.0.2.1 -all\"\n", i, i)
		}
		s.env.DNS = checktest.Silent{Resolver: checktest.NewZone(t, zone.String()), About: checktest.Below("evil.example")}
		s.hosts = []checks.Check{checktest.Build(t, dmarc.Info, s.env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })}
		s.maintain(t, 0, 0)
		for i := range 6 {
			author := fmt.Sprintf("a@d%d.example", i)
			s.receive(t, 0, message{client: "192.0.2.1", from: author, header: "From: " + author + "\n"}, "")
		}
		s.nextDay(t)
		for calls := range 3 {
			s.maintain(t, 0, 0)
			out, err := dmarc.ReporterOf(s.hosts[0]).Outgoing(t.Context(), s.now.Add(-24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			tried := 0
			for _, o := range out {
				tried += o.Attempts
			}
			if want := 2 * (calls + 1); tried != want {
				t.Errorf("after call %d: %d reports were tried, want %d", calls+1, tried, want)
			}
		}
	})
}
