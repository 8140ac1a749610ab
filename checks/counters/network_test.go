package counters

import (
	"net/netip"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
)

// TestNetworkBlock tests that the block of a network holds for its clients, and for no other.
func TestNetworkBlock(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	now := checktest.Now
	for _, n := range []string{"192.0.2.0/24", "2001:db8::/48"} {
		if _, err := Block(t.Context(), store, netip.MustParsePrefix(n), now, time.Hour, "a wave"); err != nil {
			t.Fatal(err)
		}
	}
	for client, want := range map[string]string{
		"192.0.2.9": "192.0.2.0/24", "192.0.3.9": "", "2001:db8:0:7::1": "2001:db8::/48", "2001:db8:1::1": "",
	} {
		b, err := Covering(t.Context(), store, checks.ClientOf(netip.MustParseAddr(client)), now)
		got := ""
		if b != nil {
			got = b.Client.String()
		}
		if got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", client, got, err, want)
		}
	}
	c := checktest.Build[Settings](t, Info, envWith(t, store), nil)
	vs, err := checktest.Ask(t, Info, c, checktest.Session{Client: "192.0.2.9", MailFrom: "a@example.net"}.Request(t))
	if err != nil || len(vs) != 1 || vs[0].Detail["network"] != "192.0.2.0/24" || vs[0].Detail["why"] != "a wave" {
		t.Errorf("verdicts %+v, %v", vs, err)
	}
	if ok, err := Unblock(t.Context(), store, netip.MustParsePrefix("192.0.2.0/24"), "", now); !ok || err != nil {
		t.Errorf("unblocked %v, %v", ok, err)
	}
	if b, err := Covering(t.Context(), store, netip.MustParsePrefix("192.0.2.9/32"), now); b != nil || err != nil {
		t.Errorf("after the end: %+v, %v", b, err)
	}
	for _, wide := range []string{"0.0.0.0/0", "10.0.0.0/7", "2001::/16"} {
		if _, err := Block(t.Context(), store, netip.MustParsePrefix(wide), now, time.Hour, ""); err == nil {
			t.Errorf("%s was blocked", wide)
		}
	}
}

// envWith returns an environment with a store.
func envWith(t *testing.T, store checks.Store) checks.Env {
	t.Helper()
	env := checktest.Env(t, "")
	env.Store = store
	return env
}

// TestEndedBlockOfANetwork tests that a block that has ended does not hide that of a wider network, although the store still has it:
// the clock of the store may be another one.
func TestEndedBlockOfANetwork(t *testing.T) {
	t.Parallel()
	store, now := checktest.NewStore(nil), checktest.Now
	for n, d := range map[string]time.Duration{"192.0.2.0/24": time.Hour, "192.0.0.0/16": 3 * time.Hour} {
		if _, err := Block(t.Context(), store, netip.MustParsePrefix(n), now, d, ""); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[time.Duration]string{0: "192.0.2.0/24", 2 * time.Hour: "192.0.0.0/16"} {
		b, err := Covering(t.Context(), store, netip.MustParsePrefix("192.0.2.9/32"), now.Add(at))
		if b == nil || b.Client.String() != want || err != nil {
			t.Errorf("after %s: %+v, %v; want %s", at, b, err, want)
		}
	}
}
