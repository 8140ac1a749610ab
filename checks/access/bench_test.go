package access_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/access"
	"milterd/checks/checktest"
)

// manyEntries returns a list of n entries, a sixth of each kind. It is the same for the same n.
func manyEntries(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range n {
		a := netip.AddrFrom4([4]byte{byte(r.IntN(180) + 1), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
		switch i % 6 {
		case 0:
			fmt.Fprintln(&b, a)
		case 1:
			fmt.Fprintln(&b, netip.PrefixFrom(a, 16+r.IntN(16)), `why="seen in traps" until=2027-01-31`)
		case 2:
			fmt.Fprintf(&b, "2001:db8:%x:%x::/64\n", r.IntN(1<<16), r.IntN(1<<16))
		case 3:
			fmt.Fprintf(&b, "host%d.sub%d.example.net\n", i, r.IntN(1000))
		case 4:
			fmt.Fprintf(&b, ".domain%d.example\n", i)
		case 5:
			fmt.Fprintf(&b, "user%d@example%d.com\n", i, r.IntN(1000))
		}
	}
	return b.String()
}

// stranger is on no list, so everything is looked up.
var stranger = checktest.Session{Client: "198.51.100.77", Helo: "mail.elsewhere.example.org", MailFrom: "someone@elsewhere.example.org"}

const strangerZone = "77.100.51.198.in-addr.arpa. PTR mail.elsewhere.example.org.\nmail.elsewhere.example.org. A 198.51.100.77"

// BenchmarkSession checks one transaction. ns/op must be about the same for 10 entries and for 100 000.
func BenchmarkSession(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			check := build(b, checktest.Env(b, strangerZone), manyEntries(n), "")
			r := stranger.Request(b)
			r.Stage = checks.MailFrom
			ask(b, check, r) // remembers the names of the client
			b.ReportAllocs()
			for b.Loop() {
				ask(b, check, r)
			}
		})
	}
}

// BenchmarkRead reads a list of 100 000 entries. No session waits for it.
func BenchmarkRead(b *testing.B) {
	file := write(b, manyEntries(100_000))
	for b.Loop() {
		checktest.Build(b, access.Info, checktest.Env(b, ""), func(s *access.Settings) { s.Deny = []string{file} })
	}
}

func ask(tb testing.TB, check checks.Check, r *checks.Request) {
	if vs, err := check.Check(context.Background(), r); len(vs) > 0 || err != nil {
		tb.Fatal(vs, err)
	}
}

// TestManyEntriesAreFast fails if a lookup goes through the whole list: if it takes ten times as long in a list of 30,000
// entries as in one of 100. The fastest lookups are compared, as other work of the machine makes the others slow.
func TestManyEntriesAreFast(t *testing.T) {
	t.Parallel()
	r := stranger.Request(t)
	r.Stage = checks.MailFrom
	fastest := func(entries int) time.Duration {
		check := build(t, checktest.Env(t, strangerZone), manyEntries(entries), "")
		if c := check.(checks.Maintainer).Report()[0]; c.Counts["entries"] != uint64(entries) || c.Counts["left_out"] != 0 {
			t.Fatalf("got %+v", c)
		}
		least := time.Hour
		for range 1000 {
			began := time.Now()
			ask(t, check, r)
			least = min(least, time.Since(began))
		}
		return least
	}
	if few, many := fastest(100), fastest(30_000); many > 10*few {
		t.Errorf("a session takes %s with 100 entries, %s with 30,000", few, many)
	}
}
