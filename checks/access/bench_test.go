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

// manyEntries is a list of n entries, a sixth of each kind, with the same ones for the same n.
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

// stranger is on no list, so that all entries speak of somebody else: the longest way.
var stranger = checktest.Session{Client: "198.51.100.77", Helo: "mail.elsewhere.example.org", MailFrom: "someone@elsewhere.example.org"}

const strangerZone = "77.100.51.198.in-addr.arpa. PTR mail.elsewhere.example.org.\nmail.elsewhere.example.org. A 198.51.100.77"

// BenchmarkSession is a transaction of a stranger: ns/op must be about the same for 10 entries and for 100 000.
func BenchmarkSession(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			check := build(b, checktest.Env(b, strangerZone), manyEntries(n), "")
			s := stranger.Request(b)
			s.Stage = checks.MailFrom
			ask(b, check, s) // the names of the client are remembered from here on
			b.ReportAllocs()
			for b.Loop() {
				ask(b, check, s)
			}
		})
	}
}

// BenchmarkRead is how long the daemon, and no mail, is busy with a list of 100 000 entries that has changed.
func BenchmarkRead(b *testing.B) {
	file := write(b, manyEntries(100_000))
	for b.Loop() {
		checktest.Build(b, access.Info, checktest.Env(b, ""), func(s *access.Settings) { s.Deny = []string{file} })
	}
}

func ask(tb testing.TB, check checks.Check, s *checks.Request) {
	if vs, err := check.Check(context.Background(), s); len(vs) > 0 || err != nil {
		tb.Fatal(vs, err)
	}
}

// TestManyEntriesCostNoTime leaves much room for slow machines, but none for going through the list.
func TestManyEntriesCostNoTime(t *testing.T) {
	t.Parallel()
	check := build(t, checktest.Env(t, strangerZone), manyEntries(100_000), "")
	if c := check.(checks.Maintainer).Report()[0]; c.Counts["entries"] != 100_000 || c.Counts["left_out"] != 0 {
		t.Fatalf("got %+v", c)
	}
	s := stranger.Request(t)
	s.Stage = checks.MailFrom
	began := time.Now()
	const times = 5000
	for range times {
		ask(t, check, s)
	}
	if took := time.Since(began); took > times*200*time.Microsecond {
		t.Errorf("%s for one session", took/times)
	}
}
