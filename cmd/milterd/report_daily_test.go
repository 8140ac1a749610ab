package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/counters"
	"milterd/milter/miltertest"
	"milterd/milter/records"
)

// TestBlocksOfTheNight tests that the daily report names clients that were blocked, also those whose block is over.
func TestBlocksOfTheNight(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	reason := counters.Info.Reasons[len(counters.Info.Reasons)-1]
	for _, client := range []string{"192.0.2.9", "198.51.100.7"} {
		s := &checks.Session{ID: "s", Time: time.Now(), Client: netip.MustParseAddr(client)}
		reply := reason.Reply
		d.records.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{
			Reply: &reply, Reason: reason, Action: checks.Reject, Outcomes: []checks.Outcome{{Reason: reason, Action: checks.Reject}},
		})
	}
	if _, err := d.addBlock(t.Context(), blockArgs{Client: "198.51.100.7", For: time.Hour, Why: "a wave"}); err != nil {
		t.Fatal(err)
	}
	awaitRecords(t, d, 2)
	r, err := d.reportDaily(t.Context(), noArgs{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	showDaily(&out, r)
	for _, want := range []string{"192.0.2.9 for " + reason.ID + ", over by now", "198.51.100.7 until "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if len(r.Ended) != 1 {
		t.Errorf("got %q", r.Ended)
	}
}

// TestRefusedRecipients tests that the daily report counts the recipients of a refused message and those that greylisting
// held, and accepted messages once.
func TestRefusedRecipients(t *testing.T) {
	t.Parallel()
	r := dailyReport{Actions: map[string]int{}}
	rcpts := []string{"bob@example.org", "carol@example.org"}
	r.count(records.Record{Action: "reject", Reply: "550 5.6.0 no From field", Rcpts: rcpts})
	r.count(records.Record{Action: "tempfail", Reply: "450 4.7.1 no sender"})
	r.count(records.Record{Action: records.Accept, Rcpts: rcpts})
	r.count(records.Record{Action: "tempfail", Reason: "greylisted", Reply: "451 4.7.1 greylisted", Rcpts: rcpts[:1]})
	r.count(records.Record{Action: "greylist", Reason: "rdns-missing", Rcpts: rcpts[:1]}) // let in after the wait
	if r.Actions["reject"] != 2 || r.Actions["tempfail"] != 1 || r.Actions["greylist"] != 1 || r.Actions[records.Accept] != 1 {
		t.Errorf("got %v", r.Actions)
	}
}

// TestDailyReportWithoutStore tests that there is a report while the store is down, and that it says so.
func TestDailyReportWithoutStore(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := d.reportDaily(t.Context(), noArgs{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Attention); n == 0 || !strings.HasPrefix(r.Attention[n-1], "this report is incomplete: ") {
		t.Errorf("needs attention: %q", r.Attention)
	}
}

// TestUndoneSenderBlock tests that undoing the removal of a block for one domain's mail does not block the client.
func TestUndoneSenderBlock(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	now := time.Now().Truncate(time.Second)
	before := counters.Blocked{
		Client: netip.MustParsePrefix("192.0.2.9/32"), Sender: "example.com", Since: now.UTC(), Until: now.Add(time.Hour).UTC(), Level: 2,
		Limits: []string{"too-many-errors"}, InForce: true,
	}
	if err := counters.Restore(t.Context(), d.store, before, now); err != nil {
		t.Fatal(err)
	}
	change, err := operator{daemon: d}.Unblock(t.Context(), "192.0.2.9", "example.com", false)
	if err != nil || change.Undo == nil {
		t.Fatalf("%+v, %v", change, err)
	}
	if list, err := d.listBlocks(t.Context(), noArgs{}); len(list) > 0 || err != nil {
		t.Fatalf("after it: %+v, %v", list, err)
	}
	if _, err := change.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := d.listBlocks(t.Context(), noArgs{})
	if err != nil || len(list) != 1 || list[0].Sender != "example.com" || list[0].Level != 2 || !list[0].Until.Equal(before.Until) || list[0].Limits[0] != "too-many-errors" {
		t.Errorf("undone: %+v, %v", list, err)
	}
	if b, err := counters.Covering(t.Context(), d.store, before.Client, now); b != nil || err != nil {
		t.Errorf("all mail of the client is blocked: %+v, %v", b, err)
	}
}

// TestReportAddress tests the recipient of a report that is mailed, and that of the unit that mails it each morning.
func TestReportAddress(t *testing.T) {
	t.Parallel()
	_, unit, _ := strings.Cut(readFile(t, root+"/systemd/milterd-report.service"), "report daily --mail ")
	unit, _, _ = strings.Cut(unit, "\n")
	for text, want := range map[string]string{
		unit: "postmaster", "root": "root", "bob@example.org": "bob@example.org", "Bob <bob@example.org>": "bob@example.org",
		"": "", "two words": "", "bob@": "", "a, b": "", "<root>": "",
	} {
		got, err := reportAddress(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestFailedSendmail tests the error if sendmail fails, with a text or without.
func TestFailedSendmail(t *testing.T) {
	d, _ := serveOperatorPages(t, nil)
	socket, dir := serveFunctions(t, d), t.TempDir()
	t.Setenv("PATH", dir)
	for script, want := range map[string]string{
		"#!/bin/sh\nexit 75\n":                "/sendmail: exit status 75: see the log of the mail server",
		"#!/bin/sh\necho no space; exit 75\n": "/sendmail: exit status 75: no space",
	} {
		miltertest.WriteProgram(t, dir+"/sendmail", []byte(script))
		if code, _, errs := runLine(t, "report", "daily", "--mail", "postmaster", "--socket", socket); code != exitNo || !strings.Contains(errs, want) {
			t.Errorf("%q: exit status %d, no %q in %s", script, code, want, errs)
		}
	}
}
