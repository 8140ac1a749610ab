package dkim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/headers"
)

// hostile are header sections that try to waste time. The body of each is hashed by 5 signatures in 2 canonicalisations.
func hostile(t testing.TB) map[string]mail {
	good := plain.sign(t, edKey, edTags).fields[0]
	simple := plain.sign(t, edKey, replaced(edTags, "relaxed/relaxed>simple/simple")).fields[0]
	many := func(n int, f ...headers.Field) mail {
		m := mail{body: plain.body}
		for i := range n {
			m.fields = append(m.fields, f[i%len(f)])
		}
		return m.with(plain.fields...)
	}
	with := func(i int, value string) mail {
		m := mail{fields: slices.Clone(plain.fields), body: plain.body}
		m.fields[i].Value = value
		return m
	}
	allNames := edTags + strings.Repeat(":to", 96)
	wide := mail{fields: plain.fields, body: plain.body}
	for i := range 20_000 {
		wide.fields = append(wide.fields, headers.Field{Name: fmt.Sprintf("X-%d", i), Value: " " + strings.Repeat("x ", 90)})
	}
	for range 5 {
		wide = wide.sign(t, edKey, allNames)
	}
	return map[string]mail{
		"20,000 signatures":      many(20_000, good, simple),
		"20,000 signed fields":   many(20_000, plain.fields[1]).sign(t, edKey, allNames),
		"20,000 fields":          wide,
		"10,000 names in h":      plain.sign(t, edKey, edTags+strings.Repeat(":to", 10_000)),
		"10,000 tags":            plain.sign(t, edKey, edTags+strings.Repeat(";x=", 5_000)),
		"From of 1 MiB":          with(0, strings.Repeat(" a@example.net,\n", 1<<16)).sign(t, edKey, edTags),
		"signature of 1 MiB":     plain.with(headers.Field{Name: "DKIM-Signature", Value: strings.Repeat("d=example.net;\n ", 1<<16)}),
		"white space of 1 MiB":   plain.sign(t, edKey, edTags+strings.Repeat(" \t", 1<<19)),
		"subject of white space": with(2, strings.Repeat(" \n\t", 1<<18)).sign(t, edKey, edTags),
	}
}

func TestHostileHeaders(t *testing.T) {
	t.Parallel()
	for name, m := range hostile(t) {
		v := New(m.fields, []string{"example.net"}, 5)
		v.Write([]byte(m.body))
		results := v.Results(context.Background(), checktest.NewZone(t, edZone), checktest.Now)
		if len(results) > maxSignatures {
			t.Errorf("%s: %d results", name, len(results))
		}
		header := len(m.String()) - len(m.body)
		if w := v.work; w.verified > 5 || w.hashedBytes > 5*(2*header)+2*len(m.body) || w.namesLookedUp > len(m.fields)+5*100 {
			t.Errorf("%s: a header section of %d bytes, %d fields: %+v", name, header, len(m.fields), w)
		}
	}
}

// TestHostileRecords tests that a record of 60 KB and keys of all sizes are refused without a verification.
func TestHostileRecords(t *testing.T) {
	t.Parallel()
	m := plain.sign(t, rsa1024(), replaced(edTags, "ed25519>rsa"))
	for name, text := range map[string]string{
		"60 KB of text":   "v=DKIM1; n=" + strings.Repeat("x", 60_000),
		"60 KB of tags":   strings.Repeat(";", 60_000),
		"60 KB of base64": "p=" + strings.Repeat("QUFB", 15_000),
		"8,192 bits":      "p=" + modulus(8192),
		"16,384 bits":     "p=" + modulus(16384),
		"65,536 bits":     "p=" + modulus(65536),
	} {
		v := New(m.fields, nil, 5)
		v.Write([]byte(m.body))
		r := v.Results(context.Background(), checktest.NewZone(t, record("ed._domainkey.example.net", text)), checktest.Now)[0]
		if r.Status != PermError || v.work.verified > 0 {
			t.Errorf("%s: %s %s, %+v", name, r.Status, r.Why, v.work)
		}
	}
}

// TestEndlessBody tests that the memory for a body has a limit, whatever is in it.
//
// It is not parallel: testing.AllocsPerRun counts for the whole process.
func TestEndlessBody(t *testing.T) {
	m := plain.sign(t, edKey, edTags).sign(t, edKey, replaced(edTags, "relaxed/relaxed>simple/simple"))
	for _, part := range []string{"text \r\n", "\r\n", " \t", "\r", "\n", "x"} {
		v := New(m.fields, nil, 5)
		chunk := []byte(strings.Repeat(part, 8<<10))
		if n := testing.AllocsPerRun(20, func() { v.Write(chunk) }); n > 0 {
			t.Errorf("%q: %v allocations for %d bytes", part, n, len(chunk))
		}
	}
}

// blocked is a Resolver that answers when the context is done.
type blocked struct {
	asked   chan struct{} // receives something for each question
	waiting atomic.Int32
}

func (b *blocked) Lookup(ctx context.Context, _ checks.Question) (checks.Answer, error) {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	b.asked <- struct{}{}
	<-ctx.Done()
	return checks.Answer{}, ctx.Err()
}

// TestDeadline tests that keys are asked for at once, that Results returns with its context, and that it leaves no lookup.
func TestDeadline(t *testing.T) {
	t.Parallel()
	m := plain
	for i := range 5 {
		m = m.sign(t, edKey, replaced(edTags, fmt.Sprintf("s=ed>s=ed%d", i)))
	}
	v := New(m.fields, nil, 5)
	v.Write([]byte(m.body))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dns := &blocked{asked: make(chan struct{})}
	go func() {
		for range 5 {
			<-dns.asked
		}
		cancel()
	}()
	for _, r := range v.Results(ctx, dns, checktest.Now) {
		if r.Status != TempError || !errors.Is(r.Err, context.Canceled) {
			t.Errorf("%+v", r)
		}
	}
	if n := dns.waiting.Load(); n > 0 {
		t.Errorf("%d lookups are left", n)
	}
}

// TestOneQuestion tests that signatures with the same key cause one question.
func TestOneQuestion(t *testing.T) {
	t.Parallel()
	m := plain.sign(t, edKey, edTags).sign(t, edKey, replaced(edTags, "h=from>h=dkim-signature:from")).sign(t, edKey, edTags)
	v := New(m.fields, nil, 5)
	v.Write([]byte(m.body))
	dns := &checktest.Recorder{Resolver: checktest.NewZone(t, edZone)}
	for _, r := range v.Results(context.Background(), dns, checktest.Now) {
		if r.Status != Pass {
			t.Errorf("%+v", r)
		}
	}
	const question = "ed._domainkey.example.net. TXT"
	if asked := dns.Asked(); len(asked) != 1 || dns.Times(question) != 1 || v.Questions() != nil {
		t.Errorf("asked %q", asked)
	}
}

// BenchmarkHostile measures header sections that try to waste time.
func BenchmarkHostile(b *testing.B) {
	dns := checktest.NewZone(b, edZone)
	for name, m := range hostile(b) {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				v := New(m.fields, []string{"example.net"}, 5)
				v.Write([]byte(m.body))
				v.Results(context.Background(), dns, checktest.Now)
			}
		})
	}
}
