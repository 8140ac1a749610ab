package greylist_test

import (
	"fmt"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/greylist"
)

// TestWhySuspicionsAreWaived tests that an accepted message says why a suspicion did not delay it.
func TestWhySuspicionsAreWaived(t *testing.T) {
	t.Parallel()
	w := newSite(t)
	want := func(why string) {
		t.Helper()
		o := w.send(w.daemon(t), plain())
		got := fmt.Sprint(o.vouched)
		if o.held() || got != fmt.Sprintf("[{greylist no delay %s}]", why) && (why != "" || got != "[]") {
			t.Errorf("held %v, got %s, want %q", o.held(), got, why)
		}
	}
	wantHeld(t, "first", w.send(w.daemon(t), plain()), true)
	w.now = w.now.Add(3 * time.Minute)
	want("the delay of greylisting is over")
	want("this sender has passed greylisting with mail to this recipient")
	w.suspicions = nil
	want("")

	w = newSite(t)
	if _, err := greylist.Allow(t.Context(), w.env.Store, w.now, "192.0.2.99"); err != nil {
		t.Fatal(err)
	}
	want("the operator allowed 192.0.2.99 (milterd greylist allow)")
	w = newSite(t)
	w.change = func(s *greylist.Settings) { s.NoRetry = []string{"192.0.2.99"} }
	want("the client or the sender is on the list of those that do not try again (no_retry)")
	w = newSite(t)
	w.vouch = checks.SkipDelays
	if o := w.send(w.daemon(t), plain()); o.held() || fmt.Sprint(o.vouched) != "[{suspect no greylisting and no callout }]" {
		t.Errorf("with the vouch of another check: %v", o.vouched)
	}
	w = newSite(t)
	w.suspicions = []*checks.Reason{badHeader}
	wantHeld(t, "the header", w.send(w.daemon(t), plain()), true)
	w.now = w.now.Add(3 * time.Minute)
	want("the delay of greylisting is over")
}
