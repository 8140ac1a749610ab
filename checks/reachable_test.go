package checks_test

import (
	"net/netip"
	"strings"
	"testing"

	"milterd/checks"
)

func TestGloballyReachable(t *testing.T) {
	t.Parallel()
	// The first and last address of each block, and neighbours of some.
	const reachable = `
		1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 172.15.255.255 172.32.0.0
		192.0.0.9 192.0.0.10 192.0.1.0 192.0.3.0 192.31.196.1 192.52.193.1 192.88.99.1 192.88.99.3 192.167.255.255 192.169.0.0
		192.175.48.1 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
		2606:4700::1111 64:ff9b::808:808 64:ff9b:0:0:0:0:ffff:ffff 2001::1 2001:0:ffff:: 2001:1::1 2001:1::2 2001:1::3
		2001:3::1 2001:4:112::1 2001:20::1 2001:2f:ffff:: 2001:30::1 2001:3f:ffff:: 2001:200:: 2001:db7:ffff:: 2001:db9::
		2002:c000:201:: 2620:4f:8000::1 3ffe:: 3fff:1000:: 2a00:1450::1`
	const unreachable = `
		0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 169.254.0.1
		172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.7 192.0.0.8 192.0.0.11 192.0.0.170 192.0.0.171 192.0.0.255 192.0.2.1
		192.88.99.2 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.255 224.0.0.1
		239.255.255.255 240.0.0.0 255.255.255.255
		64:ff9b:2:: 1fff:: 4000::1 ::8.8.8.8 ::ffff:0:8.8.8.8 :: ::1 ::ffff:8.8.8.8 64:ff9b:1::1 100::1 100:0:0:1::1 2001:1::4 2001:2::1 2001:4:113:: 2001:5:: 2001:10::1
		2001:1ff:ffff:: 2001:db8::1 2001:db8:ffff:: 3fff::1 3fff:fff:: 5f00::1 fc00::1 fdff:: fe80::1 fe80::1%eth0 febf::
		fec0::1 ff02::1`
	for list, want := range map[string]bool{reachable: true, unreachable: false} {
		for _, text := range strings.Fields(list) {
			if got := checks.GloballyReachable(netip.MustParseAddr(text)); got != want {
				t.Errorf("%s: got %v, want %v", text, got, want)
			}
		}
	}
	if checks.GloballyReachable(netip.Addr{}) {
		t.Error("no address is reachable")
	}
}

// TestMayDial tests that no way to write a private address reaches it, and that no way to write a public one is needed.
func TestMayDial(t *testing.T) {
	t.Parallel()
	own := []netip.Addr{netip.MustParseAddr("192.31.196.99"), netip.MustParseAddr("2620:4f:8000::99")}
	for _, c := range []struct {
		addrs            string
		allowed, private bool // without and with private
	}{
		{"192.31.196.10 2620:4f:8000::10 64:ff9b::192.31.196.10", true, true},
		{"127.0.0.1 127.1.2.3 10.0.0.1 172.20.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1 198.18.0.1 240.0.0.1 0.1.2.3", false, true},
		{"::1 fe80::1 fe80::1%eth0 fd00::1 fec0::1 2001:db8::1 100::1 4000::1", false, true},
		{"64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254", false, true},
		{"0.0.0.0 :: 224.0.0.1 ff02::1 255.255.255.255 64:ff9b::255.255.255.255 64:ff9b::0.0.0.0 64:ff9b::224.0.0.1", false, false},
		{"192.31.196.99 2620:4f:8000::99 64:ff9b::192.31.196.99", false, false},
		{"::127.0.0.1 ::10.0.0.1 ::192.31.196.10 ::2", false, false},
		{"::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:192.31.196.10", false, false},
		{"::ffff:0:127.0.0.1 ::ffff:0:10.0.0.1 ::ffff:0:192.31.196.10", false, false},
		{"64:ff9b:1::127.0.0.1 64:ff9b:1:a00:1::", false, false},
		{"2002:7f00:1::1 2002:a00:1:: 2002:c01f:c40a::1", false, false},
		{"2001::1 2001:0:a00:1:: 2001:0:c01f:c40a:0:0:80ff:fffe", false, false},
	} {
		for _, text := range strings.Fields(c.addrs) {
			a := netip.MustParseAddr(text)
			if got := checks.MayDial(a, own, false); got != c.allowed {
				t.Errorf("%s: %t", text, got)
			}
			if got := checks.MayDial(a, own, true); got != c.private {
				t.Errorf("%s, with private addresses: %t", text, got)
			}
		}
	}
	if checks.MayDial(netip.Addr{}, nil, true) {
		t.Error("no address may be dialled")
	}
}

func BenchmarkGloballyReachable(b *testing.B) {
	addr := netip.MustParseAddr("2a00:1450:4001:82a::1")
	b.ReportAllocs()
	for b.Loop() {
		if !checks.GloballyReachable(addr) {
			b.Fatal("not reachable")
		}
	}
}
