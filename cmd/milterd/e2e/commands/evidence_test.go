package commands

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/evidence"
	"milterd/milter/miltertest"
)

// reports returns the evidence of a daemon about a watched and an enforced reason.
func reports(t *testing.T, d *daemontest.Daemon, watched, enforced string) (w evidence.Watched, e evidence.Enforced) {
	t.Helper()
	watch := daemontest.DecodeJSON[evidence.WatchReport](t, d, "report", "watch", "--reason", watched)
	if len(watch.Reasons) != 1 || watch.Lost != 0 || watch.Threshold != evidence.Required() {
		t.Fatalf("got %+v", watch)
	}
	action := daemontest.DecodeJSON[evidence.ActionReport](t, d, "report", "action", "--reason", enforced)
	if len(action.Reasons) > 1 || action.Lost != 0 {
		t.Fatalf("got %+v", action)
	}
	if len(action.Reasons) == 1 {
		e = action.Reasons[0]
	}
	return watch.Reasons[0], e
}

// describe describes each sender as "NAME OCCASIONS GOOD".
func describe(list []evidence.Sender) (descriptions []string) {
	for _, s := range list {
		descriptions = append(descriptions, strings.TrimSpace(fmt.Sprintf("%s %d %s", s.Name(), s.Occasions, s.Good)))
	}
	return descriptions
}

// The reasons of these tests, and HELO names of the good client to which they apply.
const (
	watchedReason, watchedHelo   = "helo-mismatch", "other.client.test"
	enforcedReason, enforcedHelo = "helo-cname", "alias.client.test"
)

var evidenceActions = map[string]string{watchedReason: "watch", enforcedReason: "reject"}

// mailAs sends a message of the good client with a HELO name, from an authenticated user unless user is empty. The first
// refusal must begin with want; if want is empty, the message must be accepted.
func mailAs(t *testing.T, d *daemontest.Daemon, helo, user, from, to, want string) {
	t.Helper()
	c, err := d.ConnectAs(daemontest.GoodClient, helo)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	macros := map[string]string{"i": "Q1"}
	if user != "" {
		macros["{auth_authen}"] = user
	}
	if r, err := c.Mail("<"+from+">", macros); err != nil || r.Action != 0 {
		t.Fatalf("MAIL got %q, %v", daemontest.ReplyText(r), err)
	}
	r, err := c.Recipient(to)
	if r == "" && err == nil {
		r, err = c.SendMessage()
	}
	if err != nil || want == "" && r != "" || !strings.HasPrefix(r, want) {
		t.Fatalf("mail of %s from <%s> got %q, %v; want %q", helo, from, r, err, want)
	}
}

// TestEvidenceReports tests the reports about a sender to which a user writes later, and about unknown senders.
func TestEvidenceReports(t *testing.T) {
	t.Parallel()
	d, _ := daemontest.StartWithSocket(t, evidenceActions, "")
	if w, e := reports(t, d, watchedReason, enforcedReason); w.Verdict != evidence.Unknown || w.Occasions != 0 || e.Refused != 0 {
		t.Errorf("before any mail: %+v, %+v", w, e)
	}
	if out := d.MustRun(t, "report", "action"); !strings.Contains(out, "nothing was refused or held") {
		t.Errorf("got %s", out)
	}
	for range 3 {
		mailAs(t, d, watchedHelo, "", daemontest.GoodSender, "alice@mx.test", "")
	}
	mailAs(t, d, watchedHelo, "", "x@none.test", "alice@mx.test", "")
	mailAs(t, d, enforcedHelo, "", daemontest.GoodSender, "alice@mx.test", "550 5.7.1")
	mailAs(t, d, enforcedHelo, "", "x@none.test", "alice@mx.test", "550 5.7.1")
	mailAs(t, d, daemontest.GoodHelo, "alice", "alice@mx.test", daemontest.GoodSender, "")
	miltertest.Eventually(t, "alice's message is in the evidence", func() bool {
		w, _ := reports(t, d, watchedReason, enforcedReason)
		return w.GoodSenders > 0
	})
	w, e := reports(t, d, watchedReason, enforcedReason)
	if w.Occasions != 4 || w.Passed != 4 || w.Clients != 1 || w.Verdict != evidence.Unsafe || w.Why != "because of sender.test (3, answered)" {
		t.Errorf("got %+v", w)
	}
	if got := describe(w.Affected); !slices.Equal(got, []string{"sender.test 3 answered", "none.test from client.test 127.0.0.0/24 1"}) {
		t.Errorf("affected: %q", got)
	}
	if got := describe(e.Wronged); e.Refused != 2 || !slices.Equal(got, []string{"sender.test 1 answered"}) {
		t.Errorf("wronged: %q of %+v", got, e)
	}
	table := d.MustRun(t, "report", "watch")
	daemontest.WantRow(t, table, watchedReason, "watch", "4", "1", "1", "not", "safe:", "because", "of", "sender.test", "(3,", "answered)")
	daemontest.WantRow(t, table, "sender.test", "3", "yes", "answered")
	daemontest.WantRow(t, table, "other", "reasons", "of", "this", "report", "never", "applied.")
	daemontest.WantRow(t, d.MustRun(t, "report", "watch", "--reason", "rdns-missing"), "rdns-missing", "never", "applied.")
	table = d.MustRun(t, "report", "action")
	daemontest.WantRow(t, table, enforcedReason, "reject", "2", "0", "1", "0", "0", "1")
	daemontest.WantRow(t, table, "sender.test", "1", "yes", "answered")
	if r := d.Command(t, "report", "watch", "--reason", "nonsense"); r.Code != 2 || !strings.Contains(r.Stderr, `there is no reason "nonsense"; see milterd doc reasons`) {
		t.Errorf("got %+v", r)
	}
}

// TestRedisEvidence tests that two hosts, each of which receives half of the mail, report all of it.
func TestRedisEvidence(t *testing.T) {
	t.Parallel()
	p := daemontest.StartPair(t, daemontest.Config{Profile: "safe", Actions: evidenceActions}, "")
	const mails = 10
	for i := range mails {
		d := p.Hosts[i%2]
		mailAs(t, d, watchedHelo, "", daemontest.GoodSender, "alice@mx.test", "")
		mailAs(t, d, watchedHelo, "", fmt.Sprintf("x@%s.test", [...]string{"none", "soft"}[i%2]), "alice@mx.test", "") // each at one host
		mailAs(t, d, enforcedHelo, "", daemontest.GoodSender, "alice@mx.test", "550 5.7.1")
	}
	mailAs(t, p.Hosts[1], daemontest.GoodHelo, "alice", "alice@mx.test", daemontest.GoodSender, "")
	want := []string{fmt.Sprintf("sender.test %d answered", mails), fmt.Sprintf("none.test from client.test 127.0.0.0/24 %d", mails/2), fmt.Sprintf("soft.test from client.test 127.0.0.0/24 %d", mails/2)}
	for i, d := range p.Hosts {
		// A host writes its evidence to the store once a minute, and before each report.
		miltertest.Eventually(t, fmt.Sprintf("host %d reports all mail", i), func() bool {
			for _, each := range p.Hosts {
				reports(t, each, watchedReason, enforcedReason)
			}
			w, e := reports(t, d, watchedReason, enforcedReason)
			return w.Occasions == 2*mails && e.Refused == mails && w.GoodSenders == 1
		})
		w, e := reports(t, d, watchedReason, enforcedReason)
		got := describe(w.Affected)
		slices.Sort(got[1:])
		if !slices.Equal(got, want) || w.Clients != 1 || w.Verdict != evidence.Unsafe {
			t.Errorf("host %d: %q, want %q; %+v", i, got, want, w)
		}
		if got := describe(e.Wronged); e.Refused != mails || !slices.Equal(got, []string{fmt.Sprintf("sender.test %d answered", mails)}) {
			t.Errorf("host %d: wronged %q of %+v", i, got, e)
		}
	}
	// A host that stops writes its evidence.
	mailAs(t, p.Hosts[0], watchedHelo, "", daemontest.GoodSender, "alice@mx.test", "")
	p.Hosts[0].Stop(t)
	if w, _ := reports(t, p.Hosts[1], watchedReason, enforcedReason); w.Occasions != 2*mails+1 {
		t.Errorf("after the other host has stopped: %+v", w)
	}
}
