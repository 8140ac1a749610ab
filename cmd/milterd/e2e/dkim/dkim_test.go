// Package dkim compares DKIM and DMARC with other programs: what OpenDKIM and python3-dkim sign passes, the results of python3-dkim
// are the same, and those of OpenDMARC are, where the RFCs that each follows agree.
package dkim

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/facts/dkim"
	"milterd/headers"
	"milterd/milter/miltertest"
)

//go:embed testdata/peer.py
var peer string

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// keyPEM returns the private key.
func keyPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(signingKey())}))
}

// keyRecord returns the text of the key record.
func keyRecord(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

// zone returns a DNS with the key record of the selector rsa of example.net.
func zone(t *testing.T) *checktest.Zone {
	t.Helper()
	text := keyRecord(t)
	return checktest.NewZone(t, fmt.Sprintf("rsa._domainkey.example.net. TXT %q %q", text[:200], text[200:]))
}

// split returns the header section of a message as a milter receives it, and the body.
func split(message string) (fields []headers.Field, body string) {
	head, body, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\n"), "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1].Value += "\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, headers.Field{Name: name, Value: value})
	}
	return fields, strings.ReplaceAll(body, "\n", "\r\n")
}

// verify returns the result of the first signature.
func verify(t *testing.T, dns *checktest.Zone, message string) dkim.Result {
	t.Helper()
	fields, body := split(message)
	v := dkim.New(fields, nil, 5)
	_, _ = v.Write([]byte(body))
	results := v.Results(context.Background(), dns, time.Now())
	if len(results) == 0 {
		t.Fatalf("no signature: %q", message)
	}
	return results[0]
}

type toSign struct {
	Message []byte `json:"message"`
	Header  string `json:"header"`
	Body    string `json:"body"`
}

type task struct {
	Key    string   `json:"key"`
	Record string   `json:"record"`
	Sign   []toSign `json:"sign"`
	Verify [][]byte `json:"verify"`
}

type answer struct {
	Signed   [][]byte `json:"signed"`
	Verified []bool   `json:"verified"`
}

// python has python3-dkim do a task, in one process.
func python(t *testing.T, work task) (a answer) {
	t.Helper()
	work.Key, work.Record = keyPEM(), keyRecord(t)
	input, err := json.Marshal(work)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", peer)
	cmd.Stdin = bytes.NewReader(input)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3-dkim: %v: %s; run .ci/install", err, errors.String())
	}
	if err := json.Unmarshal(output, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// generated returns a message with folded fields, white space, blank lines and 8-bit text in any places.
func generated(r *mathrand.Rand) string {
	pieces := []string{" ", "\t", "  \t", "word", "Gr\xfc\xdfe", "\xc3\xbc", "a=b; c", ".", "\r\n", "\r\n\r\n", "\r\n\r\n\r\n", " \r\n", strings.Repeat("x", 300)}
	text := func(n int, among []string) string {
		var b strings.Builder
		for range r.IntN(n) {
			b.WriteString(among[r.IntN(len(among))])
		}
		return b.String()
	}
	inline := append(pieces[:8:8], "\r\n ", "\r\n\t")
	return "Received: from a\r\n\tby b\r\nFrom: Ann" + text(6, inline) + "<ann@example.net>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nSubject:" + text(8, inline) + "x\r\nX-Empty:\r\nTo:  user@example.org \r\n" +
		"\r\n" + text(40, pieces) + "\r\n" // as SMTP has it; without, python3-dkim keeps white space at the end of the last line
}

var forms = []string{"simple", "relaxed"}

// TestPythonSignatures tests that messages that python3-dkim signed pass, in all pairs of canonicalisations.
func TestPythonSignatures(t *testing.T) {
	miltertest.Require(t)
	r := mathrand.New(mathrand.NewPCG(1, 2))
	var work task
	for i := range 200 {
		work.Sign = append(work.Sign, toSign{Message: []byte(generated(r)), Header: forms[i%2], Body: forms[i/2%2]})
	}
	work.Sign = append(work.Sign,
		toSign{Message: []byte("From: ann@example.net\r\n\r\n"), Header: "simple", Body: "simple"},
		toSign{Message: []byte("From: ann@example.net\r\n\r\n"), Header: "relaxed", Body: "relaxed"})
	dns := zone(t)
	for i, message := range python(t, work).Signed {
		if res := verify(t, dns, string(message)); res.Status != dkim.Pass {
			t.Errorf("%s/%s: %s %s: %q", work.Sign[i].Header, work.Sign[i].Body, res.Status, res.Why, message)
		}
	}
}

// TestPythonAgrees compares the results for 1,000 messages, most of which were changed after signing.
func TestPythonAgrees(t *testing.T) {
	miltertest.Require(t)
	r := mathrand.New(mathrand.NewPCG(3, 4))
	var work task
	for i := range 1000 {
		work.Sign = append(work.Sign, toSign{Message: []byte(generated(r)), Header: forms[i%2], Body: forms[i/2%2]})
	}
	var second task
	for _, message := range python(t, work).Signed {
		second.Verify = append(second.Verify, []byte(changed(r, string(message))))
	}
	dns := zone(t)
	passed := 0
	for i, want := range python(t, second).Verified {
		res := verify(t, dns, string(second.Verify[i]))
		if (res.Status == dkim.Pass) != want {
			t.Errorf("%s/%s: %s %s, python3-dkim says %t: %q", work.Sign[i].Header, work.Sign[i].Body, res.Status, res.Why, want, second.Verify[i])
		}
		if want {
			passed++
		}
	}
	t.Logf("%d of %d pass", passed, len(second.Verify))
	if passed < 200 || passed > 900 {
		t.Error("the messages are too much alike")
	}
}

// changed returns a message with a change in its body or in a field, which may leave the canonical form as it is.
func changed(r *mathrand.Rand, message string) string {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	signature, rest, _ := strings.Cut(head, "\r\nReceived:")
	rest = "\r\nReceived:" + rest
	switch r.IntN(8) {
	case 0:
		body += "\r\n\r\n"
	case 1:
		body = strings.Replace(body, " ", "\t", 1)
	case 2:
		body = strings.Replace(body, "\r\n", " \r\n", 1)
	case 3:
		rest = strings.Replace(rest, "\r\nFrom: ", "\r\nFROM:   ", 1)
	case 4:
		rest = strings.Replace(rest, "word", "Word", 1)
	case 5:
		body = strings.Replace(body, "word", "wurd", 1)
	case 6:
		signature = strings.Replace(signature, "; ", ";\r\n ", 1)
	}
	return signature + rest + "\r\n\r\n" + body
}
