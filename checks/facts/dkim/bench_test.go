package dkim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
)

// BenchmarkVerify measures the verification of an rsa2048 signature beside that of go-msgauth.
func BenchmarkVerify(b *testing.B) {
	const line = "The quick brown fox jumps over the lazy dog, and then it sleeps.\r\n"
	zone := checktest.NewZone(b, record("ed._domainkey.example.net", "p="+public(rsa2048())))
	lookup := func(name string) ([]string, error) {
		a, err := zone.Lookup(context.Background(), checks.Ask(name, dns.TypeTXT))
		return []string{strings.Join(checks.RecordsOf[*dns.TXT](a)[0].Txt, "")}, err
	}
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, form := range []string{"relaxed/relaxed", "simple/simple"} {
			m := plain
			for range 8 {
				m = m.with(parseMail("Received: from a.example (a.example [192.0.2.1]) by b.example with ESMTP\n\tid 1234567 for <user@example.org>; Sat, 21 Nov 2026 12:00:00 +0000\n\n").fields...)
			}
			m.body = strings.Repeat(line, size/len(line))
			m = m.sign(b, rsa2048(), replaced(edTags, "ed25519>rsa|relaxed/relaxed>"+form))
			body := []byte(m.body)
			b.Run(fmt.Sprintf("%dKiB/%s/milterd", size>>10, form), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					v := New(m.fields, []string{"example.net"}, 5)
					for part := range slices.Chunk(body, 64<<10) {
						v.Write(part)
					}
					if r := v.Results(context.Background(), zone, checktest.Now); r[0].Status != Pass {
						b.Fatal(r)
					}
				}
			})
			text := m.String()
			b.Run(fmt.Sprintf("%dKiB/%s/go-msgauth", size>>10, form), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					v, err := dkim.VerifyWithOptions(strings.NewReader(text), &dkim.VerifyOptions{LookupTXT: lookup})
					if err != nil || v[0].Err != nil {
						b.Fatal(v, err)
					}
				}
			})
		}
	}
}
