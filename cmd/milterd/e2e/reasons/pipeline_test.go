package reasons

import (
	"strings"
	"testing"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// TestPipelineReasons plays the session of each reason of the Pipeline twice: with the settings that cause the reason, where a
// recipient must be deferred with the right reply, log line and page, and without them, where it must be accepted. No action
// can switch these reasons off.
func TestPipelineReasons(t *testing.T) {
	broken, working := dnstest.Start(t, "!SERVFAIL 10.0.0.127.in-addr.arpa. PTR\n").Addr, dnstest.Start(t, daemontest.World).Addr
	together := daemontest.GoodSession(func(s *miltertest.Session) { s.Rcpts = append(s.Rcpts, "postmaster@mx.test") })
	cases := map[string]struct {
		miltertest.Session
		dns     string
		only    string // reason that is on
		with    string // settings that cause the reason
		without string
		codes   string
		text    string // part of the reply
	}{
		"check-failed": {
			Session: daemontest.GoodSession(), dns: broken, only: "rdns-missing", with: "on_error: tempfail\n", without: "on_error: accept\n",
			codes: "451 4.4.3", text: "could not be checked for now, please try again later",
		},
		"policies-differ": {
			Session: together, dns: working, only: "date-invalid", without: "exempt_recipients: []\n",
			codes: "452 4.5.3", text: "<postmaster@mx.test> has other rules for messages than the recipients before, please send to it separately",
		},
		"memory-full": {
			Session: daemontest.GoodSession(), dns: working, with: "memory: 1\n",
			codes: "452 4.3.1", text: "the mail filter has no memory left for <alice@mx.test>, please try again later",
		},
	}
	for _, r := range checks.PipelineReasons() {
		c, ok := cases[r.ID]
		if !ok {
			t.Errorf("%s has no case", r.ID)
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			t.Parallel()
			start := func(settings string) *daemontest.Daemon {
				return daemontest.Start(t, daemontest.Config{
					DNS: c.dns, Profile: "watch", Actions: daemontest.OnlyReason(c.only, "reject"),
					Extra: settings + daemontest.ExplainConfig(t.TempDir()),
				})
			}
			if outcome := start(c.without).Play(t, c.Session); outcome.Event != 0 {
				t.Errorf("without %q: refused at %c: %s", c.with, outcome.Event, outcome.Response.Raw)
			}
			d := start(c.with)
			outcome := d.Play(t, c.Session)
			if outcome.Event != 'R' {
				t.Fatalf("refused at %q (0: not at all), want R; log: %s", outcome.Event, d.Output())
			}
			codes, text, link := splitReply(t, outcome.Response)
			if codes != c.codes || !strings.Contains(text, c.text) {
				t.Errorf("got %s %q, want %s with %q", codes, text, c.codes, c.text)
			}
			e := d.AwaitEntry(t, 0, daemontest.Entry{"msg": "tempfail", "reason": r.ID, "stage": "rcpt", "action": "tempfail"})
			checkEntry(t, e, c.Session, codes+" "+text)
			checkLink(t, link, r, codes+" "+text)
		})
	}
}
