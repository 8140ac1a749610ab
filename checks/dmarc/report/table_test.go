package report

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/facts/dmarc/aggregate"
)

func newRow(domain string, i int, passed bool) Row {
	r := Row{PolicyDomain: domain, Passed: passed}
	r.Source, r.HeaderFrom, r.EnvelopeFrom = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), domain, "example.net"
	if passed {
		r.Disposition = "pass"
	}
	return r
}

// TestTableBounds tests that what senders choose takes a bounded amount of memory, and that forgers do not displace mail that passes.
func TestTableBounds(t *testing.T) {
	t.Parallel()
	t.Run("forged mail of one domain", func(t *testing.T) {
		t.Parallel()
		tab := newTable(time.Time{})
		for i := range 1500 {
			tab.add(newRow("bank.example", i, false))
		}
		if tab.size > maxOrg/2 || tab.dropped == 0 {
			t.Fatalf("%d bytes, %d dropped", tab.size, tab.dropped)
		}
		for i := range 500 {
			tab.add(newRow("bank.example", i, true))
		}
		if d := tab.domains["bank.example"]; !d.passed || uint64(len(d.rows))+tab.dropped != 2000 || tab.size > maxOrg {
			t.Errorf("%d rows, %d dropped, %d bytes", len(d.rows), tab.dropped, tab.size)
		}
		if dropped := tab.dropped; dropped > 0 {
			tab.add(newRow("bank.example", 1, true))
			if tab.dropped != dropped {
				t.Error("a message that passes was dropped")
			}
		}
	})
	t.Run("domains of one organisation", func(t *testing.T) {
		t.Parallel()
		tab := newTable(time.Time{})
		for i := range 1000 {
			tab.add(newRow(fmt.Sprintf("d%d.evil.example", i), i, true))
		}
		if len(tab.domains) != maxDomains || tab.dropped != 1000-maxDomains {
			t.Errorf("%d domains, %d dropped", len(tab.domains), tab.dropped)
		}
	})
	t.Run("domains that only attack make room", func(t *testing.T) {
		t.Parallel()
		tab := newTable(time.Time{})
		tab.limit = maxOrg
		tab.add(newRow("bank.example", 1, true))
		for i := range 4 {
			for n := range 1500 {
				tab.add(newRow(fmt.Sprintf("evil%d.example", i), n, false))
			}
		}
		if tab.size > tab.limit || tab.size < tab.limit/2 {
			t.Errorf("%d bytes", tab.size)
		}
		for i := range 100 {
			tab.add(newRow(fmt.Sprintf("honest%d.example", i), 1, true))
		}
		passed := 0
		sum := 0
		for _, d := range tab.domains {
			sum += d.size
			if d.passed {
				passed++
			}
		}
		if passed != 101 || sum != tab.size || tab.size > tab.limit {
			t.Errorf("%d domains with a pass, %d bytes in them, %d in all", passed, sum, tab.size)
		}
	})
}

// TestFullTable tests that a full table has no domains without rows.
func TestFullTable(t *testing.T) {
	t.Parallel()
	tab := newTable(time.Time{})
	tab.limit = 10 << 10
	for i := range 1000 {
		tab.add(newRow(fmt.Sprintf("honest%d.example", i), 1, true))
	}
	passing := len(tab.domains)
	for i := range 1000 {
		tab.add(newRow(fmt.Sprintf("forged%d.example", i), 1, false))
	}
	if passing == 1000 || len(tab.domains) != passing || len(tab.orgs) != passing || tab.dropped != uint64(2000-passing) || tab.size > tab.limit {
		t.Errorf("%d domains, %d of them with a pass, %d organisations, %d dropped, %d bytes", len(tab.domains), passing, len(tab.orgs), tab.dropped, tab.size)
	}
}

// FuzzRow tests that a row is short whatever a sender puts into it, and that it is read from the store as it was written.
func FuzzRow(f *testing.F) {
	f.Add("example.com", "example.net", "s1", "pass", 3)
	f.Add(strings.Repeat("\x00", 253), "\"\\<&\xff", strings.Repeat("\u2028", 60), "fail", 9)
	f.Fuzz(func(t *testing.T, from, sender, selector, result string, signatures int) {
		cut := func(s string) string { return checks.Clean(s, 253) } // as names are
		r := aggregate.Record{
			Source: netip.MustParseAddr("2001:db8::1"), Disposition: "none", HeaderFrom: cut(from), EnvelopeFrom: cut(sender), Sender: aggregate.SPFResult{Domain: cut(sender), Result: "pass"},
		}
		for range max(0, signatures) % 10 {
			r.Signatures = append(r.Signatures, aggregate.Signature{Domain: cut(sender), Selector: cut(selector), Result: cut(result)})
		}
		text := encodeRow(&r)
		if len(text) > maxRow {
			t.Errorf("%d bytes: %s", len(text), text)
		}
		got, err := decodeRow(text)
		if err != nil {
			t.Fatal(err)
		}
		if again := encodeRow(&got); again != text {
			t.Errorf("%s\nbecomes %s", text, again)
		}
		if len(r.Signatures) > 0 && !reflect.DeepEqual(got, r) {
			t.Errorf("%+v becomes %+v", r, got)
		}
		document, err := (&aggregate.Report{Begin: time.Unix(1, 0), End: time.Unix(2, 0), Policy: aggregate.Policy{Domain: "example.com"}, Records: []aggregate.Record{{
			Source: r.Source, Count: 1, HeaderFrom: r.HeaderFrom, EnvelopeFrom: r.EnvelopeFrom, Signatures: r.Signatures,
		}}}).Write()
		if err != nil {
			t.Fatal(err)
		}
		if report, err := aggregate.Parse(document); err != nil || len(report.Records) != 1 {
			t.Errorf("%v: %s", err, document)
		}
	})
}
