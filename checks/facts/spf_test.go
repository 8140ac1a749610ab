package facts_test

import (
	"testing"

	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/checks/facts/spf"
)

func TestSPFIdentities(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		session checktest.Session
		id      spf.Identity
		domain  string
	}{
		{"MAIL FROM", checktest.Session{MailFrom: "user@Example.net", Helo: "mail.example.com"}, spf.MailFrom, "example.net"},
		{"MAIL FROM with U-labels", checktest.Session{MailFrom: "user@bücher.example"}, spf.MailFrom, "xn--bcher-kva.example"},
		{"MAIL FROM with an address literal", checktest.Session{MailFrom: "user@[192.0.2.9]", Helo: "mail.example.com"}, spf.MailFrom, ""},
		{"null reverse-path", checktest.Session{Helo: "Mail.example.com."}, spf.Helo, "mail.example.com"},
		{"null reverse-path without HELO", checktest.Session{}, spf.Helo, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.session.Client = "192.0.2.9"
			got, err := facts.MailFromSPF(t.Context(), checktest.Env(t, ""), c.session.Request(t))
			if got.Identity != c.id || got.Domain != c.domain || err != nil {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// TestSPFMacros uses every value that an evaluation needs of the session.
func TestSPFMacros(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, `example.net TXT "v=spf1 -all exp=why.example.net"`+"\n"+`why.example.net TXT "%{l} %{h} %{c} %{r} %{t}"`)
	r := checktest.Session{Client: "192.0.2.9", Helo: "mail.example.com", MailFrom: "user@example.net"}.Request(t)
	got, err := facts.MailFromSPF(t.Context(), env, r)
	if want := "user mail.example.com 192.0.2.9 mx.example.org 1795262400"; got.Explanation != want || err != nil {
		t.Errorf("got %q, %v, want %q", got.Explanation, err, want)
	}
}

func TestSPFIsRemembered(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, `example.net TXT "v=spf1 ip4:192.0.2.9 mx -all"`)
	rec := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = rec
	r := checktest.Session{Client: "192.0.2.9", Helo: "mail.example.com", MailFrom: "user@example.net"}.Request(t)
	for range 2 {
		_, _ = facts.MailFromSPF(t.Context(), env, r)
		_, _ = facts.HeloSPF(t.Context(), env, r)
	}
	for _, q := range []string{"example.net. TXT", "mail.example.com. TXT"} {
		if n := rec.Times(q); n != 1 {
			t.Errorf("%s was asked %d times", q, n)
		}
	}
	if asked := rec.Asked(); len(asked) != 2 {
		t.Errorf("asked %v", asked)
	}
}
