package dkim

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/headers"
)

// FuzzSignature tests that a field that is to be verified has all that a verification needs, and that Why is printable.
func FuzzSignature(f *testing.F) {
	for _, m := range []string{rfc6376Mail, rfc8463Mail} {
		f.Add(parseMail(m).fields[0].Value)
	}
	for _, s := range []string{
		"", ";", "=", "b=;b=", "v=1; a=rsa-sha256; d=bücher.example; s=x; h=From:x; bh=" + strings.Repeat("A", 43) + "=; b=AAAA; l=; x=0; t=1",
		" b = x ; bb=b=; z=b=1", "i=@;d=a.example", "h=" + strings.Repeat(":", 101),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		sig := readSignature(0, value)
		checkResult(t, sig.Result)
		if sig.Status != "" {
			return
		}
		switch {
		case len(sig.names) > 100 || len(value) > 16<<10:
			t.Error("over the limits")
		case len(sig.signed) == 0 || sig.bodyHash == digest{}:
			t.Skip() // an all-zero hash
		case checks.IsPublicSuffix(sig.Domain) || !checks.Under(sig.agent, sig.Domain) || sig.Selector == "":
			t.Errorf("domain %q, identity %q, selector %q", sig.Domain, sig.agent, sig.Selector)
		case !strings.HasSuffix(sig.question().Name, "._domainkey."+sig.Domain+"."):
			t.Errorf("question %s", sig.question())
		}
		tags, rest, why := parseTags(sig.rest)
		if tags["b"] != "" || why != "" || rest != sig.rest {
			t.Errorf("without b=: %q of %q", sig.rest, value)
		}
		if s := newSection([]headers.Field{{Name: "DKIM-Signature", Value: value}}, &work{}); len(s.fields) == 1 {
			s.hash(sig)
		}
	})
}

// checkResult tests what a Result promises.
func checkResult(t *testing.T, r Result) {
	t.Helper()
	for _, name := range []string{r.Domain, r.Selector} {
		if name != "" && (headers.CheckDomain(strings.ReplaceAll(name, "_", "x")) != nil || name != strings.ToLower(name)) {
			t.Errorf("%q is not a domain name", name)
		}
	}
	if strings.Trim(r.Why, printable) != "" || len(r.Signature) > 8 {
		t.Errorf("%+v", r)
	}
	if known := []Status{None, Pass, Fail, Policy, Neutral, TempError, PermError, ""}; !slices.Contains(known, r.Status) {
		t.Errorf("status %q", r.Status)
	}
}

const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// FuzzKey tests that a record either has a key of permitted size or a reason why not, and that every signature can be compared
// with the key.
func FuzzKey(f *testing.F) {
	for _, s := range []string{
		"v=DKIM1; k=ed25519; p=" + public(edKey), "v=DKIM1;p=" + public(rsa1024()), "p=" + pkcs1(rsa1024()), "p=" + evenModulus(), "p=" + modulus(1023),
		"v=DKIM1; p=", "k=rsa; h=sha1 : sha256; s=*; t=y:s; n=x; p=QUFB", "p=x;p=x", ";;", "p", "v=spf1 -all",
	} {
		f.Add(s)
	}
	sig := parseMail(rfc6376Mail).fields[0].Value
	f.Fuzz(func(t *testing.T, text string) {
		k, status, why := parseKey(text)
		checkResult(t, Result{Status: status, Why: why})
		if (status == "") != (k.public != nil) || (why == "") != (status == "") {
			t.Errorf("%q: %+v, %s %q", text, k, status, why)
		}
		if status != "" {
			return
		}
		switch p := k.public.(type) {
		case ed25519.PublicKey:
			if len(p) != ed25519.PublicKeySize {
				t.Errorf("%d bytes", len(p))
			}
		case *rsa.PublicKey:
			if bits := p.N.BitLen(); bits < 1024 || bits > 4096 {
				t.Errorf("%d bits", bits)
			}
		}
		v := New([]headers.Field{{Name: "DKIM-Signature", Value: sig}}, nil, 1)
		v.Results(context.Background(), oneRecord(text), later)
	})
}

// oneRecord is a Resolver whose every answer is one TXT record.
type oneRecord string

func (r oneRecord) Lookup(_ context.Context, q checks.Question) (checks.Answer, error) {
	text := strings.ReplaceAll(string(r), `\`, `\\`)
	return checks.Answer{Records: []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT}, Txt: []string{text}}}}, nil
}

// stricter has reasons for which this package does not pass a signature that go-msgauth passes.
var stricter = map[string]string{
	"field added after signing":            "the contract: a second field would be shown instead of the signed one",
	"d= is a public suffix":                "section 6.1.1 lets a verifier refuse it",
	"d= is not a domain name":              "go-msgauth does not parse d=",
	"s= is not a selector":                 "go-msgauth does not parse s=",
	"i= is not in the domain of d=":        "go-msgauth compares the ends of two texts, without @",
	"key record: t=s":                      "go-msgauth ignores t=",
	"the signature is from the future":     "go-msgauth does not read t=",
	"t= or x= is not a time":               "go-msgauth accepts signs",
	"x= is not after t=":                   "go-msgauth does not compare them",
	"h= has over 100 names":                "the contract limits them",
	"the field has over 16 KiB":            "the contract limits it",
	"not looked at":                        "the contract limits the signatures",
	"the RSA key has over 4096 bits":       "the contract limits it",
	"key record: a tag occurs twice":       "go-msgauth may read the tag with another name",
	"key record: a tag has no name":        "go-msgauth accepts a tag without a name",
	"a tag has no name or no value":        "go-msgauth accepts a tag without a name",
	"the key record has over 4 KiB":        "the contract limits it",
	"c= is not a known canonicalisation":   "go-msgauth removes white space that is not in US-ASCII",
	"a= is not a known algorithm":          "go-msgauth removes white space that is not in US-ASCII",
	"key record: h= does not permit":       "go-msgauth removes white space that is not in US-ASCII",
	"key record: s= does not permit email": "go-msgauth removes white space that is not in US-ASCII",
}

// milder has errors for which go-msgauth does not pass a signature that this package passes.
var milder = map[string]string{
	"domain mismatch":                "go-msgauth compares i= with case",
	"malformed signature tags":       "go-msgauth accepts no empty tag",
	"unsupported hash algorithm":     "go-msgauth reads a= with case",
	"inappropriate key algorithm":    "go-msgauth reads a= and k= with case",
	"inappropriate hash algorithm":   "go-msgauth reads h= with case",
	"inappropriate service":          "go-msgauth reads s= with case",
	"unsupported header canonical":   "go-msgauth reads c= with case",
	"unsupported body canonical":     "go-msgauth reads c= with case",
	"unsupported key algorithm":      "go-msgauth reads k= with case",
	"unsupported public key query":   "go-msgauth reads q= with case",
	"key syntax error":               "go-msgauth accepts nothing but base64 in p=",
	"malformed time":                 "go-msgauth accepts no empty t= or x=, nor one of over 19 digits",
	"malformed expiration time":      "go-msgauth accepts no empty t= or x=, nor one of over 19 digits",
	"signature did not verify":       "go-msgauth removes more than the value of b=",
	"failed to read header":          "go-msgauth needs an empty line after the header",
	"key record error":               "go-msgauth accepts no empty tag",
	"incompatible signature version": "go-msgauth keeps white space of other kinds",
}

// FuzzMsgauth signs a message with any tags and compares the results with those of go-msgauth. Every difference is explained in
// stricter or milder.
func FuzzMsgauth(f *testing.F) {
	keyText := "v=DKIM1; k=ed25519; p=" + public(edKey)
	head, _, _ := strings.Cut(plain.String(), "\r\n\r\n")
	for _, body := range bodies {
		f.Add(replaced(edTags, "relaxed/relaxed>simple/simple"), head, body, keyText)
		f.Add(edTags, head, body, keyText+"; t=s")
	}
	for _, change := range []string{
		"d=ex>xb=1; d=ex", "s=ed>s=ed; i=@A.Example.NET", "ed25519>Ed25519", "h=from>h=dkim-signature:from", "date>date; t=1; x=99999999999",
		"example.net>net", "date>date;", "s=ed>s=ed; l=1", "s=ed>s=\n ed", "c=relaxed/relaxed; >", "date>date; z=b=x", "s=ed>\vs=ed",
	} {
		f.Add(replaced(edTags, change), head+"\nFrom: x", plain.body, keyText)
		f.Add(replaced(edTags, change), head+"\n  folded\t twice \nX :y", plain.body, keyText+"; h=sha256:x")
	}
	f.Add(edTags, head, "\n\r", keyText)
	f.Add(edTags, head, plain.body, strings.Replace(keyText, " k=", "\vk=", 1))
	f.Add(edTags, head, plain.body, strings.Replace(keyText, "=ed25519", "=ed25519\f", 1))
	f.Fuzz(func(t *testing.T, tags, head, body, record string) {
		m := parseMail(head)
		m.body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n")
		if len(tags)+len(head)+len(body) > 64<<10 || !strings.Contains(tags, " h=") {
			t.Skip()
		}
		m = m.sign(t, edKey, tags)
		for _, f := range m.fields {
			if headers.CheckField(f) != nil || strings.Contains(f.Value, "\r") {
				t.Skip() // refused before
			}
		}
		text := m.String()
		if again := parseMail(text); again.String() != text || len(again.fields) != len(m.fields) {
			t.Skip() // is another message on the wire
		}
		compareWithMsgauth(t, m, record)
	})
}

func compareWithMsgauth(t *testing.T, m mail, record string) {
	t.Helper()
	v := New(m.fields, nil, 1)
	v.Write([]byte(m.body))
	r := v.Results(context.Background(), oneRecord(record), time.Now())[0]
	checkResult(t, r)
	other, err := dkim.VerifyWithOptions(strings.NewReader(m.String()), &dkim.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{record}, nil }, MaxVerifications: 1,
	})
	if err == nil || errors.Is(err, dkim.ErrTooManySignatures) {
		err = other[0].Err
	}
	explain(t, r, err, m, record)
}

// explain fails the test if two results differ and no table says why.
func explain(t *testing.T, r Result, err error, m mail, record string) {
	t.Helper()
	has := func(table map[string]string, text string) bool {
		for prefix := range table {
			if strings.Contains(text, prefix) {
				return true
			}
		}
		return false
	}
	switch {
	case (r.Status == Pass) == (err == nil):
	case r.Status == Pass && has(milder, err.Error()):
	case err == nil && has(stricter, r.Why):
	case err == nil && r.HeaderChanged && strings.Contains(strings.ToLower(m.fields[0].Value), "dkim-signature"):
		// go-msgauth lets a signature sign itself
	case err == nil && strings.HasSuffix(r.Why, "= is missing") && strings.ContainsFunc(m.fields[0].Value, isOtherSpace):
		// go-msgauth removes white space that is none in a header field from the name of a tag
	case err == nil && strings.HasPrefix(r.Why, "key record: ") && strings.ContainsFunc(record, isOtherSpace):
		// go-msgauth removes white space that is none in a record from the name and the value of a tag
	case r.Status == Pass && strings.Contains(err.Error(), "body hash") && strings.Contains(strings.ReplaceAll(m.body, "\r\n", ""), "\r"):
		// go-msgauth takes a CR alone for the end of a line, before which white space is removed
	default:
		t.Errorf("%s %q, go-msgauth %v", r.Status, r.Why, err)
	}
}

// isOtherSpace reports whether a rune is white space, but not of a header field.
func isOtherSpace(r rune) bool { return unicode.IsSpace(r) && !strings.ContainsRune(" \t\r\n", r) }
