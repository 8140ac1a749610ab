package dkim_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dkim"
	"milterd/checks/facts"
	"milterd/headers"
)

const body = "Hi.\r\n"

var from = []headers.Field{{Name: "From", Value: " Ann <ann@example.net>"}}

// request returns a request about a message at the end of its body.
func request(t *testing.T, env checks.Env, fields []headers.Field, body string) *checks.Request {
	t.Helper()
	r := checktest.Session{Client: "192.0.2.9", Helo: "mail.example.com", MailFrom: "ann@example.net", Header: fields}.Request(t)
	r.Stage = checks.EndOfHeader
	if w := facts.Body(env, r); w != nil {
		_, _ = w.Write([]byte(body))
	}
	r.Stage = checks.EndOfMessage
	return r
}

func build(t *testing.T, env checks.Env) checks.Check {
	t.Helper()
	return checktest.Build(t, dkim.Info, env, func(s *dkim.Settings) { s.Signatures = env.Signatures })
}

func TestCheck(t *testing.T) {
	t.Parallel()
	signed := checktest.Sign(t, from, body, "example.net")
	twice := checktest.Sign(t, signed, body, "example.com")
	keys := checktest.DKIMKey("example.net")
	for _, c := range []struct {
		name       string
		fields     []headers.Field
		body, zone string
		off        bool // signatures: 0
		want       string
		problem    string
		changed    string
		unsure     bool
		fails      bool
	}{
		{name: "a valid signature", fields: signed, body: body, zone: keys},
		{name: "no signature", fields: from, body: body, want: "dkim-none"},
		{name: "no signature, and DKIM is off", fields: from, body: body, off: true},
		{name: "the body was changed", fields: signed, body: body + "footer\r\n", zone: keys,
			want: "dkim-fail", problem: "the body was changed after signing", changed: "body"},
		{name: "the body was changed, and DKIM is off", fields: signed, body: "", zone: keys, off: true},
		{name: "header and body are those of another message", body: "x\r\n", zone: keys,
			fields: []headers.Field{signed[0], {Name: "From", Value: " Eve <eve@example.net>"}}, want: "dkim-fail", changed: "header and body"},
		{name: "the key was revoked", fields: signed, body: body, zone: `test._domainkey.example.net TXT "p="`, want: "dkim-fail", problem: "the key was revoked"},
		{name: "the domain tests DKIM", fields: signed, body: "x\r\n", zone: strings.Replace(keys, "k=", "t=y; k=", 1)},
		{name: "there is no key", fields: signed, body: body},
		{name: "one of two is valid", fields: twice, body: body, zone: keys + `test._domainkey.example.com TXT "p="`},
		{name: "the DNS does not answer for one of two, the other is valid", fields: twice, body: body, zone: keys + "!SERVFAIL test._domainkey.example.com"},
		{name: "the DNS does not answer", fields: signed, body: body, zone: "!SERVFAIL test._domainkey.example.net", fails: true},
		{name: "the DNS does not answer, and the body was changed: t=y may excuse it", fields: signed, body: "x\r\n", zone: "!SERVFAIL test._domainkey.example.net",
			want: "dkim-fail", changed: "body", unsure: true, fails: true},
		{name: "the DNS does not answer for one of two, the other fails", fields: twice, body: "x\r\n", zone: keys + "!TIMEOUT test._domainkey.example.com",
			want: "dkim-fail", changed: "body", unsure: true, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, c.zone)
			if env.Signatures = 5; c.off {
				env.Signatures = 0
			}
			verdicts, err := checktest.Ask(t, dkim.Info, build(t, env), request(t, env, c.fields, c.body))
			if got := strings.Join(checktest.IDs(verdicts), " "); got != c.want || (err != nil) != c.fails {
				t.Fatalf("%q, error %v; want %q", got, err, c.want)
			}
			if len(verdicts) == 0 {
				return
			}
			v := verdicts[0]
			if v.Unsure != c.unsure || v.Detail["changed"] != c.changed || !strings.Contains(v.Detail["problem"], c.problem) {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestClockInDoubt tests that a signature that fails is not certain beside one that is from the future by a clock in doubt.
func TestClockInDoubt(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, checktest.DKIMKey("example.net")+`test._domainkey.example.com TXT "p="`)
	env.Signatures = 5
	env.Clock = checks.NewClock(checktest.Now, time.Time{}, func() time.Duration { return 0 })
	fields := checktest.Sign(t, from, body, "example.net", fmt.Sprint("t=", checktest.Now.Unix()))
	fields = checktest.Sign(t, fields, body, "example.com")
	r := request(t, env, fields, body)
	r.Time = checktest.Now.Add(-48 * time.Hour)
	verdicts, err := checktest.Ask(t, dkim.Info, build(t, env), r)
	if len(verdicts) != 1 || verdicts[0].Reason.ID != "dkim-fail" || !verdicts[0].Unsure || err != nil {
		t.Errorf("%+v, %v", verdicts, err)
	}
}

// TestBodyIsUnknown tests that a driver without the body gets an error and no verdict.
func TestBodyIsUnknown(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, checktest.DKIMKey("example.net"))
	env.Signatures = 5
	r := checktest.Session{MailFrom: "ann@example.net", Header: checktest.Sign(t, from, body, "example.net")}.Request(t)
	verdicts, err := checktest.Ask(t, dkim.Info, build(t, env), r)
	if len(verdicts) > 0 || err == nil || !strings.Contains(err.Error(), "body of the message is not known") {
		t.Errorf("%+v, %v", verdicts, err)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, checktest.DKIMKey("example.net"))
	env.Signatures = 7
	many := from
	for range 6 {
		many = checktest.Sign(t, many, body, "example.com")
	}
	many = append(checktest.Sign(t, from, body, "example.net")[:1:1], many...)
	for _, c := range []struct {
		name   string
		fields []headers.Field
		body   string
		want   []string
	}{
		{"no signature", from, body, []string{"none  []"}},
		{"a valid signature", checktest.Sign(t, from, body, "example.net"), body, []string{
			"pass  [{header.d example.net} {header.s test} {header.a ed25519-sha256} {header.b xxxxxxxx}]"}},
		{"a changed body", checktest.Sign(t, from, body, "example.net"), "x\r\n", []string{
			"fail the body was changed after signing [{header.d example.net} {header.s test} {header.a ed25519-sha256} {header.b xxxxxxxx}]"}},
		{"seven signatures", many, body, append([]string{
			"pass  [{header.d example.net} {header.s test} {header.a ed25519-sha256} {header.b xxxxxxxx}]"},
			slices.Repeat([]string{"permerror there is no key record [{header.d example.com} {header.s test} {header.a ed25519-sha256} {header.b xxxxxxxx}]"}, 4)...)},
	} {
		r := request(t, env, c.fields, c.body)
		var got []string
		for _, a := range build(t, env).(checks.Authenticator).Authenticate(context.Background(), r) {
			if len(a.Properties) > 3 {
				b := &a.Properties[3] // header.b
				if len(b.Value) != 8 || !strings.Contains(fmt.Sprint(c.fields), "b="+b.Value) {
					t.Errorf("%s: %s=%s", c.name, b.Name, b.Value)
				}
				b.Value = "xxxxxxxx"
			}
			if a.Method != "dkim" {
				t.Errorf("%s: method %s", c.name, a.Method)
			}
			got = append(got, fmt.Sprintf("%s %s %v", a.Result, a.Comment, a.Properties))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, checktest.DKIMKey("example.net"))
	env.Signatures = 5
	r := request(t, env, checktest.Sign(t, from, body, "example.net"), body)
	c := build(t, env)
	if got := checktest.Prefetched(t, c, env.DNS, r); !slices.Equal(got, []string{"test._domainkey.example.net. TXT"}) {
		t.Errorf("prefetched %q", got)
	}
	dns := &checktest.Recorder{Resolver: env.DNS}
	env.DNS = dns
	checktest.Ask(t, dkim.Info, build(t, env), request(t, env, checktest.Sign(t, from, body, "example.net"), body))
	if got := dns.Asked(); !slices.Equal(got, []string{"test._domainkey.example.net. TXT"}) {
		t.Errorf("asked %q", got)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for n, ok := range map[int]bool{-1: false, 0: true, 5: true, 100: true, 101: false} {
		if err := (dkim.Settings{Signatures: n}).Validate(); (err == nil) != ok {
			t.Errorf("%d: %v", n, err)
		}
	}
}
