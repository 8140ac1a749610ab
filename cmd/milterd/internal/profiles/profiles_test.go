package profiles

import (
	"testing"

	"milterd/milter/records"
)

// TestResults tests what the profiles would have answered to mail to which reasons applied in another order than that of the registry, twice,
// and to several messages of one sender.
func TestResults(t *testing.T) {
	t.Parallel()
	tally := NewTally()
	for _, r := range []struct{ session, action, reason string }{
		{"a", "watch", "helo-mismatch"}, {"a", "watch", "rdns-missing"}, {"a", "watch", "rdns-missing"},
		{"b", "watch", "msgid-lax"}, {"b", records.Accept, ""}, {"b", records.Accept, ""},
		{"c", "tempfail", "greylisted"},
		{"d", "watch", "a-reason-of-another-version"},
	} {
		record := records.Record{Session: r.session, MailFrom: "ann@example.com", Action: r.action}
		if r.reason != "" {
			record.Outcomes = []records.Outcome{{Reason: r.reason}}
		}
		tally.Add(record)
	}
	got := tally.Results()
	for i, want := range []string{
		"The profile safe would have refused 0 of 5 messages, and greylisted 1 (rdns-missing 1).",
		"The profile strict would have refused 3 of 5 messages (msgid-lax 2, rdns-missing 1), and greylisted 0.",
	} {
		if len(got) != 2 || got[i].String() != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
	}
}

// TestBounces tests that no profile refuses a bounce for a reason that is only watched in bounces.
func TestBounces(t *testing.T) {
	t.Parallel()
	tally := NewTally()
	for _, reason := range []string{"msgid-missing", "msgid-invalid"} {
		tally.Add(records.Record{Session: reason, MailFrom: "", Outcomes: []records.Outcome{{Reason: reason}}})
	}
	tally.Add(records.Record{Session: "other", MailFrom: "", Outcomes: []records.Outcome{{Reason: "msgid-missing"}, {Reason: "rdns-missing"}}})
	for _, r := range tally.Results() {
		if r.Refusing["msgid-missing"]+r.Refusing["msgid-invalid"] > 0 {
			t.Errorf("%s", r)
		}
		if r.Profile == "strict" && r.Refusing["rdns-missing"] != 1 {
			t.Errorf("%s", r)
		}
	}
}

// TestMostFrequent tests the list of reasons: the most frequent first, and the number of the others.
func TestMostFrequent(t *testing.T) {
	t.Parallel()
	for want, counts := range map[string]map[string]int{
		"":                                       {},
		" (b 2, a 1)":                            {"a": 1, "b": 2},
		" (e 5, d 4, a 1, b 1, 2 other reasons)": {"a": 1, "b": 1, "c": 1, "d": 4, "e": 5, "f": 1},
	} {
		if got := mostFrequent(counts); got != want {
			t.Errorf("%v: %q, want %q", counts, got, want)
		}
	}
}
