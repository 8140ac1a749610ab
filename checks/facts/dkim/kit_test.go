package dkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/checks/checktest"
	"milterd/headers"
)

// mail is a message as a milter receives it: folds are LF.
type mail struct {
	fields []headers.Field
	body   string
}

// parseMail parses a message whose lines end with LF or CRLF. The body gets CRLF.
func parseMail(text string) mail {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	head, body, _ := strings.Cut(text, "\n\n")
	var m mail
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\n"), "\n") {
		if last := len(m.fields) - 1; last >= 0 && strings.Trim(line[:min(1, len(line))], " \t") == "" {
			m.fields[last].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		m.fields = append(m.fields, headers.Field{Name: name, Value: value})
	}
	m.body = strings.ReplaceAll(body, "\n", "\r\n")
	return m
}

// String returns the message with CRLF.
func (m mail) String() string {
	var b strings.Builder
	for _, f := range m.fields {
		b.WriteString(f.Name + ":" + strings.ReplaceAll(f.Value, "\n", "\r\n") + "\r\n")
	}
	return b.String() + "\r\n" + m.body
}

// with returns the message with fields in front.
func (m mail) with(fields ...headers.Field) mail {
	m.fields = append(fields, m.fields...)
	return m
}

// verify verifies all signatures at checktest.Now, with the keys in zone text.
func (m mail) verify(t testing.TB, zone string) []Result {
	t.Helper()
	return m.verifyAt(t, zone, checktest.Now)
}

// later is after all signatures of go-msgauth, which uses the clock.
var later = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func (m mail) verifyAt(t testing.TB, zone string, now time.Time) []Result {
	t.Helper()
	v := New(m.fields, []string{"example.net"}, 5)
	v.Write([]byte(m.body))
	return v.Results(context.Background(), checktest.NewZone(t, zone), now)
}

// sign returns the message with a signature in front. The tags are those without bh and b; h, c and a are read from them. The
// canonicalisations are not those of the package.
func (m mail) sign(t testing.TB, key crypto.Signer, tags string) mail {
	t.Helper()
	hash := sha256.Sum256([]byte(referenceBody(m.body, strings.Contains(tags, "/relaxed"))))
	return m.signHash(t, key, tags+"; bh="+base64.StdEncoding.EncodeToString(hash[:]))
}

// signHash is sign with a bh among the tags.
func (m mail) signHash(t testing.TB, key crypto.Signer, tags string) mail {
	t.Helper()
	relaxed := strings.Contains(tags, "c=relaxed")
	list := regexp.MustCompile(`\bh=([^;]*)`).FindStringSubmatch(tags)
	if list == nil {
		t.Fatalf("no h= in %q", tags)
	}
	var text strings.Builder
	used := map[int]bool{}
	for name := range strings.SplitSeq(list[1], ":") {
		for i := len(m.fields) - 1; i >= 0; i-- {
			if m.fields[i].Is(strings.TrimSpace(name)) && !used[i] {
				used[i] = true
				text.WriteString(referenceField(m.fields[i], relaxed) + "\r\n")
				break
			}
		}
	}
	own := headers.Field{Name: "DKIM-Signature", Value: " " + tags + "; b="}
	text.WriteString(referenceField(own, relaxed))
	hash := sha256.Sum256([]byte(text.String()))
	var options crypto.SignerOpts = crypto.SHA256
	if _, ok := key.(ed25519.PrivateKey); ok {
		options = crypto.Hash(0)
	}
	b, err := key.Sign(rand.Reader, hash[:], options)
	if err != nil {
		t.Fatal(err)
	}
	own.Value += base64.StdEncoding.EncodeToString(b)
	return m.with(own)
}

// signMsgauth returns the message with a signature of go-msgauth in front.
func (m mail) signMsgauth(t testing.TB, options *dkim.SignOptions) mail {
	t.Helper()
	var signed bytes.Buffer
	if err := dkim.Sign(&signed, strings.NewReader(m.String()), options); err != nil {
		t.Fatal(err)
	}
	field, ok := strings.CutSuffix(signed.String(), m.String())
	if !ok {
		t.Fatal("go-msgauth changed the message")
	}
	return m.with(parseMail(field).fields...)
}

// reduce returns s with a space for each run of spaces and tabs.
func reduce(s string) string {
	var b strings.Builder
	last := byte(0)
	for i := range len(s) {
		c := s[i]
		if c == '\t' {
			c = ' '
		}
		if c != ' ' || last != ' ' {
			b.WriteByte(c)
		}
		last = c
	}
	return b.String()
}

// referenceField returns a canonical field without its line end, literally after sections 3.4.1 and 3.4.2.
func referenceField(f headers.Field, relaxed bool) string {
	value := strings.ReplaceAll(strings.ReplaceAll(f.Value, "\r\n", "\n"), "\n", "\r\n")
	if !relaxed {
		return f.Name + ":" + value
	}
	value = reduce(strings.ReplaceAll(value, "\r\n", ""))
	return strings.ToLower(strings.TrimRight(f.Name, " \t")) + ":" + strings.Trim(value, " ")
}

// referenceBody returns a canonical body, literally after sections 3.4.3 and 3.4.4.
func referenceBody(body string, relaxed bool) string {
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n")
	if relaxed {
		lines := strings.Split(body, "\r\n")
		for i, line := range lines {
			if !strings.ContainsAny(line, " \t") {
				continue
			}
			lines[i] = strings.TrimSuffix(reduce(line), " ")
		}
		body = strings.Join(lines, "\r\n")
	}
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if relaxed && body == "" {
		return ""
	}
	return body + "\r\n"
}

// Keys of the tests.
var (
	edKey   = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	rsa1024 = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
	rsa2048 = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
)

func newRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

// public returns p= of a key.
func public(key crypto.Signer) string {
	if k, ok := key.(ed25519.PrivateKey); ok {
		return base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey))
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// record returns zone text with a TXT record at a name, in strings of 200 bytes.
func record(name, text string) string {
	line := name + " TXT"
	for len(text) > 200 {
		line += fmt.Sprintf(" %q", text[:200])
		text = text[200:]
	}
	return line + fmt.Sprintf(" %q\n", text)
}

// edZone has the key of edKey for the selector ed of example.net.
var edZone = record("ed._domainkey.example.net", "v=DKIM1; k=ed25519; p="+public(edKey))

// pkcs1 returns p= of a key as RSAPublicKey.
func pkcs1(key *rsa.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey))
}

// modulus returns p= of an RSA key with some bits that nobody has the private key of.
func modulus(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	k := &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(k))
}

// evenModulus returns p= of an RSA key that is none.
func evenModulus() string {
	k := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(k))
}
