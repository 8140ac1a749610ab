package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/dmarc"
	"milterd/checks/dmarc/report"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// TestReportsThroughPostfix takes mail that passes DMARC and forged mail through a real Postfix, moves the clock to the next day, and
// reads the report that comes back through Postfix.
func TestReportsThroughPostfix(t *testing.T) {
	t.Parallel()
	miltertest.Require(t)
	zone := daemontest.World + `
_dmarc.sender.test. TXT "v=DMARC1; p=reject; rua=mailto:postmaster@mx.test,mailto:dmarc@reports.test"
sender.test._report._dmarc.mx.test. TXT "v=DMARC1"
`
	site := miltertest.NewSite(t, zone)
	var submit string // address of Postfix
	d := startDaemonIn(t, []byte(`
hostname: mx.test
local_domains: [mx.test]
trusted: {networks: [], daemons: []}
log: {syslog: off}
checks:
  dmarc:
    reports: {from: postmaster@mx.test, org: Test}
`), zone, true, func(_ *testDaemon, env *checks.Env) {
		env.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, submit)
		}
	})
	mta := site.Postfix(t, "smtpd_milters = inet:"+d.address)
	submit = mta.Open
	smtp := miltertest.DialSMTP(t, mta.Addr, daemontest.GoodClient)
	smtp.Must("2", "EHLO "+daemontest.GoodHelo)
	for from, code := range map[string]string{"a@sender.test": "250", "x@soft.test": "550"} {
		smtp.Must("2", "MAIL FROM:<"+from+">")
		smtp.Must("2", "RCPT TO:<alice@mx.test>")
		if r := smtp.Data(daemontest.Message(daemontest.GoodHeader())); r.Code != code {
			t.Fatalf("mail of %s: %s", from, r)
		}
	}
	smtp.Close()
	d.pipeline.Maintain(t.Context(), d.now())
	p := dmarc.ReporterOf(d.pipeline.Check(dmarc.Info.Name))
	preview, ok, err := p.Preview(t.Context(), d.now(), d.now(), "sender.test")
	if err != nil || !ok || len(preview.Address) != 1 || !strings.Contains(preview.Refused, "dmarc@reports.test: there is no record") {
		t.Fatalf("%+v, %t, %v", preview, ok, err)
	}
	validate(t, preview.XML)
	due := time.Now().UTC().Truncate(24 * time.Hour).Add(24*time.Hour + 11*time.Minute)
	d.clock.Store(&due)
	d.pipeline.Maintain(t.Context(), due)

	report := mta.Delivered(t, "postmaster", "Report Domain: sender.test")
	file := filepath.Join(t.TempDir(), "report.eml")
	writeFile(t, file, report)
	out := printed(t, "dmarc-reports", file)
	for _, want := range []string{"1 report in 1 message and 1 file", "sender.test: 2 messages, 1 pass DMARC, 1 fail", "127.0.0.10  sender.test  1         fail  pass  accept        Test", "127.0.0.10  sender.test  1         fail  fail  reject        Test"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if list, err := p.Outgoing(t.Context(), due.Add(-day)); err != nil || len(list) != 1 || fmt.Sprint(list[0].To) != "[postmaster@mx.test]" {
		t.Errorf("%+v, %v", list, err)
	}
	d.stop()
	if !strings.Contains(d.log.String(), `msg="DMARC report sent"`) {
		t.Errorf("log: %s", d.log.String())
	}
}

// validate validates a report by the schema of RFC 9990.
func validate(t *testing.T, report string) {
	t.Helper()
	cmd := exec.Command("xmllint", "--noout", "--nonet", "--schema", "../../checks/facts/dmarc/aggregate/testdata/rfc9990.xsd", "-")
	cmd.Stdin = strings.NewReader(report)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s; xmllint is installed by .ci/install", err, out, report)
	}
}

// TestShowOutgoing tests the states of reports that are shown, and the line of the daily report.
func TestShowOutgoing(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 0, 10, 0, 0, time.UTC)
	for want, d := range map[string]report.Delivery{
		"waits": {},
		"sent " + formatTime(at) + " to a@example.net": {Attempts: 1, Sent: at, To: []string{"a@example.net"}, Over: true},
		"failed: 554 no":                     {Attempts: 1, Over: true, Failed: true, Why: "554 no"},
		"waits for attempt 3: no\x07answer":  {Attempts: 2, Why: "no\x07answer"},
		"nobody wants it: its record is off": {Attempts: 1, Over: true, Why: "its record is off"},
	} {
		if got := deliveryState(d); got != printableLine(want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	var out bytes.Buffer
	showOutgoing(&out, dmarcReport{Today: []report.Outgoing{
		{Domain: "a.example", Messages: 1, Passed: 1, Rows: 1}, {Domain: "b.example", Messages: 5, Passed: 2, Rows: 3},
	}})
	if !strings.Contains(out.String(), "b.example\t5\t2\t3\t3\twaits\na.example\t1\t1\t0\t1\twaits\n") || !strings.Contains(out.String(), "Yesterday: 0 domains\n") {
		t.Errorf("%s", &out)
	}
	out.Reset()
	showDaily(&out, dailyReport{DMARC: &deliveryCounts{Sent: 12, Failed: 1, Waiting: 2}})
	if !strings.Contains(out.String(), "DMARC reports sent:\t12, 1 failed, 2 wait\n") {
		t.Errorf("%s", &out)
	}
}

// TestReportOfDomain tests what names of a domain the command report dmarc takes.
func TestReportOfDomain(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	p, err := d.build(parseConfig(t, "checks: {dmarc: {reports: {from: postmaster@example.org}}}"))
	if err != nil {
		t.Fatal(err)
	}
	d.pipeline.Store(p)
	for domain, want := range map[string]string{
		"Example.Net": "no report about example.net:", "bücher.example": "no report about xn--bcher-kva.example:", "no domain": `"no domain" is not a domain`,
	} {
		if _, err := d.reportDMARC(t.Context(), dmarcArgs{Domain: domain}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", domain, err, want)
		}
	}
}
