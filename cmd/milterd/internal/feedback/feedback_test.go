package feedback_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts/dmarc/aggregate"
	"milterd/cmd/milterd/internal/feedback"
)

var day = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// document returns a report of a reporter about example.org, with a row that passes and one that fails.
func document(t testing.TB, reporter string) []byte {
	t.Helper()
	r := aggregate.Report{
		Organization: reporter, Email: "dmarc@" + reporter, ID: "1-" + reporter, Begin: day, End: day.Add(24*time.Hour - time.Second),
		Policy: aggregate.Policy{Domain: "example.org", P: "reject"},
		Records: []aggregate.Record{
			{Source: netip.MustParseAddr("192.0.2.1"), Count: 5, Disposition: "pass", DKIM: "pass", SPF: "fail", HeaderFrom: "example.org"},
			{Source: netip.MustParseAddr("203.0.113.9"), Count: 2, Disposition: "reject", DKIM: "fail", SPF: "fail", HeaderFrom: "news.example.org"},
		},
	}
	text, err := r.Write()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data) // to memory
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("report.xml")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(data) // to memory
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// folded returns base64 in lines.
func folded(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	return b.String() + text + "\n"
}

// messages are messages with a report each, in the forms of several senders.
func messages(t testing.TB) map[string]string {
	t.Helper()
	head := func(reporter, subject string) string {
		return "From: dmarc@" + reporter + "\nTo: dmarc@example.org\nSubject: " + subject + "\nMIME-Version: 1.0\n"
	}
	part := func(kind, name string, data []byte) string {
		return "Content-Type: " + kind + "; name=\"" + name + "\"\nContent-Disposition: attachment; filename=\"" + name + "\"\nContent-Transfer-Encoding: base64\n\n" + folded(data)
	}
	return map[string]string{
		"google.example": head("google.example", "Report domain: example.org Submitter: google.example Report-ID: 1") +
			part("application/zip", "google.example!example.org!1!2.zip", zipped(t, document(t, "google.example"))),
		"yahoo.example": head("yahoo.example", "Report Domain: example.org Submitter: yahoo.example Report-ID: <1>") +
			"Content-Type: multipart/mixed; boundary=\"=-x\"\n\nThis is a multi-part message.\n--=-x\nContent-Type: text/plain\n\nThis is a report.\n\n--=-x\n" +
			part("application/gzip", "yahoo.example!example.org!1!2.xml.gz", gzipped(t, document(t, "yahoo.example"))) + "--=-x--\n",
		"outlook.example": head("outlook.example", "=?utf-8?B?UmVwb3J0?=") +
			"Content-Type: multipart/mixed;\n boundary=\"_mpm_1\"\n\n--_mpm_1\nContent-Type: multipart/related;\n boundary=\"_rv_2\"\n\n--_rv_2\nContent-Type: text/html; charset=us-ascii\n\n<div>Report<br></div>\n" +
			"--_rv_2--\n--_mpm_1\n" + part("application/gzip", "x.xml.gz", gzipped(t, document(t, "outlook.example"))) + "--_mpm_1--\n",
		"rspamd.example": head("rspamd.example", "Report Domain: example.org\n\tSubmitter: rspamd.example\n\tReport-ID: <1@rspamd.example>") +
			"Content-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/plain; charset=\"us-ascii\"\nContent-Transfer-Encoding: 7bit\n\nhello\n--b\n" +
			part("application/octet-stream", "x.gz", gzipped(t, document(t, "rspamd.example"))) + "\n--b--\n",
		"plain.example": head("plain.example", "Report Domain: example.org Submitter: plain.example Report-ID: <1>") +
			"Content-Type: text/xml\n\n" + string(document(t, "plain.example")),
		"unclosed.example": head("unclosed.example", "Report Domain: example.org") + "Content-Type: multipart/mixed; boundary=u\n\n--u\n" +
			part("application/gzip", "x.gz", gzipped(t, document(t, "unclosed.example"))),
		"forwarded.example": head("user.example", "Fwd: a report") + "Content-Type: multipart/mixed; boundary=f\n\n--f\nContent-Type: message/rfc822\n\n" +
			head("forwarded.example", "x") + part("application/x-gzip", "x.gz", gzipped(t, document(t, "forwarded.example"))) + "--f--\n",
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRead reads the same reports from an mbox, from a Maildir and from files.
func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var mbox strings.Builder
	mbox.WriteString("From a@example.net Sat Nov 28 12:00:00 2026\nFrom: a@example.net\nSubject: lunch\n\n<html>no report</html>\n\n")
	n := 0
	for reporter, m := range messages(t) {
		n++
		mbox.WriteString("From MAILER-DAEMON Sat Nov 28 12:00:00 2026\n" + m + "\n")
		write(t, fmt.Sprintf("%s/maildir/cur/%d:2,S", dir, n), m)
		write(t, dir+"/files/"+reporter+".xml.gz", string(gzipped(t, document(t, reporter))))
		write(t, dir+"/zips/"+reporter+".zip", string(zipped(t, document(t, reporter))))
		write(t, dir+"/plain/"+reporter+".xml", string(document(t, reporter)))
	}
	write(t, dir+"/maildir/new/1", "Subject: nothing\n\n")
	write(t, dir+"/mbox", mbox.String())
	write(t, dir+"/mbox.gz", string(gzipped(t, []byte(mbox.String()))))
	for _, name := range []string{"mbox", "mbox.gz", "maildir", "files", "zips", "plain"} {
		r, err := feedback.Read(t.Context(), []string{filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Reports) != n || r.Unread != 0 || r.Duplicates != 0 {
			t.Errorf("%s: %d reports of %d, faults %q", name, len(r.Reports), n, r.Faults)
		}
	}
	r, err := feedback.Read(t.Context(), []string{dir})
	if err != nil || len(r.Reports) != n || r.Duplicates != 5*n {
		t.Fatalf("%d reports, %d duplicates, %v", len(r.Reports), r.Duplicates, err)
	}
	var rows []feedback.Row
	for _, report := range r.Reports {
		rows = append(rows, feedback.Rows(report)...)
	}
	if feedback.Table(nil) == nil {
		t.Error("the table of no rows is nil, so that JSON has null")
	}
	table := feedback.Table(append(rows, rows...))
	if len(table) != 2*n || table[0].Passes() || table[0].Count != 4 || table[0].From != "news.example.org" || !table[n].Passes() || table[n].Count != 10 {
		t.Errorf("%+v", table)
	}
}

// TestFaults tests that what may be a report and cannot be read is named, and that other mail is not.
func TestFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/mbox", "From a Sat Nov 28 12:00:00 2026\nSubject: Report Domain: example.org\nContent-Type: application/gzip\n\n\x1f\x8bbroken\n\n"+
		"From a Sat Nov 28 12:00:00 2026\nSubject: an archive\nContent-Type: application/gzip\n\n\x1f\x8bbroken\n\n"+
		"From a Sat Nov 28 12:00:00 2026\nSubject: Report Domain: example.org\nContent-Type: multipart/mixed\n\nno boundary\n")
	write(t, dir+"/nested.eml", "Subject: Report Domain: example.org\n"+strings.Repeat("Content-Type: message/rfc822\n\n", 9)+"Content-Type: text/xml\n\n"+string(document(t, "a.example")))
	write(t, dir+"/long.eml", "Subject: Report Domain: example.org\n\n"+strings.Repeat("x", 24<<20)+"\n")
	write(t, dir+"/bad.xml", "<feedback><record>")
	write(t, dir+"/page.xml", "<html/>")
	r, err := feedback.Read(t.Context(), []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(r.Faults, "\n")
	for _, want := range []string{"mbox, message 1: ", "mbox, message 3: a multipart without a boundary", "bad.xml: XML syntax error", "nested.eml: parts that are nested too deep", "long.eml: a message over 24 MiB"} {
		if !strings.Contains(got, want) {
			t.Errorf("no fault %q in %q", want, got)
		}
	}
	if r.Unread != 5 {
		t.Errorf("%d faults: %q", r.Unread, got)
	}
	if _, err := feedback.Read(t.Context(), []string{dir + "/page.xml"}); err != nil {
		t.Error(err)
	}
	if r, _ = feedback.Read(t.Context(), []string{dir + "/page.xml", dir + "/none"}); r.Unread != 2 {
		t.Errorf("%q", r.Faults)
	}
}

// TestReadLimits tests that the limits apply within one mailbox and within one message, before all of it is in memory.
func TestReadLimits(t *testing.T) {
	t.Parallel()
	var mbox strings.Builder
	for i := range 100 {
		fmt.Fprintf(&mbox, "From a Sat Nov 28 12:00:00 2026\nContent-Type: text/xml\n\n%s\n", document(t, fmt.Sprintf("r%d.example", i)))
	}
	path := t.TempDir() + "/mbox"
	write(t, path, mbox.String())
	if r, err := feedback.ReadWithin(t.Context(), []string{path}, 10); err == nil || len(r.Reports) != 6 {
		t.Errorf("%d reports, %v", len(r.Reports), err)
	}
	part := "--b\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n" + folded(gzipped(t, document(t, "a.example")))
	head, body := "Subject: Report Domain: example.org\nContent-Type: multipart/mixed; boundary=b\n", []byte(strings.Repeat(part, 6)+"--b--\n")
	if reports, err := feedback.InMessage(head, body, 12); err != nil || len(reports) != 6 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
	reports, err := feedback.InMessage(head, body, 11)
	if err == nil || len(reports) > 0 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
}

// TestKeep tests that only reports about the site are kept, each once, and for five weeks.
func TestKeep(t *testing.T) {
	t.Parallel()
	ctx, now := context.Background(), day.Add(36*time.Hour)
	store := checktest.NewStore(func() time.Time { return day })
	site := checks.Site{LocalDomains: []string{"example.org"}}
	var summaries []feedback.Summary
	for _, reporter := range []string{"a.example", "b.example"} {
		r, err := aggregate.Parse(document(t, reporter))
		if err != nil {
			t.Fatal(err)
		}
		summaries = append(summaries, feedback.Summarize(r))
	}
	other := summaries[0]
	other.Domain = "example.net"
	old := summaries[0]
	old.End = now.Add(-36 * 24 * time.Hour)
	future := summaries[0]
	future.End = now.Add(72 * time.Hour)
	for range 2 {
		kept, err := feedback.Keep(ctx, store, site, append(summaries, other, old, future), now)
		if err != nil || kept != 2 {
			t.Fatalf("kept %d, %v", kept, err)
		}
	}
	rows, err := feedback.Kept(ctx, store)
	if err != nil || len(rows) != 4 || rows[0].Count != 2 {
		t.Errorf("%+v, %v", rows, err)
	}
}

// TestKeepLong tests that a report with long texts and many rows is kept in part.
func TestKeepLong(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(func() time.Time { return day })
	r := &aggregate.Report{Organization: strings.Repeat("o", 255), Begin: day, End: day.Add(time.Hour), Policy: aggregate.Policy{Domain: "example.org"}}
	for i := range 1000 {
		r.Records = append(r.Records, aggregate.Record{
			Source: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Count: 1, Disposition: strings.Repeat("d", 255), HeaderFrom: strings.Repeat("h", 255),
		})
	}
	s := feedback.Summarize(r)
	if len(s.Rows) != 150 || s.Omitted != 850 {
		t.Errorf("%d rows, %d omitted", len(s.Rows), s.Omitted)
	}
	kept, err := feedback.Keep(context.Background(), store, checks.Site{LocalDomains: []string{"example.org"}}, []feedback.Summary{s}, day.Add(25*time.Hour))
	if err != nil || kept != 1 {
		t.Fatalf("kept %d, %v", kept, err)
	}
	if rows, err := feedback.Kept(context.Background(), store); err != nil || len(rows) != 37 && len(rows) != 75 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestKeepHuge tests that a summary whose texts alone are longer than a record of the store is an error.
func TestKeepHuge(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(func() time.Time { return day })
	s := feedback.Summary{Domain: "example.org", Reporter: strings.Repeat("r", 64<<10), End: day}
	kept, err := feedback.Keep(t.Context(), store, checks.Site{LocalDomains: []string{"example.org"}}, []feedback.Summary{s}, day)
	if err == nil || kept != 0 {
		t.Errorf("kept %d, %v", kept, err)
	}
}

// FuzzMessage tests that a report that is found in a message is found again in a message of another form.
func FuzzMessage(f *testing.F) {
	for _, m := range messages(f) {
		head, body, _ := strings.Cut(m, "\n\n")
		f.Add(head, []byte(body))
	}
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		reports, err := feedback.InMessage(head, body, 1<<20)
		if err != nil && len(reports) > 0 {
			t.Errorf("%d reports and the error %v", len(reports), err)
		}
		for _, r := range reports {
			text, err := r.Write()
			if err != nil {
				t.Fatal(err)
			}
			again, err := feedback.InMessage("Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n", []byte(folded(gzipped(t, text))), 1<<20)
			if err != nil || len(again) != 1 || again[0].ID != r.ID || len(again[0].Records) != len(r.Records) {
				t.Errorf("%+v is read as %+v, %v", r, again, err)
			}
		}
	})
}
