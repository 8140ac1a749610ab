package milter

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"milterd/checks"
)

func TestOwnResults(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		" mx.example.org; spf=pass":                         true,
		"mx.example.org;spf=pass":                           true,
		" MX.Example.ORG 1; spf=pass":                       true,
		"\r\n\tmx.example.org;\r\n\tspf=pass":               true,
		` "mx.example.org"; spf=pass`:                       true,
		` "mx\.example.org"; spf=pass`:                      true,
		" (a) (b (c) \\) d) mx.example.org; spf=pass":       true,
		" mx.example.org(comment); spf=pass":                true,
		" mx.example.org. ; none":                           true,
		" mx.example.org":                                   true,
		" mx.example.org.evil.example; spf=pass":            false,
		" other.example; spf=pass smtp.helo=mx.example.org": false,
		" (mx.example.org) other.example; none":             false,
		" (mx.example.org; spf=pass":                        false,
		"":                                                  false,
	} {
		if got := ownResults(value, "mx.example.org"); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

func TestAuthenticationResults(t *testing.T) {
	t.Parallel()
	results := []checks.Authentication{
		{Method: "iprev", Result: "pass", Properties: map[string]string{"policy.iprev": "2001:db8::1"}},
		{Method: "spf", Result: "fail", Properties: map[string]string{"smtp.mailfrom": "evil.example\r\nX: y; dkim=pass"}},
	}
	text := authenticationResults("mx.example.org", results)
	if strings.Contains(strings.ReplaceAll(text, ";\n\t", ""), "\n") || strings.Contains(text, "\r") {
		t.Errorf("a property breaks the line: %q", text)
	}
	id, parsed, err := authres.Parse(strings.ReplaceAll(text, "\n", ""))
	if err != nil || id != "mx.example.org" || len(parsed) != 2 {
		t.Fatalf("%q: %q, %v, %v", text, id, parsed, err)
	}
	if r, ok := parsed[0].(*authres.IPRevResult); !ok || r.Value != authres.ResultPass {
		t.Errorf("got %+v", parsed[0])
	}
	if r, ok := parsed[1].(*authres.SPFResult); !ok || r.Value != authres.ResultFail {
		t.Errorf("got %+v", parsed[1])
	}
	if got := authenticationResults("mx.example.org", nil); got != "mx.example.org; none" {
		t.Errorf("nothing known: %q", got)
	}
}

func TestReceivedSPF(t *testing.T) {
	t.Parallel()
	s := &checks.Session{Client: netip.MustParseAddr("192.0.2.9"), Helo: `a"b`}
	s.Envelope.MailFrom = checks.ParseAddress("<u@example.net>")
	got := receivedSPF(s, "mx.example.org", []checks.Authentication{{Method: "spf", Result: "pass", Properties: map[string]string{"smtp.mailfrom": "example.net"}}})
	want := "pass\n\treceiver=mx.example.org; identity=mailfrom;\n\tclient-ip=192.0.2.9;\n\tenvelope-from=\"u@example.net\";\n\thelo=\"a\\\"b\""
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := receivedSPF(s, "mx.example.org", nil); got != "" {
		t.Errorf("without a result: %q", got)
	}
}

// FuzzOwnResults shows that our authserv-id is found after any comment and before any text.
func FuzzOwnResults(f *testing.F) {
	f.Add("comment", "; spf=pass")
	f.Add("a(b)c", " 1;")
	f.Add("\\", "")
	f.Fuzz(func(t *testing.T, comment, rest string) {
		ownResults(comment+rest, "mx.example.org")
		comment = strings.NewReplacer("(", "", ")", "", "\\", "").Replace(comment)
		if !ownResults(" ("+comment+") mx.example.org;"+rest, "mx.example.org") {
			t.Errorf("not found after comment %q", comment)
		}
	})
}

func BenchmarkAuthenticationResults(b *testing.B) {
	results := []checks.Authentication{
		{Method: "iprev", Result: "pass", Properties: map[string]string{"policy.iprev": "192.0.2.9"}},
		{Method: "spf", Result: "pass", Properties: map[string]string{"smtp.mailfrom": "example.net"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		authenticationResults("mx.example.org", results)
	}
}
