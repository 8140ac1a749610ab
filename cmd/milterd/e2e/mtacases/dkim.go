package mtacases

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/cmd/milterd/e2e/daemontest"
)

// signingKey is the key of sender.test and fail.test.
var signingKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// keyZone has the records of signingKey.
var keyZone = keyRecord("sender.test") + keyRecord("fail.test")

func keyRecord(domain string) string {
	key := base64.StdEncoding.EncodeToString(signingKey.Public().(ed25519.PublicKey))
	return "sel._domainkey." + domain + `. TXT "v=DKIM1; k=ed25519; p=` + key + "\"\n"
}

// signed returns a message with the header section of another one, a body and a signature of a domain. The simple
// canonicalization notices any change of line ends and white space.
func signed(t *testing.T, message, body, domain string, form dkim.Canonicalization) string {
	t.Helper()
	header, _, _ := strings.Cut(strings.ReplaceAll(message, "\n", "\r\n"), "\r\n\r\n")
	var out strings.Builder
	err := dkim.Sign(&out, strings.NewReader(header+"\r\n\r\n"+body), &dkim.SignOptions{
		Domain: domain, Selector: "sel", Signer: signingKey, HeaderKeys: []string{"From", "Subject", "Date", "To", "Message-ID"},
		HeaderCanonicalization: form, BodyCanonicalization: form,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// testDKIM tests that a signed message is accepted although it fails SPF, and that it is refused if one byte was changed.
func testDKIM(t *testing.T, m *daemontest.MailServer) {
	const sender, body = "a@fail.test", "Hello,\r\n\r\n.a line that begins with a dot\r\n\r\nBye\r\n"
	send := func(form dkim.Canonicalization, change func(msg string) string) (subject string, reply string) {
		subject, text := daemontest.UniqueMessage(daemontest.Field{"From", "Ann <" + sender + ">"})
		c := m.ConnectGood(t)
		daemontest.Envelope(c, sender, "alice@mx.test")
		r := c.Data(change(signed(t, text, body, "fail.test", form)))
		c.Must("2", "QUIT")
		return subject, r.String()
	}
	for _, form := range []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed} {
		mark := m.Daemon.Mark()
		subject, reply := send(form, func(msg string) string { return msg })
		if !strings.HasPrefix(reply, "250") {
			t.Fatalf("a message signed with c=%s: %s", form, reply)
		}
		values, _ := fieldsOf(m.Delivered(t, "alice", subject), "Authentication-Results")
		if len(values) != 1 || !strings.HasPrefix(values[0], "mx.test; spf=fail smtp.mailfrom=fail.test; ") ||
			!strings.Contains(values[0], "; dkim=pass header.d=fail.test header.s=sel header.a=ed25519-sha256 header.b=") {
			t.Errorf("c=%s: results %q", form, values)
		}
		m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": sender})
	}

	for name, change := range map[string]func(string) string{
		"body":     func(msg string) string { return strings.Replace(msg, "Bye", "bye", 1) },
		"From":     func(msg string) string { return strings.Replace(msg, "Ann <", "Ann  <", 1) },
		"new From": func(msg string) string { return "From: Eve <eve@fail.test>\r\n" + msg },
	} {
		if _, reply := send(dkim.CanonicalizationSimple, change); name != "new From" && !strings.HasPrefix(reply, "550 5.7.23") || !strings.HasPrefix(reply, "550") {
			t.Errorf("%s was changed: %s", name, reply)
		}
	}
}
