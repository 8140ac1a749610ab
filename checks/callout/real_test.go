package callout

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/milter/miltertest"
)

// TestRealMailHosts asks a real Postfix and a real Sendmail about addresses that exist, and about one that does not.
func TestRealMailHosts(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, "")
	for _, m := range []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)} {
		t.Run(m.Name, func(t *testing.T) {
			at := netip.MustParseAddrPort(m.Open)
			l := &lab{t: t, env: checktest.Env(t, "mx.test. MX 10 host.mx.test.\nhost.mx.test. A "+at.Addr().String())}
			l.env.Dial = new(net.Dialer).DialContext
			s := defaults()
			s.Port, s.AllowPrivate = int(at.Port()), true
			l.c = build(s, l.env)
			l.want("a user", l.mail("alice@mx.test"), "")
			l.want("another user", l.mail("postmaster@mx.test"), "")
			o := l.mail("nobody-of-that-name@mx.test")
			l.want("an unknown user", o, "callout-rejected")
			if !strings.HasPrefix(o.detail["reply"], "550 5.1.1 ") {
				t.Errorf("detail %v", o.detail)
			}
			t.Logf("%v", o.detail)
		})
	}
}
