package dkim

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/headers"
)

// plain is a message of ordinary form.
var plain = parseMail(`From: Ann <ann@example.net>
To: user@example.org
Subject: dinner
Date: Sat, 21 Nov 2026 12:00:00 +0000

Hi.

Are you hungry  yet?
`)

const edTags = "v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.net; s=ed; h=from:to:subject:date"

// rule is a signature of edKey on plain, with changed tags, key record or message.
type rule struct {
	name   string
	tags   string            // edTags with replacements "old>new", separated by "|"
	record string            // of the key; empty: edZone
	change func(m mail) mail // of the signed message
	key    crypto.Signer     // nil: edKey
	status Status
	why    string // part of Result.Why
}

func replaced(tags, replacements string) string {
	for r := range strings.SplitSeq(replacements, "|") {
		if old, with, ok := strings.Cut(r, ">"); ok {
			tags = strings.Replace(tags, old, with, 1)
		}
	}
	return tags
}

func (c rule) test(t *testing.T) {
	t.Helper()
	key, zone := c.key, c.record
	if key == nil {
		key = edKey
	}
	if zone == "" {
		zone = edZone
	} else if !strings.HasPrefix(zone, "!") && !strings.Contains(zone, " TXT ") {
		zone = record("ed._domainkey.example.net", zone)
	}
	m := plain.sign(t, key, replaced(edTags, c.tags))
	if c.change != nil {
		m = c.change(m)
	}
	results := m.verify(t, zone)
	if len(results) != 1 {
		t.Fatalf("results: %+v", results)
	}
	if r := results[0]; r.Status != c.status || !strings.Contains(r.Why, c.why) || (r.Why == "") != (r.Status == Pass) {
		t.Errorf("%s %q, want %s %q", r.Status, r.Why, c.status, c.why)
	}
}

func runRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, c := range rules {
		t.Run(c.name, func(t *testing.T) { c.test(t) })
	}
}

// first changes the value of the signature field.
func first(change func(value string) string) func(m mail) mail {
	return func(m mail) mail {
		m.fields = append([]headers.Field(nil), m.fields...)
		m.fields[0].Value = change(m.fields[0].Value)
		return m
	}
}

func add(name, value string) func(m mail) mail {
	return func(m mail) mail { return m.with(headers.Field{Name: name, Value: value}) }
}

func names(n int) string { return "h=from" + strings.Repeat(":x", n-1) }

func TestTags(t *testing.T) {
	t.Parallel()
	runRules(t, []rule{
		{name: "an ordinary signature", status: Pass},
		{name: "no c is simple/simple", tags: "; c=relaxed/relaxed>", status: Pass},
		{name: "c without a body canonicalisation", tags: "relaxed/relaxed>relaxed", status: Pass},
		{name: "algorithm and canonicalisation in capitals", tags: "ed25519-sha256>Ed25519-SHA256", status: Pass},
		{name: "unknown canonicalisation", tags: "relaxed/relaxed>relaxed/nowsp", status: PermError, why: "c="},
		{name: "unknown tags are ignored, whatever they end in", tags: "d=ex>xb=1; z=From:b=2; b2=; d=ex", status: Pass},
		{name: "white space and tabs around tags", tags: "d=example.net; s=ed>d\t=\n\texample.net\n ; s = ed", status: Pass},
		{name: "a semicolon at the end", tags: "date>date;", status: Pass},
		{name: "a tag occurs twice", tags: "date>date; d=example.net", status: PermError, why: "twice"},
		{name: "a tag without a value", tags: "s=ed>s=ed; x", status: PermError, why: "no name or no value"},
		{name: "tag names are case-sensitive", tags: "d=ex>D=ex", status: PermError, why: "d= is missing"},
		{name: "version 2", tags: "v=1>v=2", status: PermError, why: "v= is not 1"},
		{name: "no version", tags: "v=1; >", status: PermError, why: "v= is missing"},
		{name: "no selector", tags: "s=ed; >", status: PermError, why: "s= is missing"},
		{name: "rsa-sha1", tags: "ed25519-sha256>rsa-sha1", status: PermError, why: "rsa-sha1"},
		{name: "unknown algorithm", tags: "ed25519-sha256>dsa-sha256", status: PermError, why: "a="},
		{name: "unknown query method beside dns/txt", tags: "s=ed>s=ed; q=http/x:dns/txt", status: Pass},
		{name: "unknown query method", tags: "s=ed>s=ed; q=http/x", status: PermError, why: "q="},
		{name: "l", tags: "s=ed>s=ed; l=30", status: Policy, why: "l="},
		{name: "100 names in h", tags: "h=from>" + names(97), status: Pass},
		{name: "101 names in h", tags: "h=from>" + names(98), status: PermError, why: "over 100 names"},
		{name: "a field of 16 KiB", tags: "s=ed>s=ed; z=" + strings.Repeat("x", 16<<10-350), status: Pass},
		{name: "a field of over 16 KiB", tags: "s=ed>s=ed; z=" + strings.Repeat("x", 16<<10), status: PermError, why: "16 KiB"},
		{name: "bh of another length", change: first(func(v string) string { return strings.Replace(v, "bh=", "bh=AAAA", 1) }),
			status: PermError, why: "bh="},
		{name: "b is not base64", change: first(func(v string) string { return v + "!" }), status: PermError, why: "b="},
	})
}

// TestPadding tests that the padding of base64 is optional in b= and bh=.
func TestPadding(t *testing.T) {
	t.Parallel()
	hash := sha256.Sum256([]byte(referenceBody(plain.body, true)))
	for _, bh := range []string{base64.StdEncoding.EncodeToString(hash[:]), base64.RawStdEncoding.EncodeToString(hash[:])} {
		signed := plain.signHash(t, edKey, edTags+"; bh="+bh)
		unpadded := first(func(v string) string { return strings.TrimRight(v, "=") })(signed)
		if signed.fields[0].Value == unpadded.fields[0].Value {
			t.Fatal("b= has no padding")
		}
		for _, m := range []mail{signed, unpadded} {
			if r := m.verify(t, edZone)[0]; r.Status != Pass {
				t.Errorf("%s %q: %s", r.Status, r.Why, m.fields[0].Value)
			}
		}
	}
}

// TestFoldedSignature tests that white space in b= has no meaning, in both header canonicalisations.
func TestFoldedSignature(t *testing.T) {
	t.Parallel()
	fold := first(func(v string) string {
		at := strings.LastIndex(v, "; b=") + len("; b=")
		return v[:at] + "\n\t " + v[at:at+20] + "\n\t" + v[at+20:] + " \n "
	})
	runRules(t, []rule{
		{name: "relaxed", change: fold, status: Pass},
		{name: "simple", tags: "c=relaxed>c=simple", change: fold, status: Pass},
		{name: "a tag after b", change: first(func(v string) string { return v + "; n=1" }), status: Fail},
	})
}

func TestDomains(t *testing.T) {
	t.Parallel()
	runRules(t, []rule{
		{name: "d in capitals", tags: "d=example.net>d=EXAMPLE.net", status: Pass},
		{name: "i in a subdomain, in capitals", tags: "s=ed>s=ed; i=Ann@News.Example.NET", status: Pass},
		{name: "i with a quoted local part", tags: `s=ed>s=ed; i="a@b"@example.net`, status: Pass},
		{name: "i without a local part", tags: "s=ed>s=ed; i=@example.net", status: Pass},
		{name: "i in a parent domain", tags: "d=example.net>d=news.example.net; i=@example.net", status: PermError, why: "i="},
		{name: "i in a domain that ends the same", tags: "s=ed>s=ed; i=@badexample.net", status: PermError, why: "i="},
		{name: "i without @", tags: "s=ed>s=ed; i=example.net", status: PermError, why: "i="},
		{name: "i is empty", tags: "s=ed>s=ed; i=", status: PermError, why: "i="},
		{name: "d is a top-level domain", tags: "d=example.net>d=net", status: PermError, why: "public suffix"},
		{name: "d is a public suffix", tags: "d=example.net>d=co.uk", status: PermError, why: "public suffix"},
		{name: "d is a single label", tags: "d=example.net>d=localhost", status: PermError, why: "public suffix"},
		{name: "d is a suffix of a company", tags: "d=example.net>d=blogspot.com", status: Pass,
			record: record("ed._domainkey.blogspot.com", "k=ed25519; p="+public(edKey))},
		{name: "d is an address", tags: "d=example.net>d=192.0.2.1", status: PermError, why: "d="},
		{name: "d is an address literal", tags: "d=example.net>d=[192.0.2.1]", status: PermError, why: "d="},
		{name: "d is empty", tags: "d=example.net>d=", status: PermError, why: "d="},
		{name: "d has a space", tags: "d=example.net>d=example .net", status: PermError, why: "d="},
		{name: "d has a trailing dot", tags: "d=example.net>d=example.net.", status: PermError, why: "d="},
		{name: "d has a U-label", tags: "d=example.net>d=bücher.example", status: Pass,
			record: record("ed._domainkey.xn--bcher-kva.example", "k=ed25519; p="+public(edKey))},
		{name: "s has two labels", tags: "s=ed>s=ed.2026_a", status: Pass,
			record: record("ed.2026_a._domainkey.example.net", "k=ed25519; p="+public(edKey))},
		{name: "s leads elsewhere", tags: "s=ed>s=ed/../x", status: PermError, why: "s="},
	})
}

func TestSignedFields(t *testing.T) {
	t.Parallel()
	rules := []rule{
		{name: "From is not signed", tags: "h=from:to>h=to", status: Policy, why: "From is not signed"},
		{name: "a second From", change: add("From", " eve@example.com"), status: Policy, why: "field added after signing"},
		{name: "a second From with white space before the colon", change: add("FROM \t", " eve@example.com"), status: Policy, why: "field added after signing"},
		{name: "two of From in h, one in the message", tags: "h=from>h=from:from", status: Pass},
		{name: "two of From in h, another in the message", tags: "h=from>h=from:from", change: add("From", " eve@example.com"), status: Fail},
		{name: "a second field of no importance", change: add("X-Spam", " no"), status: Pass},
		{name: "a first Cc", change: add("Cc", " eve@example.com"), status: Pass},
		{name: "a field of h that is not there", tags: "h=from>h=from:reply-to", status: Pass},
		{name: "that field was added", tags: "h=from>h=from:reply-to", change: add("Reply-To", " eve@example.com"), status: Fail},
		{name: "the name in h has another case", tags: "h=from:to>h=FROM: To ", status: Pass},
		{name: "an empty name in h", tags: "date>date:", status: Pass},
		{name: "a second Received", tags: "h=from>h=from:received", change: add("Received", " x"), status: Fail},
		{name: "h has dkim-signature", tags: "h=from>h=from:dkim-signature:dkim-signature", status: Pass},
	}
	for _, name := range singular {
		m := func(m mail) mail {
			if name == "Cc" || name == "Content-Type" {
				m = add(name, " x")(m)
			}
			return add(name, " y")(m)
		}
		rules = append(rules, rule{name: "a second " + name, change: m, status: Policy, why: "field added after signing: there are several " + name})
	}
	runRules(t, rules)
}

func TestTimes(t *testing.T) {
	t.Parallel()
	at := func(tag string, d time.Duration) string {
		return fmt.Sprintf("; %s=%d", tag, checktest.Now.Add(d).Unix())
	}
	runRules(t, []rule{
		{name: "expires now", tags: "date>date" + at("x", 0), status: Pass},
		{name: "expired", tags: "date>date" + at("x", -time.Second), status: Neutral, why: "expired"},
		{name: "expired, and the body was changed", tags: "date>date" + at("x", -time.Second), change: func(m mail) mail { m.body += "x"; return m },
			status: Neutral, why: "expired"},
		{name: "signed within an hour from now", tags: "date>date" + at("t", time.Hour), status: Pass},
		{name: "signed in the future", tags: "date>date" + at("t", time.Hour+time.Second), status: Neutral, why: "future"},
		{name: "expires before it is signed", tags: "date>date" + at("t", -time.Hour) + at("x", -time.Hour), status: PermError, why: "x="},
		{name: "t is not a number", tags: "date>date; t=now", status: PermError, why: "not a time"},
		{name: "x has a sign", tags: "date>date; x=-1", status: PermError, why: "not a time"},
		{name: "x has 12 digits", tags: "date>date; x=999999999999", status: Pass},
		{name: "x has 13 digits, as in milliseconds", tags: "date>date; x=9999999999999", status: Pass},
		{name: "x has 20 digits", tags: "date>date; x=99999999999999999999", status: Pass},
		{name: "x has 20 digits and a letter", tags: "date>date; x=99999999999999999999a", status: PermError, why: "not a time"},
		{name: "t has 13 digits, as in milliseconds", tags: "date>date; t=1795000000000", status: Neutral, why: "future"},
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	p := "p=" + public(edKey)
	rsa := "ed25519>rsa"
	runRules(t, []rule{
		{name: "no version", record: "k=ed25519; " + p, status: Pass},
		{name: "the version is not first", record: "k=ed25519; v=DKIM1; " + p, status: Pass},
		{name: "another version", record: "v=DKIM2; k=ed25519; " + p, status: PermError, why: "v="},
		{name: "tabs and spaces in p", record: `ed._domainkey.example.net TXT "v=DKIM1;\009k=ed25519; ` + p[:9] + ` \009` + p[9:] + ` ;;"`, status: Pass},
		{name: "p in several strings", record: `ed._domainkey.example.net TXT "v=DKIM1; k=ed25" "519; ` + p[:7] + `" "` + p[7:] + `"`, status: Pass},
		{name: "unknown tags", record: "v=DKIM1; g=*; xp=; n=note; k=ed25519; " + p, status: Pass},
		{name: "p twice", record: "k=ed25519; " + p + "; " + p, status: PermError, why: "twice"},
		{name: "no p", record: "v=DKIM1; k=ed25519", status: PermError, why: "p= is missing"},
		{name: "revoked", record: "v=DKIM1; k=ed25519; p=", status: Fail, why: "revoked"},
		{name: "revoked, testing", record: "v=DKIM1; t=y; p=", status: None, why: "revoked"},
		{name: "another TXT record", record: "v=spf1 -all", status: PermError, why: "key record"},
		{name: "no record", record: "other.example TXT x", status: PermError, why: "no key record"},
		{name: "two records", record: edZone + record("ed._domainkey.example.net", "second"), status: PermError, why: "several"},
		{name: "4 KiB of record", record: "k=ed25519; n=" + strings.Repeat("x", 4<<10-60-len(p)) + ";" + p, status: Pass},
		{name: "over 4 KiB of record", record: "k=ed25519; n=" + strings.Repeat("x", 4<<10) + ";" + p, status: PermError, why: "over 4 KiB"},
		{name: "a CNAME leads to the record", status: Pass,
			record: "ed._domainkey.example.net CNAME key.example.com\n" + record("key.example.com", "k=ed25519; "+p)},
		{name: "the DNS does not answer", record: "!SERVFAIL ed._domainkey.example.net", status: TempError, why: "does not answer"},
		{name: "the DNS does not answer, and the body was changed", record: "!SERVFAIL ed._domainkey.example.net", change: func(m mail) mail { m.body += "x"; return m },
			status: Fail, why: "body was changed"},
		{name: "h permits the hash", record: "h=sha1 : SHA256; k=ed25519; " + p, status: Pass},
		{name: "h does not permit the hash", record: "h=sha1; k=ed25519; " + p, status: PermError, why: "h="},
		{name: "for email", record: "s=other:email; k=ed25519; " + p, status: Pass},
		{name: "for another service", record: "s=other; k=ed25519; " + p, status: PermError, why: "s="},
		{name: "unknown flags", record: "t=x:z; k=ed25519; " + p, status: Pass},
		{name: "t=s and i in the domain", tags: "s=ed>s=ed; i=@Example.net", record: "t=s; k=ed25519; " + p, status: Pass},
		{name: "t=s and no i", record: "t=y:s; k=ed25519; " + p, status: Pass},
		{name: "t=s and i in a subdomain", tags: "s=ed>s=ed; i=@a.example.net", record: "t=s; k=ed25519; " + p, status: PermError, why: "t=s"},
		{name: "t=y and a good signature", record: "t=y; k=ed25519; " + p, status: Pass},
		{name: "t=y and a changed message", record: "t=y; k=ed25519; " + p, change: func(m mail) mail { m.body += "x"; return m },
			status: None, why: "body was changed"},
		{name: "the key is for another algorithm", tags: rsa, record: "k=ed25519; " + p, status: PermError, why: "another algorithm"},
		{name: "an unknown algorithm", record: "k=dsa; " + p, status: PermError, why: "not a key"},
		{name: "an Ed25519 key that is too short", record: "k=ed25519; p=AAAA", status: PermError, why: "not a key"},
		{name: "p is not base64", record: "k=ed25519; p=AAAAA", status: PermError, why: "base64"},
		{name: "p has nothing of base64", record: "k=ed25519; p=%", status: PermError, why: "not a key"},
		{name: "p with the quotes of a zone file", record: `ed._domainkey.example.net TXT "k=ed25519; ` + p[:9] + `\" \"` + p[9:] + `"`, status: Pass},
		{name: "p without padding", record: "k=ed25519; " + strings.TrimRight(p, "="), status: Pass},
		{name: "p with too much padding", record: "k=ed25519; " + p + "==", status: Pass},
		{name: "another key", record: "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", status: Fail, why: "not the signer's"},
		{name: "RSA is the default", tags: rsa, key: rsa1024(), record: "p=" + public(rsa1024()), status: Pass},
		{name: "RSA of 2048 bits", tags: rsa, key: rsa2048(), record: "k=rsa; p=" + public(rsa2048()), status: Pass},
		{name: "RSA without ASN.1 around it", tags: rsa, key: rsa1024(), record: "k=RSA; p=" + pkcs1(rsa1024()), status: Pass},
		{name: "RSA of 1023 bits", tags: rsa, key: rsa1024(), record: "p=" + modulus(1023), status: Policy, why: "under 1024 bits"},
		{name: "RSA of 4096 bits", tags: rsa, key: rsa1024(), record: "p=" + modulus(4096), status: Fail},
		{name: "RSA of 4097 bits", tags: rsa, key: rsa1024(), record: "p=" + modulus(4097), status: PermError, why: "over 4096 bits"},
		{name: "RSA with an even modulus", tags: rsa, key: rsa1024(), record: "p=" + evenModulus(), status: PermError, why: "cannot be used"},
		{name: "an RSA record with an Ed25519 key", record: "k=rsa; " + p, status: PermError, why: "not a key"},
	})
}

func TestChangedParts(t *testing.T) {
	t.Parallel()
	body := func(m mail) mail { m.body += "footer"; return m }
	header := func(m mail) mail {
		m.fields = append([]headers.Field(nil), m.fields...)
		m.fields[3].Value = " [list] dinner"
		return m
	}
	for name, c := range map[string]struct {
		change       func(m mail) mail
		body, header bool
	}{
		"the body":   {change: body, body: true},
		"the header": {change: header, header: true},
		"both":       {change: func(m mail) mail { return header(body(m)) }, body: true, header: true},
	} {
		r := c.change(plain.sign(t, edKey, edTags)).verify(t, edZone)[0]
		if r.Status != Fail || r.BodyChanged != c.body || r.HeaderChanged != c.header {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestOrder tests that signatures of the author domain are verified before others, and that the limit holds.
func TestOrder(t *testing.T) {
	t.Parallel()
	m := plain.sign(t, edKey, replaced(edTags, "d=example.net>d=news.example.net"))
	for _, domain := range []string{"a.example", "b.example", "c.example"} {
		m = m.sign(t, edKey, replaced(edTags, "d=example.net>d="+domain))
	}
	for _, c := range []struct {
		author string
		limit  int
		want   string
	}{
		{"example.net", 2, "news.example.net permerror, c.example permerror, b.example policy, a.example policy"},
		{"Mail.B.example", 2, "b.example permerror, c.example permerror, a.example policy, news.example.net policy"},
		{"", 1, "c.example permerror, b.example policy, a.example policy, news.example.net policy"},
		{"example.net", 0, "news.example.net policy, c.example policy, b.example policy, a.example policy"},
	} {
		v := New(m.fields, strings.Fields(c.author), c.limit)
		if n := len(v.Questions()); n != c.limit {
			t.Errorf("%s, %d: %d questions", c.author, c.limit, n)
		}
		v.Write([]byte(m.body))
		var got []string
		for _, r := range v.Results(context.Background(), checktest.NewZone(t, ""), checktest.Now) {
			got = append(got, r.Domain+" "+string(r.Status))
			if r.Status == Policy && !strings.Contains(r.Why, "not looked at") {
				t.Errorf("why: %q", r.Why)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s, %d:\ngot  %s\nwant %s", c.author, c.limit, text, c.want)
		}
	}
}

// TestUnsigned tests that a message without a signature needs neither its body nor the DNS.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	v := New(plain.fields, []string{"example.net"}, 5)
	if v.WantsBody() || len(v.Questions()) > 0 {
		t.Error("the body or a key is asked for")
	}
	if r := v.Results(context.Background(), checktest.NewZone(t, ""), checktest.Now); len(r) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestLineEnds tests the note on line ends, and that an LF is hashed as CRLF.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	m := plain.sign(t, edKey, edTags)
	for body, note := range map[string]string{
		m.body:                                     "",
		strings.ReplaceAll(m.body, "\r\n", "\n"):   "",
		strings.Replace(m.body, "\r\n", "\n", 1):   "the body has a bare CR or LF",
		strings.Replace(m.body, "\r\n", "\r", 1):   "the body has a bare CR or LF",
		strings.Replace(m.body, "\r\n", "\r\r", 1): "the body has a bare CR or LF",
		m.body + "\r":                              "the body has a bare CR or LF",
	} {
		v := New(m.fields, nil, 5)
		for i := range len(body) {
			v.Write([]byte(body[i : i+1]))
		}
		status := v.Results(context.Background(), checktest.NewZone(t, edZone), checktest.Now)[0].Status
		if want := !strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\r"); (status == Pass) != want || v.LineEnds() != note {
			t.Errorf("%q: %s, note %q", body, status, v.LineEnds())
		}
	}
}
