// Package reasons tests that each reason refuses mail by itself, through a running daemon.
package reasons

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// TestReasons plays the session of each reason with all reasons off, where it must pass, and with the reason alone, where it must
// be refused with the right reply, log line and page. If the case needs other reasons too, it plays the session with these
// alone, where it must pass. If another reason is in the reply, it plays the session with the reason watched, which the log must
// name. A reason that has a session file needs no case: TestSessionsOverSocket plays the file.
func TestReasons(t *testing.T) {
	cases, reasons := reasonCases(), daemontest.Reasons()
	for id := range reasons {
		if _, ok := cases[id]; !ok && !hasSessionFile(t, id) {
			t.Errorf("%s has neither a session file, checks/NAME/testdata/%s.session, nor a case in cases_test.go", id, id)
		}
	}
	dns, settings := dnstest.Start(t, daemontest.World).Addr, caseSettings(t)
	off := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: daemontest.OnlyReason("", ""), Extra: settings})
	t.Cleanup(func() { // after the parallel subtests
		for _, e := range off.Entries(t, 0) {
			if e["reason"] != "" {
				t.Errorf("off: logged %v", e)
			}
		}
	})
	for id, c := range cases {
		r := reasons[id]
		if r == nil {
			t.Errorf("%s is not registered", id)
			continue
		}
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			for _, s := range c.sessions() {
				if outcome := off.Play(t, s); outcome.Event != 0 {
					t.Errorf("off: refused at %c: %s", outcome.Event, outcome.Response.Raw)
				}
			}
			if r.Most == checks.Watch {
				c.testWatched(t, id, dns, settings)
				return
			}
			c.testRefused(t, id, dns, settings)
			if c.also != nil {
				c.testWithout(t, dns, settings)
			}
			if c.answered != "" {
				c.testWatched(t, id, dns, settings)
			}
		})
	}
}

// hasSessionFile reports whether a check has a session file of the reason.
func hasSessionFile(t *testing.T, id string) bool {
	t.Helper()
	found, err := filepath.Glob("../../../../checks/*/testdata/" + id + ".session")
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}

// caseSettings returns settings of the checks: limits that one session exceeds, lists, mail hosts and a registry.
func caseSettings(t *testing.T) string {
	deny := filepath.Join(t.TempDir(), "deny.txt")
	if err := os.WriteFile(deny, []byte("11.7.7.7 why=\"no spam please\"\ndenied.client.test\n@denied.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`budget: 3s
checks:
  access: {deny: [%q]}
  counters: {resets: 2, bad_recipients: 2, errors: 2}
  dnsbl: {zones: [{zone: bl.test, codes: [127.0.0.2]}, {zone: rhs.test, codes: [127.0.0.2], query: sender}]}
  callout: {port: %d, allow_private: true}
  sender: {history: 1, new_domain: 30d, rdap: %q}
  dmarc: {trusted: [%q]}
  rate: {user: 2/h, client: 2/h, domain: 2/h}
`, deny, startMailHosts(t), newRegistry(t).URL, trustedRelay)
}

// testRefused tests the refusal with the reason alone.
func (c reasonCase) testRefused(t *testing.T, id, dns, settings string) {
	action := cmp.Or(c.action, "reject")
	actions := daemontest.OnlyReason(id, action)
	maps.Copy(actions, c.also)
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: actions, Extra: settings + daemontest.ExplainConfig(t.TempDir())})
	for range c.beforeTimes() {
		if outcome := d.Play(t, *c.before); outcome.Event == 0 {
			t.Fatalf("the session before passed; log: %s", d.Output())
		}
	}
	mark := d.Mark()
	outcome := d.Play(t, c.Session)
	for began := time.Now(); c.delayed && outcome.Event == 0 && time.Since(began) < miltertest.WaitTimeout; {
		mark = d.Mark()
		outcome = d.Play(t, c.Session)
	}
	at := outcome.Event
	if at == 'E' {
		at = 'N' // the MTA did not wait for a response at the end of the header section
	}
	if outcome.Event == 0 {
		t.Fatalf("passed; want %s; log: %s", c.codes, d.Output())
	}
	codes, text, link := splitReply(t, outcome.Response)
	if at != c.at || outcome.Response.Action != gomilter.ActReplyCode || codes != c.codes || !strings.Contains(text, c.text) {
		t.Errorf("event %c: got %s %q, want %s at %c with %q", outcome.Event, codes, text, c.codes, c.at, c.text)
	}
	want := daemontest.Entry{"msg": action, "reason": cmp.Or(c.answered, id), "stage": c.stage, "action": action}
	if want["reason"] == "greylisted" {
		want["msg"], want["action"] = "greylist", "greylist"
	}
	if c.answered != "" {
		want["suspicion"] = id
	}
	e := d.AwaitEntry(t, mark, want)
	checkEntry(t, e, c.Session, codes+" "+text)
	checkLink(t, link, daemontest.Reasons()[cmp.Or(c.answered, id)], codes+" "+text)
}

// splitReply returns the codes of a reply, its text, and its link.
func splitReply(t *testing.T, r miltertest.Response) (codes, text, link string) {
	t.Helper()
	codes, text = daemontest.ReadReply(t, r)
	text, link, _ = strings.Cut(text, "; http://")
	return codes, text, "http://" + link
}

// testWithout tests that the session of the case passes where the reason is off and the other reasons of the case are on.
func (c reasonCase) testWithout(t *testing.T, dns, settings string) {
	t.Helper()
	actions := daemontest.OnlyReason("", "")
	maps.Copy(actions, c.also)
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: actions, Extra: settings})
	for range c.beforeTimes() {
		d.Play(t, *c.before)
	}
	if outcome := d.Play(t, c.Session); outcome.Event != 0 {
		t.Errorf("off: refused at %c: %s", outcome.Event, outcome.Response.Raw)
	}
}

// beforeTimes returns the number of sessions before the one that is refused.
func (c reasonCase) beforeTimes() int {
	if c.before == nil {
		return 0
	}
	return max(1, c.times)
}

// sessions returns all sessions of the case.
func (c reasonCase) sessions() []miltertest.Session {
	var list []miltertest.Session
	for range c.beforeTimes() {
		list = append(list, *c.before)
	}
	return append(list, c.Session)
}

// testWatched tests the reason with the action watch.
func (c reasonCase) testWatched(t *testing.T, id, dns, settings string) {
	d := daemontest.Start(t, daemontest.Config{DNS: dns, Profile: "watch", Actions: daemontest.OnlyReason(id, "watch"), Extra: settings})
	mark := d.Mark()
	if outcome := d.Play(t, c.Session); outcome.Event != 0 {
		t.Fatalf("refused at %c: %s", outcome.Event, outcome.Response.Raw)
	}
	d.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "client": c.Session.Client, "watched": id})
}

// checkEntry compares a line of the log with the session and the reply.
func checkEntry(t *testing.T, e daemontest.Entry, s miltertest.Session, reply string) {
	t.Helper()
	for _, f := range daemontest.DecisionFields {
		if _, ok := e[f]; !ok {
			t.Errorf("log line lacks %s: %v", f, e)
		}
	}
	last := ""
	if len(s.Helo) > 0 {
		last = s.Helo[len(s.Helo)-1]
	}
	want := daemontest.Entry{"client": s.Client, "helo": last, "mail_from": s.MailFrom}
	if !e.Has(want) {
		t.Errorf("log line %v, want %v", e, want)
	}
	if e["session"] == "" || !slices.Contains(s.Rcpts, e["rcpt"]) {
		t.Errorf("log line with session %q and recipient %q", e["session"], e["rcpt"])
	}
	if got := e["code"] + " " + e["text"]; got != reply {
		t.Errorf("logged %q, replied %q", got, reply)
	}
}

// recipient matches a recipient in a reply, which the page does not show.
var recipient = regexp.MustCompile(`<[a-z]+@mx\.test>`)

// checkLink tests that the link of a reply leads to the page of the reason, with the session and the remedy.
func checkLink(t *testing.T, link string, reason *checks.Reason, reply string) {
	t.Helper()
	if !strings.Contains(link, "/why/"+reason.ID+"?r=") {
		t.Fatalf("the reply to %s has the link %q", reason.ID, link)
	}
	var code int
	var text string
	miltertest.Eventually(t, "the record of "+link+" is written", func() bool {
		code, text = daemontest.GetText(t, link)
		return strings.Contains(text, "What we saw") || code != 200
	})
	reply = recipient.ReplaceAllString(reply, "<…@mx.test>")
	for _, want := range []string{reply, reason.Why, reason.Remedy, "How to repair it"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s: %d, no %q in %s", link, code, want, text)
		}
	}
}
