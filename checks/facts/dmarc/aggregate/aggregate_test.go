package aggregate_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"milterd/checks/facts/dmarc/aggregate"
)

var begin = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// report is a report with each kind of value.
func report() *aggregate.Report {
	return &aggregate.Report{
		Organization: "Example & <Sons>", Email: "postmaster@example.org", ID: "20261128.example.com@example.org",
		Begin: begin, End: begin.Add(24*time.Hour - time.Second), Generator: "milterd 1.0",
		Policy: aggregate.Policy{
			Domain: "example.com", P: "reject", SP: "quarantine", NP: "none", ADKIM: "r", ASPF: "s", Testing: "n", Discovery: "treewalk",
		},
		Records: []aggregate.Record{
			{
				Source: netip.MustParseAddr("192.0.2.1"), Count: 12, Disposition: "pass", DKIM: "pass", SPF: "fail",
				HeaderFrom: "news.example.com", EnvelopeFrom: "bounces.example.net",
				Signatures: []aggregate.Signature{
					{Domain: "example.com", Selector: "s1", Result: "pass"}, {Domain: "example.net", Selector: "s2", Result: "permerror"},
				},
				Sender: aggregate.SPFResult{Domain: "bounces.example.net", Result: "softfail"},
			},
			{
				Source: netip.MustParseAddr("2001:db8::1"), Count: 1, Disposition: "none", DKIM: "fail", SPF: "fail",
				Overrides: []string{"mailing_list", "policy_test_mode"}, HeaderFrom: "example.com",
			},
		},
	}
}

// TestSchema validates what Write makes, and a report in the form of the RFC, by the schema of the RFC.
func TestSchema(t *testing.T) {
	t.Parallel()
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		if os.Getenv("MILTERD_TEST_REAL") != "" {
			t.Fatal("no xmllint: run .ci/install")
		}
		t.Skip("no xmllint")
	}
	validate := func(document []byte) error {
		cmd := exec.Command(xmllint, "--noout", "--nonet", "--schema", "testdata/rfc9990.xsd", "-")
		cmd.Stdin = bytes.NewReader(document)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	document, err := report().Write()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(document); err != nil {
		t.Errorf("%v\n%s", err, document)
	}
	sample, err := os.ReadFile("testdata/forms/rfc9990.xml")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(sample); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"<disposition>pass", "<org_name>", "dmarc-2.0"} { // the test can fail
		if validate(bytes.Replace(document, []byte(name), []byte("<x>"), 1)) == nil {
			t.Errorf("valid without %s", name)
		}
	}
}

// TestRoundTrip tests that Parse reads what Write makes.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	document, err := report().Write()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"plain": document, "gzip": gzipped(t, document), "gzip twice": gzipped(t, gzipped(t, document)),
		"zip": zipped(t, "readme.txt", []byte("no report"), "report.XML", document), "zip of one file": zipped(t, "report", document),
		"gzip in zip": zipped(t, "report.xml.gz", gzipped(t, document)), "byte order mark": append([]byte("\ufeff\r\n"), document...),
		"another declaration": bytes.Replace(document, []byte("UTF-8"), []byte("windows-1252"), 1),
	} {
		got, err := aggregate.Parse(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, report()) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipped returns an archive of files, each with its name before it.
func zipped(t testing.TB, files ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i].(string))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[i+1].([]byte)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestForms reads reports in the forms of several makers: each has two records, of which one passes.
func TestForms(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/forms/*.xml")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := aggregate.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if r.Organization == "" || r.ID == "" || r.Policy.Domain != "example.com" || r.Policy.P == "" || r.End.Sub(r.Begin).Round(time.Minute) != 24*time.Hour {
			t.Errorf("%s: %+v", file, r)
		}
		if len(r.Records) != 2 || r.Skipped != 0 {
			t.Errorf("%s: %d records, %d skipped", file, len(r.Records), r.Skipped)
			continue
		}
		good, bad := r.Records[0], r.Records[1]
		if !good.Passes() || good.HeaderFrom != "example.com" || good.Count < 2 || bad.Passes() || bad.Count != 1 || bad.Sender.Result == "" {
			t.Errorf("%s: %+v\n%+v", file, good, bad)
		}
	}
}

// TestRefused tests documents that are no reports, and hostile ones.
func TestRefused(t *testing.T) {
	t.Parallel()
	document, err := report().Write()
	if err != nil {
		t.Fatal(err)
	}
	in := func(text string) []byte { return []byte("<feedback>" + text + "</feedback>") }
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":              {nil, "no DMARC aggregate report"},
		"another document":   {[]byte("<html><body>"), "no DMARC aggregate report"},
		"text":               {[]byte("From: a"), "no DMARC aggregate report"},
		"a comment":          {[]byte("<!-- feedback -->"), "no DMARC aggregate report"},
		"JSON in gzip":       {gzipped(t, []byte(`{"organization-name":"x"}`)), "no DMARC aggregate report"},
		"cut":                {document[:len(document)/2], "unexpected EOF"},
		"no period":          {in("<policy_published><domain>example.com</domain></policy_published>"), "without a domain or a period"},
		"no domain":          {in("<report_metadata><date_range><begin>1</begin><end>2</end></date_range></report_metadata>"), "without a domain or a period"},
		"entities":           {[]byte(`<!DOCTYPE f [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><feedback><version>&b;</version></feedback>`), "invalid character entity"},
		"an external entity": {[]byte(`<!DOCTYPE f [<!ENTITY a SYSTEM "file:///etc/passwd">]><feedback><version>&a;</version></feedback>`), "invalid character entity"},
		"a bomb in gzip":     {gzipped(t, make([]byte, 17<<20)), "over 16 MiB"},
		"a bomb in ZIP":      {zipped(t, "a.xml", make([]byte, 17<<20)), "over 16 MiB"},
		"three layers":       {gzipped(t, gzipped(t, gzipped(t, document))), "no DMARC aggregate report"},
		"records":            {in(strings.Repeat("<record/>", 100_001)), "over 100000 records"},
		"depth":              {in(strings.Repeat("<a>", 100)), "nested too deep"},
		"depth in a record":  {in("<record>" + strings.Repeat("<row>", 100)), "nested too deep"},
		"attributes":         {[]byte("<feedback " + strings.Repeat(`a="" `, 200_001) + "/>"), "attributes"},
		"a broken archive":   {[]byte("PK\x03\x04 and no more"), "zip"},
		"a broken stream":    {[]byte("\x1f\x8b and no more"), "gzip"},
	} {
		if _, err := aggregate.Parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestSkipped tests that records without an address or a count are counted, and that long lists and texts are cut.
func TestSkipped(t *testing.T) {
	t.Parallel()
	row := func(ip, count string) string {
		return "<record><row><source_ip>" + ip + "</source_ip><count>" + count + "</count><policy_evaluated><spf>PASS</spf></policy_evaluated></row>" +
			"<auth_results>" + strings.Repeat("<dkim><domain>a</domain></dkim>", 50) + "</auth_results></record>"
	}
	r, err := aggregate.Parse([]byte("<feedback><report_metadata><org_name>" + strings.Repeat("\u00e4\n", 1000) +
		"</org_name><date_range><begin>1</begin><end>2</end></date_range></report_metadata><policy_published><domain>Example.COM.</domain></policy_published>" +
		row(" 192.0.2.1\n", " 3 ") + row("", "1") + row("192.0.2.1", "-1") + row("192.0.2.1", "99999999999999") + row("x", "1") + row("::ffff:192.0.2.2", "1") + "</feedback>"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Records) != 2 || r.Skipped != 4 || r.Policy.Domain != "example.com" || len(r.Organization) > 255 {
		t.Fatalf("%+v", r)
	}
	if rec := r.Records[0]; rec.Count != 3 || rec.SPF != "pass" || rec.DKIM != "fail" || len(rec.Signatures) != 10 || r.Records[1].Source.String() != "192.0.2.2" {
		t.Errorf("%+v", r.Records)
	}
}

// TestMemory tests that a hostile document takes a bounded amount of memory.
func TestMemory(t *testing.T) {
	for name, text := range map[string]string{
		"signatures": "<record><auth_results>" + strings.Repeat("<dkim/>", 100_000),
		"attributes": "<a " + strings.Repeat(`a="" `, 199_000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := aggregate.Parse([]byte("<feedback>" + text))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		const most = 100 << 20 // bytes, also of what was freed at once
		if taken := after.TotalAlloc - before.TotalAlloc; taken > most {
			t.Errorf("%s: %d MiB were allocated", name, taken>>20)
		}
	}
}

// FuzzParse tests that a report that was read is plausible, and that it is read again when it is written.
func FuzzParse(f *testing.F) {
	document, err := report().Write()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add(gzipped(f, document))
	f.Add(zipped(f, "a.xml", document))
	files, _ := filepath.Glob("testdata/forms/*.xml")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := aggregate.Parse(data)
		if err != nil {
			return
		}
		for _, text := range []string{r.Organization, r.ID, r.Email, r.Policy.Domain} {
			if len(text) > 255 || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("text %q", text)
			}
		}
		for _, rec := range r.Records {
			if !rec.Source.IsValid() || rec.Count < 1 || rec.DKIM != "pass" && rec.DKIM != "fail" || rec.SPF != "pass" && rec.SPF != "fail" {
				t.Errorf("record %+v", rec)
			}
		}
		written, err := r.Write()
		if err != nil {
			t.Fatal(err)
		}
		again, err := aggregate.Parse(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if len(again.Records) != len(r.Records) || again.Policy != r.Policy || !again.Begin.Equal(r.Begin) || again.ID != r.ID {
			t.Errorf("got %+v, then %+v", r, again)
		}
	})
}
