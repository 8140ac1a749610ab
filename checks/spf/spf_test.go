package spf_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/spf"
)

const (
	heloOK = `mail.example.com TXT "v=spf1 a -all"
mail.example.com A 192.0.2.9
mail.example.com AAAA 2001:db8::9
`
	client = "192.0.2.9"
	helo   = "mail.example.com"
	sender = "user@example.net"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	mail := checktest.Session{Client: client, Helo: helo, MailFrom: sender}
	bounce := checktest.Session{Client: client, Helo: helo}
	six := checktest.Session{Client: "2001:db8::9", Helo: helo, MailFrom: sender}
	stranger := checktest.Session{Client: "198.51.100.7", Helo: helo, MailFrom: sender}
	for _, c := range []struct {
		name    string
		session checktest.Session
		zone    string
		want    []string // reasons
		text    string   // of the first one's reply, as the pipeline fills it
		fails   bool     // returns an error
	}{
		{name: "pass", session: mail, zone: heloOK + `example.net TXT "v=spf1 ip4:192.0.2.0/24 -all"`},
		{name: "pass of an IPv6 client", session: six, zone: heloOK + `example.net TXT "v=spf1 ip6:2001:db8::/64 -all"`},
		{name: "pass of an authenticated client", zone: heloOK + `example.net TXT "v=spf1 mx -all"` + "\nexample.net MX 0 mail.example.com",
			session: checktest.Session{Client: client, Helo: helo, MailFrom: sender, Auth: "user"}},
		{name: "neutral", session: mail, zone: heloOK + `example.net TXT "v=spf1 mx ?all"`},
		{name: "fail", session: mail, zone: heloOK + `example.net TXT "v=spf1 ip4:192.0.2.1 -all"`,
			want: []string{"spf-fail"}, text: "192.0.2.9 may not send mail for example.net (SPF: -all)"},
		{name: "fail of an IPv6 client", session: six, zone: heloOK + `example.net TXT "v=spf1 ip4:192.0.2.0/24 -all"`,
			want: []string{"spf-fail"}, text: "2001:db8::9 may not send mail for example.net (SPF: -all)"},
		{name: "fail of an authenticated client", zone: heloOK + `example.net TXT "v=spf1 mx -all"`,
			session: checktest.Session{Client: client, Helo: helo, MailFrom: sender, Auth: "user"},
			want:    []string{"spf-fail"}},
		{name: "fail by redirect= with an explanation", session: mail,
			zone: heloOK + "example.net TXT \"v=spf1 redirect=_spf.example.com exp=no.example.net\"\n" +
				"_spf.example.com TXT \"v=spf1 ip4:192.0.2.1 -all exp=why.example.com\"\n" +
				"why.example.com TXT \"%{i} is not ours, see http://example.com/?s=%{S}\"",
			want: []string{"spf-fail"},
			text: "192.0.2.9 may not send mail for example.net (SPF: -all of _spf.example.com); " +
				"example.net explains: 192.0.2.9 is not ours, see http://example.com/?s=user%40example.net"},
		{name: "fail, and the explanation cannot be looked up", session: mail,
			zone: heloOK + "!SERVFAIL why.example.net\nexample.net TXT \"v=spf1 mx -all exp=why.example.net\"",
			want: []string{"spf-fail"}, text: "192.0.2.9 may not send mail for example.net (SPF: -all)"},
		{name: "no mail", session: mail, zone: heloOK + `example.net TXT "v=spf1 -all"`,
			want: []string{"spf-no-mail"}, text: "example.net says that it sends no mail (SPF: v=spf1 -all)"},
		{name: "too wide", session: mail, zone: heloOK + `example.net TXT "v=spf1 +all"`,
			want: []string{"spf-too-wide"}, text: "the SPF record of example.net lets any host send its mail: +all"},
		{name: "pass, and too wide is not known", session: mail,
			zone: heloOK + "!TIMEOUT example.com\nexample.net TXT \"v=spf1 ip4:192.0.2.9 include:example.com -all\""},
		{name: "softfail", session: mail, zone: heloOK + `example.net TXT "v=spf1 ~all"`,
			want: []string{"spf-softfail"}, text: "192.0.2.9 probably may not send mail for example.net (SPF: ~all)"},
		{name: "none", session: mail, zone: heloOK + `example.net TXT "hello"`,
			want: []string{"spf-none"}, text: "example.net publishes no SPF record"},
		{name: "permerror", session: mail, zone: heloOK + `example.net TXT "v=spf1 include -all"`,
			want: []string{"spf-permerror"},
			text: `the SPF policy of example.net has an error: in the record of example.net: "include": a domain must follow, after a colon`},
		{name: "temperror after a time-out", session: mail, zone: heloOK + "!TIMEOUT example.net TXT\nexample.net TXT \"v=spf1 -all\"",
			want: []string{"spf-temperror"},
			text: "the SPF policy of example.net could not be looked up: the DNS does not answer for example.net. TXT"},
		{name: "temperror after SERVFAIL for an include:", session: mail, zone: heloOK + "!SERVFAIL example.com\nexample.net TXT \"v=spf1 include:example.com -all\"",
			want: []string{"spf-temperror"}},

		{name: "HELO fail", session: stranger, zone: heloOK + `example.net TXT "v=spf1 ip4:198.51.100.7"`,
			want: []string{"spf-helo-fail"}, text: "198.51.100.7 may not call itself mail.example.com (SPF: -all)"},
		{name: "HELO fail and MAIL FROM fail", session: stranger, zone: heloOK + `example.net TXT "v=spf1 mx -all"`,
			want: []string{"spf-helo-fail", "spf-fail"}},
		{name: "HELO name that sends no mail", session: bounce, zone: `mail.example.com TXT "v=spf1 -all"`,
			want: []string{"spf-helo-fail"}},
		{name: "HELO softfail has no reason", session: bounce, zone: `mail.example.com TXT "v=spf1 ~all"`},
		{name: "HELO permerror has no reason", session: bounce, zone: `mail.example.com TXT "v=spf1 moo"`},
		{name: "HELO +all has no reason", session: bounce, zone: `mail.example.com TXT "v=spf1 +all"`},
		{name: "HELO temperror is an error", session: bounce, zone: "!TIMEOUT mail.example.com", fails: true},
		{name: "HELO is an address literal", session: checktest.Session{Client: client, Helo: "[192.0.2.1]"}, zone: heloOK},
		{name: "HELO is our own name", session: checktest.Session{Client: client, Helo: "MX.example.org."}, zone: `mx.example.org TXT "v=spf1 -all"`},
		{name: "HELO is a local domain", session: checktest.Session{Client: client, Helo: "example.org"}, zone: `example.org TXT "v=spf1 -all"`},
		{name: "null reverse-path, HELO passes", session: bounce, zone: heloOK},
		{name: "null reverse-path, HELO without policy", session: bounce, zone: "mail.example.com A 192.0.2.9"},
		{name: "null reverse-path, HELO fails", session: checktest.Session{Client: "198.51.100.7", Helo: helo}, zone: heloOK, want: []string{"spf-helo-fail"}},
		{name: "address literal in MAIL FROM", session: checktest.Session{Client: client, Helo: helo, MailFrom: "user@[192.0.2.9]"}, zone: heloOK},
		{name: "client without address", session: checktest.Session{Helo: helo, MailFrom: sender}, zone: heloOK + `example.net TXT "v=spf1 -all"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, c.zone)
			check := checktest.Build[checks.NoSettings](t, spf.Info, env, nil)
			r := c.session.Request(t)
			verdicts, err := checktest.Ask(t, spf.Info, check, r)
			if got := checktest.IDs(verdicts); !slices.Equal(got, append([]string{}, c.want...)) {
				t.Fatalf("reasons %v, want %v", got, c.want)
			}
			if (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			if c.text != "" {
				if got := text(verdicts[0], r); got != c.text {
					t.Errorf("reply %q\n want %q", got, c.text)
				}
			}
		})
	}
}

// text returns the text of a reply with its placeholders filled.
func text(v checks.Verdict, r *checks.Request) string {
	pairs := []string{"{client}", r.Client.String(), "{helo}", r.Helo}
	for k, value := range v.Detail {
		pairs = append(pairs, "{"+k+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(v.Reason.Reply.Text)
}

// TestExpiredContext tests that there is an error, and no verdict that can refuse mail for good.
func TestExpiredContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	check := checktest.Build[checks.NoSettings](t, spf.Info, checktest.Env(t, `example.net TXT "v=spf1 -all"`), nil)
	r := checktest.Session{Client: client, Helo: helo, MailFrom: sender}.Request(t)
	for stage, want := range map[checks.Stage][]string{checks.Helo: {}, checks.MailFrom: {"spf-temperror"}} {
		r.Stage = stage
		verdicts, err := check.Check(ctx, r)
		if got := checktest.IDs(verdicts); !slices.Equal(got, want) || err == nil {
			t.Errorf("%s: %v, %v", stage, got, err)
		}
		for _, v := range verdicts {
			if v.Reason.Reply.Code >= 500 {
				t.Errorf("%s: %d", stage, v.Reason.Reply.Code)
			}
		}
	}
}

// TestSlowServers tests that there is an error if the time for the policy of MAIL FROM ran out, whatever is not known of it.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, record string
		want         []string
	}{
		{"the result", "v=spf1 include:slow.example.com -all", []string{"spf-temperror"}},
		{"whether a pass is too wide", "v=spf1 ip4:192.0.2.9 include:slow.example.com -all", []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
				defer cancel()
				env := checktest.Env(t, "example.net TXT \""+c.record+"\"")
				env.DNS = checktest.Silent{Resolver: env.DNS, About: checktest.Below("slow.example.com")}
				r := checktest.Session{Client: client, Helo: helo, MailFrom: sender}.Request(t)
				r.Stage = checks.MailFrom
				verdicts, err := checktest.Build[checks.NoSettings](t, spf.Info, env, nil).Check(ctx, r)
				if got := checktest.IDs(verdicts); !slices.Equal(got, c.want) || err == nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		})
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	check := checktest.Build[checks.NoSettings](t, spf.Info, checktest.Env(t, ""), nil).(checks.Prefetcher)
	mail := checktest.Session{Client: client, Helo: helo, MailFrom: sender}
	for _, c := range []struct {
		name    string
		session checktest.Session
		stage   checks.Stage
		want    string
	}{
		{"nothing at connect", mail, checks.Connect, ""},
		{"HELO name", mail, checks.Helo, "mail.example.com. TXT"},
		{"sender's domain", mail, checks.MailFrom, "example.net. TXT"},
		{"null reverse-path", checktest.Session{Client: client, Helo: helo}, checks.MailFrom, ""},
		{"our own name", checktest.Session{Client: client, Helo: "mx.example.org"}, checks.Helo, ""},
		{"address literal", checktest.Session{Client: client, Helo: "[192.0.2.9]"}, checks.Helo, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := c.session.Request(t)
			r.Stage = c.stage
			got := ""
			for _, q := range check.Prefetch(r) {
				got += q.String()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	env := checktest.Env(b, heloOK+`example.net TXT "v=spf1 include:a.example.net -all"
a.example.net TXT "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all"`)
	check := checktest.Build[checks.NoSettings](b, spf.Info, env, nil)
	r := checktest.Session{Client: client, Helo: helo, MailFrom: sender}.Request(b)
	b.ReportAllocs()
	for b.Loop() {
		fresh := checks.NewRequest(r.Session, checks.MailFrom)
		for _, fresh.Stage = range spf.Info.Stages {
			if verdicts, err := check.Check(b.Context(), fresh); len(verdicts) > 0 || err != nil {
				b.Fatalf("%v, %v", verdicts, err)
			}
		}
	}
}
