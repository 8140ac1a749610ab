package tls_test

import (
	"slices"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/tls"
)

func TestSessionsWithAndWithoutTLS(t *testing.T) {
	t.Parallel()
	c := checktest.Build[checks.NoSettings](t, tls.Info, checktest.Env(t, ""), nil)
	for _, tc := range []struct {
		name   string
		macros map[string]string
		want   []string
	}{
		{name: "TLS", macros: map[string]string{"{client_addr}": "192.0.2.9", "{tls_version}": "TLSv1.3"}, want: []string{}},
		{name: "no TLS", macros: map[string]string{"{client_addr}": "192.0.2.9"}, want: []string{"no-tls"}},
		{name: "unknown", macros: map[string]string{"i": "4711"}, want: []string{}},
	} {
		s := checktest.Session{Client: "192.0.2.9", Helo: "mail.example.net", MailFrom: "a@example.net"}.Session(t)
		s.Macros = tc.macros
		vs, err := checktest.Ask(t, tls.Info, c, checks.NewRequest(s, checks.MailFrom))
		if got := checktest.IDs(vs); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
}
