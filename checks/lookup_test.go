package checks_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestLookupAllKeepsTheOrder(t *testing.T) {
	t.Parallel()
	z := checktest.NewZone(t, "a.example.net. A 192.0.2.1\n!SERVFAIL b.example.net\nc.example.net. AAAA 2001:db8::1")
	a, b, c := checks.Ask("a.example.net", 1), checks.Ask("b.example.net", 1), checks.Ask("c.example.net", 28)
	results := checks.LookupAll(t.Context(), z, a, b, c)
	if len(results) != 3 || !hasAddress(results[0], "192.0.2.1") || !errors.Is(results[1].Err, checktest.ErrServFail) ||
		!hasAddress(results[2], "2001:db8::1") {
		t.Errorf("got %v", results)
	}
	if results := checks.LookupAll(t.Context(), z); len(results) != 0 {
		t.Errorf("without a question, got %v", results)
	}
}

func hasAddress(r checks.LookupResult, addr string) bool {
	return slices.Equal(checks.Addresses(r.Answer), []netip.Addr{netip.MustParseAddr(addr)})
}

// panicking is a resolver with a bug.
type panicking struct{}

func (panicking) Lookup(context.Context, checks.Question) (checks.Answer, error) { panic("bug") }

// TestLookupAllReturnsPanicsAsErrors covers goroutines, where a panic would end the daemon.
func TestLookupAllReturnsPanicsAsErrors(t *testing.T) {
	t.Parallel()
	q := checks.Ask("example.net", 1)
	for _, r := range checks.LookupAll(t.Context(), panicking{}, q, q) {
		if _, ok := errors.AsType[*checks.PanicError](r.Err); !ok {
			t.Errorf("got %v", r.Err)
		}
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "plain": "plain", `a\.b`: "a.b", `\"x\"`: `"x"`, `\\`: `\`, `\195\164`: "ä", `\0651`: "A1",
		`\`: `\`, `\9`: "9", `\99`: "99", `\256`: "256", `\1a2`: "1a2",
	} {
		if got := checks.Unescape(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
