package main

import (
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/headers"
)

// TestHostileHeadersAreNotKept tests that a session keeps little of its header section besides the fields, which the limit
// memory counts.
func TestHostileHeadersAreNotKept(t *testing.T) {
	// Not parallel, as the heap is that of all tests.
	const sessions, most = 2, 15 // percent that a session may keep beside the fields
	p := pipelineOf(t, "watch", checktest.Env(t, "").DNS)
	many := func(name, value string) []headers.Field {
		return slices.Repeat([]headers.Field{{Name: name, Value: value}}, 100)
	}
	signature := " v=1; a=rsa-sha256; d=d.test; s=x; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA; "
	for name, fields := range map[string][]headers.Field{
		"many authors":             {{Name: "From", Value: strings.Repeat(" a@d.test,", 92_000)}},
		"many From fields":         many("From", strings.Repeat(" a@d.test,", 900)),
		"an invalid author":        {{Name: "From", Value: " a@" + strings.Repeat("!", 900_000)}},
		"signatures of many names": many("DKIM-Signature", signature+"h="+strings.Repeat(strings.Repeat("n", 150)+":", 99)+"from"),
		"signatures of many tags":  many("DKIM-Signature", signature+"h=from; "+strings.Repeat("a=;", 5000)),
		"signatures of long users": many("DKIM-Signature", signature+"h=from; i="+strings.Repeat("a", 15_000)+"@d.test"),
	} {
		before := liveHeap()
		var runs []*checks.Run
		size := 0
		for range sessions {
			s := &checks.Session{ID: "s", Time: time.Now(), Client: netip.MustParseAddr("11.22.33.44")}
			run := p.NewRun(s)
			run.Judge(t.Context(), checks.Connect)
			s.Envelope.MailFrom = checks.ParseAddress("a@d.test")
			s.Envelope.Rcpts = []checks.Recipient{{Address: checks.ParseAddress("bob@example.org")}}
			run.Judge(t.Context(), checks.RcptTo)
			fields := append(fields[:len(fields):len(fields)], headers.Field{Name: "DKIM-Signature", Value: signature + "h=from"})
			for _, f := range fields {
				s.Envelope.Header = append(s.Envelope.Header, headers.Field{Name: f.Name, Value: strings.Clone(f.Value)})
				size += len(f.Value)
			}
			if w := run.BeginBody(); w != nil {
				_, _ = w.Write([]byte("Hello.\r\n"))
			}
			runs = append(runs, run)
		}
		kept := liveHeap() - before
		t.Logf("%s: %d bytes for fields of %d", name, kept, size)
		if kept > int64(size)*(100+most)/100 {
			t.Errorf("%s: sessions keep %d bytes for fields of %d", name, kept, size)
		}
		runtime.KeepAlive(runs)
	}
}
