package session

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/headers"
)

// message is a Player that keeps the message.
type message struct {
	stub
	fields []headers.Field
	body   string
}

func (m *message) Message(fields []headers.Field, body string) ([]string, error) {
	m.fields, m.body = fields, body
	return nil, nil
}

// text returns the message as a client sends it.
func (m *message) text() string {
	var text strings.Builder
	for _, f := range m.fields {
		text.WriteString(f.Name + ":" + strings.ReplaceAll(f.Value, "\n", "\r\n") + "\r\n")
	}
	return text.String() + "\r\n" + m.body
}

// rsaKey returns the RSA key of all tests. With the race detector, a new one takes seconds.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// testKey returns a private key as PEM.
func testKey(t testing.TB, algorithm string) string {
	t.Helper()
	var key crypto.Signer
	var err error
	if algorithm == "rsa" {
		key, err = rsaKey()
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// played returns the message of a session file with two keys, and the zone.
func played(t testing.TB, key string, lines ...string) (*message, *checktest.Zone) {
	t.Helper()
	text := "-- zone --\nexample.net. A 192.0.2.1\n-- key sel._domainkey.Example.NET --\n" + key + "-- key other._domainkey.example.org --\n" + key +
		"-- smtp --\ntime 2026-11-21T12:00:00Z\nclient 192.0.2.9\nC: MAIL FROM:<>\nC: RCPT TO:<x@example.org>\nC: DATA\n"
	for _, line := range lines {
		text += "C: " + line + "\n"
	}
	s, err := Parse("x", []byte(text+"C: .\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := &message{}
	if _, err := Play(s, m, nil); err != nil {
		t.Fatal(err)
	}
	return m, checktest.NewZone(t, s.Zone)
}

// verify returns the results of the library, in the order of the signatures.
func verify(t testing.TB, m *message, zone *checktest.Zone) []*dkim.Verification {
	t.Helper()
	vs, err := dkim.VerifyWithOptions(strings.NewReader(m.text()), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		a, err := zone.Lookup(t.Context(), checks.Ask(name, dns.TypeTXT))
		var texts []string
		for _, rr := range a.Records {
			texts = append(texts, strings.Join(rr.(*dns.TXT).Txt, ""))
		}
		return texts, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"rsa", "ed25519"} {
		for _, c := range []string{"", "c=simple/simple", "c=relaxed", "c=simple/relaxed", "c=relaxed/simple"} {
			for _, h := range []string{"", "h=from:subject:from:x-twice:X-Twice"} {
				t.Run(fmt.Sprint(algorithm, " ", c, " ", h), func(t *testing.T) {
					t.Parallel()
					m, zone := played(t, testKey(t, algorithm),
						"X-Twice:  one", "@dkim d=example.net s=sel "+c+" "+h, "From: A \u00a0 <a@example.net>", "X-Twice: two", "Subject: hello",
						"  \t folded\t", "@dkim d=example.org s=other i=@sub.example.org t=1000 "+c, "", "text \t of two", " lines. ", "", "")
					vs := verify(t, m, zone)
					if len(vs) != 2 || vs[0].Domain != "example.net" || vs[1].Domain != "example.org" || vs[1].Identifier != "@sub.example.org" {
						t.Fatalf("got %+v", vs)
					}
					for i, at := range []time.Time{time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), time.Unix(1000, 0)} {
						if vs[i].Err != nil || !vs[i].Time.Equal(at) {
							t.Errorf("signature %d: %v, of %v", i, vs[i].Err, vs[i].Time)
						}
					}
				})
			}
		}
	}
}

// TestChangesAfterSigning tests the special lines that change a message after it was signed.
func TestChangesAfterSigning(t *testing.T) {
	t.Parallel()
	key := testKey(t, "ed25519")
	for _, c := range []struct {
		name  string
		lines []string
		text  string // of the message; empty: not compared
		fault string // of the signature; empty: it verifies
	}{
		{"none", []string{"@dkim d=example.net s=sel", "From: a", "", "text"}, "", ""},
		{"a footer", []string{"@dkim d=example.net s=sel", "From: a", "", "text", "@after --", "@after the list"}, "From: a\r\n\r\ntext\r\n--\r\nthe list\r\n", "body hash"},
		{"another subject", []string{"@dkim d=example.net s=sel", "From: a", "@before Subject: x", "@after Subject: [list] x", "", "text"},
			"From: a\r\nSubject: [list] x\r\n\r\ntext\r\n", "signature did not verify"},
		{"a field that is not signed", []string{"@dkim d=example.net s=sel h=from", "From: a", "@before Subject: x", "@after Subject: y", "", "text"}, "", ""},
		{"another hash of the body", []string{"@dkim d=example.net s=sel bh=AAAA", "From: a", "", "text"}, "", "body hash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, zone := played(t, key, c.lines...)
			vs := verify(t, m, zone)
			if len(vs) != 1 || (vs[0].Err != nil) != (c.fault != "") || vs[0].Err != nil && !strings.Contains(vs[0].Err.Error(), c.fault) {
				t.Errorf("got %+v, want the fault %q", vs, c.fault)
			}
			m.fields = m.fields[1:]
			if c.text != "" && m.text() != c.text {
				t.Errorf("got the message %q, want %q", m.text(), c.text)
			}
		})
	}
}

// TestKeyRecordOfTheZone tests that a record in the zone replaces that of the key.
func TestKeyRecordOfTheZone(t *testing.T) {
	t.Parallel()
	text := "-- zone --\nSEL._domainkey.example.net. TXT \"v=DKIM1; p=\"\n-- key sel._domainkey.example.net --\n" + testKey(t, "rsa") + "-- smtp --\n"
	s, err := Parse("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := checktest.NewZone(t, s.Zone).Lookup(t.Context(), checks.Ask("sel._domainkey.example.net", dns.TypeTXT))
	if err != nil || len(a.Records) != 1 || a.Records[0].(*dns.TXT).Txt[0] != "v=DKIM1; p=" {
		t.Errorf("got %v, %v", a.Records, err)
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	key := testKey(t, "ed25519")
	for _, c := range []struct{ name, text, want string }{
		{"not PEM", "-- key s._domainkey.d.example --\nx\n-- smtp --\n", `x:1: key "s._domainkey.d.example": not PEM`},
		{"not a key", "-- key s._domainkey.d.example --\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n-- smtp --\n", `x:1: key`},
		{"no key name", "t\n-- key d.example --\n" + key + "-- smtp --\n", `x:2: key "d.example": want the name SELECTOR._domainkey.DOMAIN`},
		{"twice", "-- key s._domainkey.d.example --\n" + key + "-- key S._domainkey.d.example --\n" + key + "-- smtp --\n", `x:5: key "s._domainkey.d.example": the file has it twice`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("x", []byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	for line, want := range map[string]string{
		"@dkim d=example.com s=sel": `no part "key sel._domainkey.example.com"`, "@dkim d": "want tag=value", "@dkim d=d.example s=s c=x/x": "canonicalization",
	} {
		text := "-- key s._domainkey.d.example --\n" + key + "-- smtp --\nclient local\nC: MAIL FROM:<>\nC: RCPT TO:<x@example.org>\nC: DATA\nC: " + line + "\nC: .\n"
		s, err := Parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Play(s, &stub{}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}

// TestKeyRecords tests which names of keys get a record: those for which the zone has no line.
func TestKeyRecords(t *testing.T) {
	t.Parallel()
	key := testKey(t, "ed25519")
	for zone, added := range map[string]bool{
		"": true, "SEL._domainkey.example.net. TXT \"v=DKIM1; p=\"": false, "sel._domainkey.example.net TXT \"v=DKIM1; p=\"": false,
		"!SERVFAIL sel._domainkey.example.net. TXT": false, "mysel._domainkey.example.net. TXT \"v=DKIM1; p=\"": true,
		"a.example.net. CNAME sel._domainkey.example.net.": true,
	} {
		s, err := Parse("x", []byte("-- zone --\n"+zone+"\n-- key sel._domainkey.example.net --\n"+key+"-- smtp --\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(s.Zone, "\nsel._domainkey.example.net. TXT \"v=DKIM1; k=ed25519;"); got != added {
			t.Errorf("%q: record added: %v, want %v", zone, got, added)
		}
	}
}
