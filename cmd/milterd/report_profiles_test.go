package main

import (
	"net/netip"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
)

// TestProfiles tests what the profiles would have answered to mail to which reasons applied in another order than that of the
// registry, and twice.
func TestProfiles(t *testing.T) {
	t.Parallel()
	reasons := map[string]*checks.Reason{}
	for _, r := range all.Reasons() {
		reasons[r.ID] = r
	}
	d := newRecordingDaemon(t, nil)
	n := uint64(0)
	for id, applied := range map[string][]string{
		"aaaaaaaaaaaa": {"helo-mismatch", "rdns-missing", "rdns-missing"}, "bbbbbbbbbbbb": {"msgid-lax"}, "cccccccccccc": {"greylisted"},
	} {
		s := &checks.Session{ID: id, Time: time.Now(), Client: netip.MustParseAddr("192.0.2.7")}
		s.Envelope.MailFrom = checks.ParseAddress("ann@example.com")
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
		for _, reason := range applied {
			decide(d, s, reasons[reason], checks.Watch, nil)
			n++
		}
	}
	awaitRecords(t, d, n)
	got, err := d.profiles(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("%d profiles, %v", len(got), err)
	}
	for i, want := range []string{
		"The profile safe would have refused 0 of 3 messages, and greylisted 1 (rdns-missing 1).",
		"The profile strict would have refused 2 of 3 messages (msgid-lax 1, rdns-missing 1), and greylisted 0.",
	} {
		if got[i].String() != want {
			t.Errorf("got  %s\nwant %s", got[i], want)
		}
	}
}
