package checktest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"milterd/headers"
)

// signingKey is the same in every test.
var signingKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// Sign returns the fields with a DKIM signature of a domain in front, RFC 6376. It covers From and the body, which ends with one
// CRLF. The zone text of DKIMKey has the key. Further tags may be given, such as "t=1".
func Sign(t testing.TB, fields []headers.Field, body, domain string, tags ...string) []headers.Field {
	t.Helper()
	hash := sha256.Sum256([]byte(body))
	tags = append([]string{" v=1", "a=ed25519-sha256", "d=" + domain, "s=test", "h=from", "bh=" + base64.StdEncoding.EncodeToString(hash[:])}, tags...)
	value := strings.Join(append(tags, "b="), "; ")
	var text strings.Builder
	for _, f := range fields {
		if f.Is("From") {
			text.WriteString(f.Name + ":" + f.Value + "\r\n")
		}
	}
	text.WriteString("DKIM-Signature:" + value)
	hash = sha256.Sum256([]byte(text.String()))
	signature, err := signingKey.Sign(nil, hash[:], crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	signed := headers.Field{Name: "DKIM-Signature", Value: value + base64.StdEncoding.EncodeToString(signature)}
	return append([]headers.Field{signed}, fields...)
}

// DKIMKey returns zone text with the key record for the signatures of a domain.
func DKIMKey(domain string) string {
	return fmt.Sprintf("test._domainkey.%s TXT \"v=DKIM1; k=ed25519; p=%s\"\n", domain, base64.StdEncoding.EncodeToString(signingKey.Public().(ed25519.PublicKey)))
}
