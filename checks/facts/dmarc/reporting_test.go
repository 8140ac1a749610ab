package dmarc_test

import (
	"fmt"
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/checks/facts/dmarc"
)

// TestReporting tests who gets the reports about example.com.
func TestReporting(t *testing.T) {
	t.Parallel()
	record := func(rua string) string { return records("example.com p=reject; rua=" + rua) }
	const agrees = "example.com._report._dmarc.reports.example.net TXT \"v=DMARC1;\"\n"
	for _, c := range []struct {
		name, zone, want string
		refused          string // part of Refused
	}{
		{name: "own domain", zone: record("mailto:a@example.com"), want: "a@example.com"},
		{name: "a domain below, and one above", zone: record("mailto:a@x.example.com , mailto:B%21x@EXAMPLE.com."), want: "a@x.example.com B!x@example.com"},
		{name: "limits", zone: record("mailto:a@example.com!10m,mailto:b@example.com!500,mailto:c@example.com!2K"), want: "a@example.com/10485760 b@example.com/500 c@example.com/2048"},
		{name: "others", zone: record("https://example.com/dmarc,ftp:x,mailto:,mailto:a,mailto:a@b,mailto:a@example.com!x,mailto:a@example.com!99999999999g"), want: ""},
		{name: "injection", zone: record("mailto:a%0d%0aRCPT@example.com,mailto:a%20b@example.com,mailto:%3Ca@example.com,mailto:a@ex%0aample.com,mailto:..@example.com"), want: ""},
		{name: "with a query", zone: record("mailto:a@example.com?subject=x"), want: "a@example.com"},
		{name: "twice", zone: record("mailto:a@example.com,mailto:a@example.com"), want: "a@example.com"},
		{name: "many", zone: record(strings.TrimSuffix(strings.Repeat("x,", 20), ",") + ",mailto:a@example.com,mailto:b@example.com,mailto:c@example.com,mailto:d@example.com,mailto:e@example.com,mailto:f@example.com"),
			want: "a@example.com b@example.com c@example.com d@example.com e@example.com"},
		{name: "no rua", zone: records("example.com p=reject")},
		{name: "no record"},
		{name: "two records", zone: record("mailto:a@example.com") + record("mailto:b@example.com")},

		{name: "external, agrees", zone: record("mailto:x@reports.example.net") + agrees, want: "x@reports.example.net"},
		{name: "external, agrees for all", zone: record("mailto:x@reports.example.net") + "*._report._dmarc.reports.example.net TXT \"v=DMARC1\"\n", want: "x@reports.example.net"},
		{name: "external, no record", zone: record("mailto:x@reports.example.net,mailto:a@example.com"), want: "a@example.com", refused: "x@reports.example.net: there is no record v=DMARC1 at example.com._report._dmarc.reports.example.net"},
		{name: "external, another record", zone: record("mailto:x@reports.example.net") + strings.Replace(agrees, "v=DMARC1;", "x v=DMARC1", 1), refused: "no record"},
		{name: "external, one of two", zone: record("mailto:x@reports.example.net") + strings.Replace(agrees, "v=DMARC1;", "v=spf1", 1) + agrees, want: "x@reports.example.net"},
		{name: "external, of another domain", zone: record("mailto:x@reports.example.net") + strings.Replace(agrees, "example.com", "example.org", 1), refused: "no record"},
		{name: "external, overridden", zone: record("mailto:x@reports.example.net") + strings.Replace(agrees, ";", "; rua=mailto:y@reports.example.net!1m", 1), want: "y@reports.example.net/1048576"},
		{name: "external, overridden by another host", zone: record("mailto:x@reports.example.net") + strings.Replace(agrees, ";", "; rua=mailto:y@victim.example", 1), refused: "another host"},
		{name: "external, overridden by nothing", zone: record("mailto:x@reports.example.net") + strings.Replace(agrees, ";", "; rua=", 1), refused: "names no mail address"},
		{name: "under a public suffix", zone: records("example.co.uk p=reject") + record("mailto:x@other.com"), refused: "no record"},
		{name: "a name that is too long", zone: record("mailto:x@" + strings.Repeat("a.", 115) + "example.net"), refused: "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := dmarc.NewTree(checktest.NewZone(t, c.zone)).Reporting(t.Context(), "example.com")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range r.Destinations {
				text := d.Address
				if d.MaxBytes > 0 {
					text += fmt.Sprintf("/%d", d.MaxBytes)
				}
				got = append(got, text)
			}
			if strings.Join(got, " ") != c.want || (len(r.Refused) > 0) != (c.refused != "") || !strings.Contains(strings.Join(r.Refused, "\n"), c.refused) {
				t.Errorf("got %q, refused %q", got, r.Refused)
			}
		})
	}
}

// TestReportingWithoutDNS tests that a missing answer is an error, and that it does not hide other addresses.
func TestReportingWithoutDNS(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{
		"!SERVFAIL _dmarc.example.com TXT\n", records("example.com p=none; rua=mailto:a@example.net") + "!SERVFAIL example.com._report._dmarc.example.net TXT\n",
	} {
		if r, err := dmarc.NewTree(checktest.NewZone(t, zone)).Reporting(t.Context(), "example.com"); err == nil && len(r.Unanswered) != 1 || len(r.Destinations) > 0 || len(r.Refused) > 0 {
			t.Errorf("%q: %+v", zone, r)
		}
	}
	zone := records("example.com p=none; rua=mailto:a@example.net,mailto:b@example.com") + "!SERVFAIL example.com._report._dmarc.example.net TXT\n"
	r, err := dmarc.NewTree(checktest.NewZone(t, zone)).Reporting(t.Context(), "example.com")
	if err != nil || len(r.Unanswered) != 1 || len(r.Destinations) != 1 || r.Destinations[0].Address != "b@example.com" {
		t.Errorf("%+v, %v", r, err)
	}
}

// FuzzReporting tests that an address is safe in a command of SMTP and in a header field, whatever the records say, and that a host
// of another organisation gets nothing without its consent.
func FuzzReporting(f *testing.F) {
	f.Add("mailto:a@example.com!10m,mailto:b%2C@example.net", "v=DMARC1; rua=mailto:c@example.net")
	f.Add("mailto:a@example.net", "v=DMARC1")
	f.Add("mailto:a@example.net", "V=DMARC1")
	f.Fuzz(func(t *testing.T, rua, consent string) {
		quote := func(text string) string {
			var b strings.Builder
			for i := range len(text) {
				fmt.Fprintf(&b, "\\%03d", text[i])
			}
			return b.String()
		}
		if len(rua)+len(consent) > 400 {
			return
		}
		zone, err := checktest.ParseZone("_dmarc.example.com TXT \"v=DMARC1; p=none; rua=" + quote(rua) + "\"\n" +
			"*._report._dmarc.example.net TXT \"" + quote(consent) + "\"\n")
		if err != nil {
			return
		}
		r, err := dmarc.NewTree(zone).Reporting(t.Context(), "example.com")
		if err != nil {
			return
		}
		for _, d := range r.Destinations {
			local, host, _ := strings.Cut(d.Address, "@")
			if strings.ContainsAny(d.Address, " \t\r\n<>()\",;:\\\x00") || local == "" || d.MaxBytes < 0 || len(r.Destinations) > 5 {
				t.Errorf("%+v", r.Destinations)
			}
			switch {
			case host == "example.com" || strings.HasSuffix(host, ".example.com"):
			case host == "example.net" && strings.HasPrefix(strings.ToLower(consent), "v"):
			default:
				t.Errorf("reports go to %s", d.Address)
			}
		}
	})
}
