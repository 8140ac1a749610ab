package commands

import (
	"fmt"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// TestWatchReport tests that the report counts every watched reason that applied to a message, and that the overview ends with the same
// sentences about the profiles.
func TestWatchReport(t *testing.T) {
	t.Parallel()
	d, pages := startWithPages(t, "watch")
	const messages = 3
	for range messages {
		d.Play(t, daemontest.GoodSession(func(s *miltertest.Session) {
			s.Client, s.Helo, s.MailFrom = "192.0.2.9", []string{"bad_name.client.test"}, "a@fail.test"
			s.Header = daemontest.GoodHeader(daemontest.Field{"Date", "-"}, daemontest.Field{"Message-ID", "-"})
		}))
	}
	d.Play(t, daemontest.GoodSession())
	want := []string{"rdns-missing", "helo-underscore", "helo-unresolvable", "helo-mismatch", "spf-fail", "date-missing", "msgid-missing"}
	type report struct {
		Reasons []struct {
			Reason    string
			Occasions int
		}
		Profiles []struct {
			Profile                       string
			Messages, Refused, Greylisted int
		}
	}
	var got report
	counts := map[string]int{}
	miltertest.Eventually(t, "the mail is in the evidence", func() bool {
		got = daemontest.DecodeJSON[report](t, d, "report", "watch")
		for _, r := range got.Reasons {
			counts[r.Reason] = r.Occasions
		}
		return counts["msgid-missing"] == messages
	})
	for _, reason := range want {
		if counts[reason] != messages {
			t.Errorf("%s applied %d times, want %d", reason, counts[reason], messages)
		}
	}
	if len(got.Profiles) != 2 || got.Profiles[0].Messages != messages+1 || got.Profiles[0].Refused != 0 || got.Profiles[0].Greylisted != messages ||
		got.Profiles[1].Refused != messages {
		t.Errorf("profiles: %+v", got.Profiles)
	}
	text := d.MustRun(t, "report", "watch")
	var sentences []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "The profile ") {
			sentences = append(sentences, strings.TrimSpace(line))
		}
	}
	if len(sentences) != 2 || !strings.Contains(sentences[0], fmt.Sprintf("The profile safe would have refused 0 of %d messages, and greylisted %d (rdns-missing %[2]d).", messages+1, messages)) {
		t.Errorf("sentences: %q", sentences)
	}
	miltertest.Eventually(t, "the overview has the sentences of the report", func() bool {
		_, overview := daemontest.GetText(t, "http://milterd:secret@"+pages+"/")
		for _, s := range sentences {
			if !strings.Contains(overview, s) {
				return false
			}
		}
		return true
	})
}
