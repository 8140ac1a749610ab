package dkim

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/checks/checktest"
)

var canonicalisations = []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed}

// bodies are bodies with what a canonicalisation may get wrong.
var bodies = map[string]string{
	"empty":                "",
	"one line end":         "\r\n",
	"only line ends":       "\r\n\r\n\r\n",
	"only white space":     " \t",
	"lines of white space": " \r\n\t\r\n",
	"no line end":          "Hi",
	"trailing blank lines": "Hi.\r\n\r\n\r\n",
	"trailing white lines": "Hi.\r\n \r\n\t\r\n",
	"leading blank lines":  "\r\n\r\nHi.\r\n",
	"white space":          " a  b \t c\t\r\nd \r\n\te",
	"blank lines inside":   "a\r\n\r\n \r\n\r\nb\r\n",
	"8-bit":                "Gr\xfc\xdfe \xc3\xbc\r\n\x00\x01\x0b\x7f\r\n",
	"a dot":                ".\r\n..\r\n",
	"a long line":          strings.Repeat("x", 5000) + " " + strings.Repeat("y", 5000),
}

// signed returns a message of a body, signed by go-msgauth.
func signed(t *testing.T, body string, key crypto.Signer, header, bodyForm dkim.Canonicalization) mail {
	t.Helper()
	m := parseMail("From:  Ann\t <ann@example.net>\nTo: a@example.org,\n\tb@example.org \nSubject: caf\xe9\n  folded\n   twice \nX-Empty:\nReceived: one\nReceived:two\n\n")
	m.body = body
	return m.signMsgauth(t, &dkim.SignOptions{
		Domain: "example.net", Selector: "ed", Signer: key, HeaderCanonicalization: header, BodyCanonicalization: bodyForm,
	})
}

// eachForm calls a test for the four pairs of canonicalisations.
func eachForm(t *testing.T, test func(t *testing.T, header, body dkim.Canonicalization)) {
	t.Helper()
	for _, header := range canonicalisations {
		for _, body := range canonicalisations {
			t.Run(fmt.Sprintf("%s/%s", header, body), func(t *testing.T) { test(t, header, body) })
		}
	}
}

// TestCanonicalisations tests that signatures of go-msgauth pass, in whatever parts and with whatever line ends the body arrives.
func TestCanonicalisations(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, header, bodyForm dkim.Canonicalization) {
		for name, body := range bodies {
			m := signed(t, body, edKey, header, bodyForm)
			for _, size := range []int{1, 2, 7, 1 << 20} {
				for _, text := range []string{body, strings.ReplaceAll(body, "\r\n", "\n")} {
					if r := inParts(t, m, text, size); r.Status != Pass {
						t.Errorf("%s, parts of %d: %s %s", name, size, r.Status, r.Why)
					}
				}
			}
		}
	})
}

// inParts verifies a message whose body arrives in parts of a size.
func inParts(t *testing.T, m mail, body string, size int) Result {
	t.Helper()
	v := New(m.fields, nil, 5)
	if !v.WantsBody() {
		t.Fatal("the body is not wanted")
	}
	for len(body) > 0 {
		n := min(size, len(body))
		v.Write([]byte(body[:n]))
		body = body[n:]
	}
	return v.Results(context.Background(), checktest.NewZone(t, edZone), later)[0]
}

// TestRSACanonicalisations tests the other algorithm.
func TestRSACanonicalisations(t *testing.T) {
	t.Parallel()
	zone := record("ed._domainkey.example.net", "p="+public(rsa2048()))
	eachForm(t, func(t *testing.T, header, bodyForm dkim.Canonicalization) {
		for name, body := range bodies {
			if r := signed(t, body, rsa2048(), header, bodyForm).verifyAt(t, zone, later)[0]; r.Status != Pass {
				t.Errorf("%s: %s %s", name, r.Status, r.Why)
			}
		}
	})
}

// TestBigBody tests a body of 1 MB, or of 10 MB with MILTERD_TEST_REAL=1, which blank lines fill or end.
func TestBigBody(t *testing.T) {
	t.Parallel()
	size := 1 << 20
	if os.Getenv("MILTERD_TEST_REAL") == "1" {
		size = 10 << 20
	}
	line := "The quick  brown fox jumps over the lazy dog. \r\n"
	for name, body := range map[string]string{
		"text":        strings.Repeat(line, size/len(line)),
		"white space": "a" + strings.Repeat(" ", size) + "b",
		"blank lines": line + strings.Repeat("\r\n", size/2) + line + strings.Repeat("\r\n", size/10),
	} {
		for _, form := range []string{"simple", "relaxed"} {
			m := plain
			m.body = body
			m = m.sign(t, edKey, replaced(edTags, "relaxed/relaxed>relaxed/"+form))
			if r := inParts(t, m, body, 64<<10); r.Status != Pass {
				t.Errorf("%s, %s: %s %s", name, form, r.Status, r.Why)
			}
		}
	}
}

// TestEveryByte changes each byte of a signed message in turn. The result is Pass if and only if the canonical form is the
// same.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, header, bodyForm dkim.Canonicalization) {
		m := signed(t, "Hi \tAnn,\r\n\r\nGr\xfc\xdfe  \r\n\r\n", edKey, header, bodyForm)
		for i := range m.body {
			for _, c := range []byte{m.body[i] ^ 1, ' ', '\t', '\n', 'x'} {
				changed := m
				changed.body = m.body[:i] + string(c) + m.body[i+1:]
				relaxed := bodyForm == dkim.CanonicalizationRelaxed
				same := referenceBody(changed.body, relaxed) == referenceBody(m.body, relaxed)
				if r := changed.verifyAt(t, edZone, later)[0]; (r.Status == Pass) != same || r.BodyChanged == same {
					t.Errorf("body byte %d as %q: %s", i, c, r.Status)
				}
			}
		}
		for f := range m.fields[1:] {
			value := m.fields[f+1].Value
			for i := range value {
				changed := m
				changed.fields = append(changed.fields[:0:0], m.fields...)
				changed.fields[f+1].Value = value[:i] + string(value[i]^1) + value[i+1:]
				relaxed := header == dkim.CanonicalizationRelaxed
				same := referenceField(changed.fields[f+1], relaxed) == referenceField(m.fields[f+1], relaxed)
				if r := changed.verifyAt(t, edZone, later)[0]; (r.Status == Pass) != same {
					t.Errorf("%s byte %d: %s", m.fields[f+1].Name, i, r.Status)
				}
			}
		}
	})
}

// TestSignatureBytes changes each byte of the signature field. None but white space may be changed.
func TestSignatureBytes(t *testing.T) {
	t.Parallel()
	m := signed(t, "Hi.\r\n", edKey, dkim.CanonicalizationRelaxed, dkim.CanonicalizationRelaxed)
	value := m.fields[0].Value
	for i := range value {
		changed := m
		changed.fields = append(changed.fields[:0:0], m.fields...)
		changed.fields[0].Value = value[:i] + string(value[i]^1) + value[i+1:]
		if r := changed.verifyAt(t, edZone, later)[0]; r.Status == Pass {
			t.Errorf("byte %d: %q passes as %q", i, value, changed.fields[0].Value)
		}
	}
}

// FuzzBody compares the streaming canonicalisation with the literal one, for any parts.
func FuzzBody(f *testing.F) {
	for _, body := range bodies {
		f.Add([]byte(body), uint8(3))
	}
	f.Add([]byte("a\r\rb\n\r \r\n \n"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		for _, relaxed := range []bool{false, true} {
			b := newBody(relaxed)
			var got bytes.Buffer
			b.out.Reset(&got)
			for rest := text; len(rest) > 0; {
				n := min(int(size)+1, len(rest))
				b.write(rest[:n])
				rest = rest[n:]
			}
			b.sum()
			if want := referenceBody(string(text), relaxed); got.String() != want {
				t.Errorf("relaxed %t: %q is %q, want %q", relaxed, text, got.String(), want)
			}
		}
	})
}
