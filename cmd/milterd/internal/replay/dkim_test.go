package replay

import (
	"slices"
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/cmd/milterd/internal/session"
)

// signedLetter returns a letter with a signature of a domain.
func signedLetter(t testing.TB, l letter, domain string) string {
	t.Helper()
	fields, body := session.Split(l.String())
	var text strings.Builder
	const trace = 2 // fields that the border host wrote: Return-Path and Received
	for _, f := range slices.Concat(fields[:trace], checktest.Sign(t, fields[trace:], body, domain)) {
		text.WriteString(f.Name + ":" + f.Value + "\n")
	}
	return text.String() + "\n" + strings.ReplaceAll(body, "\r\n", "\n")
}

// TestDKIM tests that old signatures are judged as if their messages arrived now, by the checks of the daemon.
func TestDKIM(t *testing.T) {
	t.Parallel()
	const spfFails = `
example.net. MX 10 mx.example.net.
example.net. TXT "v=spf1 ip4:198.51.100.1 -all"
mail.example.com. A 192.0.2.9
mx.example.net. A 9.9.9.9
9.2.0.192.in-addr.arpa. PTR mail.example.com.
`
	good, unsigned := signedLetter(t, letter{}, "example.net"), letter{}.String()
	for _, c := range []struct {
		name, text, zone string
		reason           string // that refuses; empty if none does
		why              string // why spf did not judge the message; empty if it did
	}{
		{"a signature takes back the failure of SPF", good, checktest.DKIMKey("example.net."), "", ""},
		{"a changed body", strings.Replace(good, "Hello", "Hallo", 1), checktest.DKIMKey("example.net."), "spf-fail", ""},
		{"no signature", unsigned, "", "spf-fail", ""},
		{"the key is gone", good, "", "", errKeyGone.Error()},
		{"the key is revoked", good, "test._domainkey.example.net. TXT \"v=DKIM1; p=\"\n", "", errKeyGone.Error()},
		{"the key is revoked, with a tab", good, "test._domainkey.example.net. TXT \"v=DKIM1; p=\\009\"\n", "", errKeyGone.Error()},
		{"the key of another domain is gone", signedLetter(t, letter{}, "other.example"), "", "spf-fail", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := replayed(t, Options{
				Paths: []string{file(t, "a.eml", c.text)}, Config: configOf(t, "a.yaml", "profile: watch\nactions: {spf-fail: reject}\non_error: tempfail\n"),
				DNS: dnsOf(t, spfFails+c.zone),
			})
			j := jsonOf(t, r)
			if _, ok := j.Reasons["spf-fail"]; ok != (c.reason != "") || (j.Refused == 1) != (c.reason != "") {
				t.Errorf("got %s, want %q", j.line(), c.reason)
			}
			if gaps := j.NotJudged["spf"]; c.why != "" && gaps[c.why] != 1 || c.why == "" && len(gaps) > 0 {
				t.Errorf("spf did not judge: %v, want %q", gaps, c.why)
			}
		})
	}
}
