package facts

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestSpelled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr, name string
		want       bool
	}{
		{"192.0.2.77", "dsl-192-0-2-77.example.net", true},
		{"192.0.2.77", "77.2.0.192.pool.example.net", true},
		{"192.0.2.77", "h77-n2.0.192.example.net", true},
		{"192.0.2.77", "2-77.192-0.example.net", true},
		{"192.0.2.77", "host192000002077.example.net", true},
		{"192.0.2.77", "077002000192.example.net", true},
		{"192.0.2.77", "p192000.d002077.example.net", true},
		{"192.0.2.77", "ip-0-2-77.example.net", true},
		{"192.0.2.77", "ip-77-2-0.example.net", true},
		{"192.0.2.77", "C000024D.example.net", true},
		{"192.0.2.77", "xc0-00-02-4d.example.net", true},
		{"192.0.2.77", "4d0200c0.example.net", true},
		{"192.0.2.77", "n3221226061.example.net", true},
		{"192.0.2.77", "mail77.example.net", false},
		{"192.0.2.77", "mail2-77.example.net", false},
		{"192.0.2.77", "192-0-2-78.example.net", false},
		{"192.0.2.77", "1921-0-2-770.example.net", false},
		{"192.0.2.77", "mail.example.net", false},
		{"192.0.2.77", "", false},
		{"54.240.8.50", "a8-50.smtp-out.amazonses.com", false},
		{"209.85.128.41", "mail-wm1-f41.google.com", false},
		{"40.107.0.89", "mail-eopbgr00089.outbound.protection.outlook.com", false},
		{"2001:db8::211:22ff:fe33:4455", "2001-db8--211-22ff-fe33-4455.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "2001-db8-0-0-211-22ff-fe33-4455.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "20010db800000000021122fffe334455.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "5.5.4.4.3.3.e.f.f.f.2.2.1.1.2.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.example.net", true},
		{"2001:db8::211:22ff:fe33:4455", "cpe-0211-22ff-fe33-4455.example.net", true},
		{"2001:db8::5", "2001-db8--5.example.net", true},
		{"2001:db8::5", "2001-db8--51.example.net", false},
		{"2001:db8::5", "mail-0000000000000005.example.net", false},
		{"2001:db8::5", "mail5.example.net", false},
		{"::ffff:192.0.2.77", "192-0-2-77.example.net", true},
	} {
		t.Run(c.addr+" "+c.name, func(t *testing.T) {
			t.Parallel()
			if got := spelled(netip.MustParseAddr(c.addr), c.name); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if spelled(netip.Addr{}, "0-0-0-0.example.net") {
		t.Error("an invalid address is spelled")
	}
}

func FuzzSpelled(f *testing.F) {
	f.Add([]byte{192, 0, 2, 77}, "dsl-192-0-2-77")
	f.Add([]byte{0, 0, 0, 0}, "0")
	f.Add([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 2, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55}, "2001-db8--211-22ff-fe33-4455")
	f.Fuzz(func(t *testing.T, addr []byte, name string) {
		a, ok := netip.AddrFromSlice(addr)
		if !ok {
			return
		}
		spelled(a, name)
		if a = a.Unmap(); a.Is4() {
			o := a.As4()
			for _, form := range []string{"%d-%d-%d-%d", "%03d%03d%03d%03d", "%02x%02x%02x%02x", "%03d.%03d.%03d.%03d"} {
				if n := "x" + fmt.Sprintf(form, o[0], o[1], o[2], o[3]) + ".example.net"; !spelled(a, n) {
					t.Errorf("%s is not found in %s", a, n)
				}
				if n := fmt.Sprintf(form, o[3], o[2], o[1], o[0]) + "-pool.example.net"; !spelled(a, n) {
					t.Errorf("%s is not found in %s", a, n)
				}
			}
		} else if n := fmt.Sprintf("%x.example.net", a.As16()); !spelled(a, n) {
			t.Errorf("%s is not found in %s", a, n)
		}
	})
}
