package dmarc_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dmarc"
	"milterd/checks/dmarc/report"
	"milterd/checks/facts/dmarc/aggregate"
)

// TestReports sends the reports of two hosts with a common store: each domain gets one, with what both have counted.
func TestReports(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 2)
	s.receive(t, 0, fromBank, "")
	s.receive(t, 0, fromBank, "")
	s.receive(t, 1, fromBank, "")
	s.receive(t, 0, signed, "")
	s.receive(t, 1, forged, "dmarc-reject") // nothing passes there after it, but before it
	s.receive(t, 1, fromShop, "")
	s.receive(t, 0, message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@test.example\n"}, "") // an attack alone
	s.receive(t, 0, message{client: "192.0.2.1", from: "a@club.example", header: "From: a@club.example\n"}, "")  // wants no report
	s.nextDay(t)
	if got := s.server.take(); len(got) != 0 {
		t.Fatalf("sent too early: %v", got)
	}
	for range 3 {
		s.maintain(t, 0, time.Second)
		s.maintain(t, 1, time.Second)
	}
	got := s.server.take()
	if len(got) != 2 || !slices.Equal(got[0].to, []string{"a@shop.example"}) || !slices.Equal(got[1].to, []string{"dmarc@bank.example"}) {
		t.Fatalf("sent %+v", got)
	}
	bank := reportOf(t, got[1].text)
	var rows []string
	for _, r := range bank.Records {
		rows = append(rows, fmt.Sprintf("%d from %s: %s, DKIM %s %v, SPF %s %v, %s by %s", r.Count, r.Source, r.Disposition, r.DKIM, r.Signatures, r.SPF, r.Sender, r.HeaderFrom, r.EnvelopeFrom))
	}
	slices.Sort(rows)
	if want := []string{
		"1 from 192.0.2.66: pass, DKIM pass [{bank.example test pass} {lost.evil.example test temperror}], SPF fail {evil.example pass}, mail.bank.example by evil.example",
		"1 from 192.0.2.66: reject, DKIM fail [], SPF fail {evil.example pass}, bank.example by evil.example",
		"3 from 192.0.2.1: pass, DKIM fail [], SPF pass {bank.example pass}, bank.example by bank.example",
	}; !slices.Equal(rows, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(rows, "\n     "), strings.Join(want, "\n     "))
	}
	if p := bank.Policy; p != (aggregate.Policy{Domain: "bank.example", P: "reject", SP: "reject", NP: "reject", ADKIM: "r", ASPF: "r", Testing: "n", Discovery: "treewalk"}) {
		t.Errorf("policy %+v", p)
	}
	if p := reportOf(t, got[0].text).Policy; p.ADKIM != "s" || p.P != "quarantine" {
		t.Errorf("policy %+v", p)
	}
	out, err := dmarc.ReporterOf(s.hosts[0]).Outgoing(t.Context(), s.now.Add(-24*time.Hour))
	if err != nil || len(out) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, o := range out {
		if !o.Over || o.Sent.IsZero() || o.Domain == "shop.example" && !strings.Contains(o.Why, "b@shop.example: takes 1024 bytes") ||
			o.Domain == "shop.example" && !strings.Contains(o.Why, "x@reports.example.net: there is no record") || o.Domain == "bank.example" && o.Passed != 4 {
			t.Errorf("%+v", o)
		}
	}
}

// TestFailuresOfOthers tests that the failures that a host saw are reported if mail passed on another host only.
func TestFailuresOfOthers(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 2)
	s.receive(t, 0, fromBank, "")
	s.receive(t, 1, forged, "dmarc-reject")
	s.nextDay(t)
	s.maintain(t, 0, 0)
	got := s.server.take()
	if len(got) != 1 || len(reportOf(t, got[0].text).Records) != 2 {
		t.Errorf("%+v", got)
	}
}

// TestDispositions tests what a report says was done, and why that is not what the policy asks for.
func TestDispositions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		m       message
		refused string
		want    string
	}{
		{"a pass", fromBank, "", "pass []"},
		{"forged, refused", forged, "dmarc-reject", "reject []"},
		{"forged, accepted", forged, "", "none [local_policy]"},
		{"refused for another reason", message{client: "192.0.2.67", from: "x@evil.example", header: "From: a@bank.example\n"}, "auth-none", "none [local_policy]"},
		{"from a list", message{client: "192.0.2.50", from: "l@list.example", header: "From: a@bank.example\n" + listFields}, "", "none [mailing_list]"},
		{"tested by the domain", message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@test.example\n"}, "", "none [local_policy]"},
		{"tested by the domain, refused", message{client: "192.0.2.66", from: "x@evil.example", header: "From: a@test.example\n"}, "dmarc-quarantine", "reject []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newReporting(t, 1)
			for _, domain := range []string{"bank.example", "test.example"} {
				s.receive(t, 0, message{client: "192.0.2.1", from: "a@" + domain, header: "From: a@" + domain + "\n"}, "")
			}
			s.receive(t, 0, c.m, c.refused)
			s.nextDay(t)
			s.maintain(t, 0, 0)
			var got []string
			for _, m := range s.server.take() {
				for _, r := range reportOf(t, m.text).Records {
					got = append(got, fmt.Sprintf("%s %v", r.Disposition, r.Overrides))
				}
			}
			if !slices.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestNotCounted tests messages that no report counts: those that come again, that were not judged, and those about reports.
func TestNotCounted(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, message{client: "192.0.2.1", from: "a@bank.example", header: "From: a@bank.example\nSubject: Report domain: example.org Submitter: bank.example\n"}, "")
	r := fromBank.request(t, s.env)
	if _, err := s.hosts[0].Check(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	observer := s.hosts[0].(checks.Observer)
	r.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("<postmaster@example.org>")}}
	observer.Observe(t.Context(), r, checks.Event{Kind: checks.Accepted}) // an answer to a report
	r.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("u@example.org")}}
	observer.Observe(t.Context(), r, checks.Event{Kind: checks.Refused, Stage: checks.EndOfMessage, Reply: checks.Reply{Code: 451}})
	observer.Observe(t.Context(), r, checks.Event{Kind: checks.Disconnected})
	observer.Observe(t.Context(), fromBank.request(t, s.env), checks.Event{Kind: checks.Accepted}) // the check did not run
	s.nextDay(t)
	s.maintain(t, 0, 0)
	if got := s.server.take(); len(got) > 0 {
		t.Errorf("sent %+v", got)
	}
}

// TestRetries tests what becomes of a report that cannot be sent at once. A failure does not affect other domains.
func TestRetries(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	s.receive(t, 0, fromShop, "")
	s.nextDay(t)
	sent := func(after time.Duration, want ...string) {
		t.Helper()
		s.maintain(t, 0, after)
		var got []string
		for _, m := range s.server.take() {
			got = append(got, m.to...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("at %s: sent to %q, want %q", s.now, got, want)
		}
	}
	state := func(domain string) report.Outgoing {
		t.Helper()
		out, err := dmarc.ReporterOf(s.hosts[0]).Outgoing(t.Context(), s.now.Add(-24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(out, func(o report.Outgoing) bool { return o.Domain == domain })
		return out[i]
	}
	condition := func() string { return s.hosts[0].(checks.Maintainer).Report()[0].State }
	s.server.set(true, nil)
	sent(0)
	if condition() != "failing" || state("bank.example").Attempts != 0 {
		t.Errorf("with the mail server down: %s, %+v", condition(), state("bank.example"))
	}
	s.server.set(false, map[string]string{"EHLO": "550 5.7.1 no", "HELO": "550 5.7.1 no"})
	sent(16 * time.Minute)
	const refused = "checks.dmarc.reports.submit does not take the reports: 550 \"5.7.1 no\""
	if c := s.hosts[0].(checks.Maintainer).Report()[0]; c.Why != refused {
		t.Errorf("with a refused EHLO: %q", c.Why)
	}
	s.server.set(false, map[string]string{"RCPT TO:<dmarc@bank": "450 4.2.1 later"})
	sent(time.Minute) // not yet
	sent(15*time.Minute, "a@shop.example")
	if o := state("bank.example"); condition() != "on" || o.Attempts != 1 || o.Over || !strings.Contains(o.Why, "later") {
		t.Errorf("%s, %+v", condition(), o)
	}
	sent(16 * time.Minute) // the second attempt
	s.server.set(false, map[string]string{"DATA": "554 5.7.1 no"})
	sent(61 * time.Minute)
	if o := state("bank.example"); o.Attempts != 3 || !o.Over || !o.Failed || !strings.Contains(o.Why, "5.7.1") {
		t.Errorf("%+v", o)
	}
	s.server.set(false, nil)
	sent(5 * time.Hour)
}

// TestNoAnswer tests a domain whose name servers do not answer, and one that does not want reports any more.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	s.receive(t, 0, fromShop, "")
	s.maintain(t, 0, 0)
	env := s.env
	env.DNS = checktest.NewZone(t, "!SERVFAIL _dmarc.bank.example TXT\n_dmarc.shop.example TXT \"v=DMARC1; p=none\"\n")
	s.hosts[0] = checktest.Build(t, dmarc.Info, env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })
	s.maintain(t, 0, 0)
	s.nextDay(t)
	for range 200 {
		s.maintain(t, 0, 6*time.Minute)
	}
	out, err := dmarc.ReporterOf(s.hosts[0]).Outgoing(t.Context(), s.now.Add(-24*time.Hour))
	if err != nil || len(out) != 2 || len(s.server.take()) > 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, o := range out {
		bank := o.Domain == "bank.example"
		if !o.Over || o.Failed != bank || bank && o.Attempts != 4 || !bank && o.Why != "its record names no mail address in rua=" {
			t.Errorf("%+v", o)
		}
	}
}

// TestStoreDown tests that counts are kept while the store is down, and written once.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	s.store.Fail(errors.New("down"))
	s.maintain(t, 0, 0)
	s.receive(t, 0, fromBank, "")
	s.store.Fail(nil)
	s.nextDay(t)
	s.maintain(t, 0, 0)
	if got := s.server.take(); len(got) != 1 || reportOf(t, got[0].text).Records[0].Count != 2 {
		t.Errorf("%+v", got)
	}
}

// TestReload tests that a new configuration keeps the counts.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	old := s.hosts[0]
	s.hosts[0] = checktest.Build(t, dmarc.Info, s.env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })
	s.hosts[0].(checks.Reloader).Reload(old)
	s.nextDay(t)
	s.maintain(t, 0, 0)
	if got := s.server.take(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	off := checktest.Build[dmarc.Settings](t, dmarc.Info, s.env, nil)
	off.(checks.Reloader).Reload(old)
	if dmarc.ReporterOf(off) != nil || off.(checks.Maintainer).Report() != nil {
		t.Error("reports are on by default")
	}
}

// TestSimulation tests that mail of a simulation with the state of the daemon is not in its reports, whatever the time of the simulation.
func TestSimulation(t *testing.T) {
	t.Parallel()
	s := newReporting(t, 1)
	s.receive(t, 0, fromBank, "")
	daemon, now := s.hosts[0], s.now
	env := s.env
	env.Store = checktest.NewStore(nil)
	s.hosts[0] = checktest.Build(t, dmarc.Info, env, func(c *dmarc.Settings) { c.Reports.From = "postmaster@example.org" })
	s.hosts[0].(checks.Reloader).Reload(daemon)
	s.receive(t, 0, fromBank, "")
	s.now = now.AddDate(1, 0, 0)
	s.receive(t, 0, fromBank, "")
	s.hosts[0], s.now = daemon, now
	s.receive(t, 0, fromBank, "")
	s.nextDay(t)
	s.maintain(t, 0, 0)
	if got := s.server.take(); len(got) != 1 || reportOf(t, got[0].text).Records[0].Count != 2 {
		t.Errorf("%+v", got)
	}
}

// TestReportSettings tests the faults of the configuration.
func TestReportSettings(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]report.Settings{
		"":                       {From: "postmaster@example.org", Submit: "[::1]:587"},
		"reports: from: \"post":  {From: "postmaster", Submit: "127.0.0.1:25"},
		"reports: from: \"a b@e": {From: "a b@example.org", Submit: "127.0.0.1:25"},
		"reports: from: \"<a@e":  {From: "<a@example.org>", Submit: "127.0.0.1:25"},
		"reports: from: \"local": {From: "root@localhost", Submit: "127.0.0.1:25"},
		"reports: from: \"co.uk": {From: "root@co.uk", Submit: "127.0.0.1:25"},
		"reports: submit: \"127": {From: "a@example.org", Submit: "127.0.0.1"},
		"reports: org: no":       {Org: "Example"},
		"reports: org: \"a\\nb":  {From: "a@example.org", Org: "a\nb", Submit: "127.0.0.1:25"},
	} {
		if err := (dmarc.Settings{Reports: r}).Validate(); (err != nil) != (want != "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
}
