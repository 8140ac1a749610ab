package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/headers"
	"milterd/milter/log"
)

// floodDNS is a hostile resolver: it answers each question with as many records as fit in 64 KiB, or with an SPF record of 60 KB.
type floodDNS struct{}

func (floodDNS) Lookup(_ context.Context, q checks.Question) (checks.Answer, error) {
	const records = 3000
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Type, Class: dns.ClassINET, Ttl: 60}
	suffix := strings.Repeat(strings.Repeat("x", 48)+".", 4) + "test."
	var a checks.Answer
	for i := range records {
		var rr dns.RR
		switch host := fmt.Sprintf("h%d.%s", i, suffix); q.Type {
		case dns.TypePTR:
			rr = &dns.PTR{Hdr: head, Ptr: host}
		case dns.TypeMX:
			rr = &dns.MX{Hdr: head, Preference: 10, Mx: host}
		case dns.TypeA:
			rr = &dns.A{Hdr: head, A: []byte{11, 22, byte(i >> 8), byte(i)}}
		case dns.TypeAAAA:
			rr = &dns.AAAA{Hdr: head, AAAA: append([]byte{0x20, 1, 0x0d, 0xb9, 13: 0}, byte(i>>8), byte(i))}
		default:
			text := "v=spf1 " + strings.Repeat("ip4:11.22.33.44 ", 3_700) + "-all"
			if strings.HasPrefix(q.Name, "_dmarc.") {
				text = "v=DMARC1; p=reject; rua=" + strings.Repeat("mailto:a@d.test,", 3_700)
			}
			if strings.Contains(q.Name, "_domainkey") {
				text = "v=DKIM1; n=" + strings.Repeat("x", 60_000) + "; p=AAAA"
			}
			return checks.Answer{Records: []dns.RR{&dns.TXT{Hdr: head, Txt: []string{text}}}}, nil
		}
		a.Records = append(a.Records, rr)
	}
	return a, nil
}

// TestHostileAnswersAreNotKept tests that an open session keeps little of what the DNS answered, in a transaction and after it.
func TestHostileAnswersAreNotKept(t *testing.T) {
	// Not parallel, as the heap is that of all tests.
	const sessions, most = 6, 64 << 10 // bytes that a session may keep beside what it counts
	p := pipelineOf(t, "watch", floodDNS{})
	before := liveHeap()
	var runs []*checks.Run
	for i := range sessions {
		s := &checks.Session{
			ID: "s", Time: time.Now(), Client: netip.AddrFrom4([4]byte{11, 22, 0, byte(i)}),
		}
		run := p.NewRun(s)
		run.Judge(t.Context(), checks.Connect)
		s.SetHelo("mail.d.test", false)
		run.Judge(t.Context(), checks.Helo)
		s.Envelope.MailFrom = checks.ParseAddress("a@d.test")
		run.Judge(t.Context(), checks.MailFrom)
		s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
		if d := run.Judge(t.Context(), checks.RcptTo); d.Reply != nil {
			t.Fatalf("refused: %s", d.Reply)
		}
		s.Envelope.Header = []headers.Field{
			{Name: "From", Value: " a@d.test"}, {Name: "Date", Value: " " + s.Time.Format(time.RFC1123Z)}, {Name: "Message-ID", Value: " <1@d.test>"},
			{Name: "DKIM-Signature", Value: " v=1; a=rsa-sha256; d=d.test; s=x; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA"},
		}
		if w := run.BeginBody(); w != nil {
			_, _ = w.Write([]byte("Hello.\r\n"))
		}
		run.Judge(t.Context(), checks.EndOfMessage)
		runs = append(runs, run)
	}
	check := func(when string) {
		kept := int(liveHeap()-before) / sessions
		counted := runs[0].TraceSize()
		t.Logf("%s: a session keeps %d bytes and counts %d of them", when, kept, counted)
		if kept-counted > most {
			t.Errorf("%s: a session keeps %d bytes that it does not count, want %d at most", when, kept-counted, most)
		}
	}
	check("in a transaction")
	for _, run := range runs {
		run.EndTransaction()
	}
	check("after it")
	runtime.KeepAlive(runs)
}

// pipelineOf returns a pipeline with a profile.
func pipelineOf(t *testing.T, profile string, resolver checks.Resolver) *checks.Pipeline {
	t.Helper()
	cfg := parseConfig(t, "profile: "+profile+"\nlocal_domains: [example.org]\nhostname: mx.example.org\nactions: {mxplus-mismatch: watch}\n")
	p, err := newPipeline(cfg, checks.Env{DNS: resolver, Store: checktest.NewStore(time.Now), Log: log.Discard()}, func(*checks.Options) {})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// liveHeap returns the size of what is in use, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
