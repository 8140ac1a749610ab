package spf_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/checks/spf"
	"milterd/headers"
)

// TestFailWaitsForDKIM tests what takes spf-fail back: a signature that passes and aligns with From or MAIL FROM.
func TestFailWaitsForDKIM(t *testing.T) {
	t.Parallel()
	const (
		body   = "Hi.\r\n"
		policy = "example.net TXT \"v=spf1 ip4:192.0.2.1 -all\"\nlists.example.com TXT \"v=spf1 ip4:192.0.2.1 -all\"\n"
	)
	keys := checktest.DKIMKey("example.net") + checktest.DKIMKey("example.com") + checktest.DKIMKey("other.example") + checktest.DKIMKey("news.example.net")
	from := func(addresses string) []headers.Field { return []headers.Field{{Name: "From", Value: " " + addresses}} }
	sign := func(fields []headers.Field, domain string) []headers.Field {
		return checktest.Sign(t, fields, body, domain)
	}
	ann := from("ann@example.net")
	for _, c := range []struct {
		name       string
		sender     string // empty: "ann@example.net"
		fields     []headers.Field
		body       string
		zone       string // added to policy and keys
		signatures int
		moved      time.Duration // of the clock since the start
		want       string
		unsure     bool
	}{
		{name: "no signature", fields: ann, want: "message spf-fail"},
		{name: "no signature, DKIM is off", fields: ann, signatures: -1, want: "mail spf-fail"},
		{name: "signed by the domain of both, DKIM is off", fields: sign(ann, "example.net"), signatures: -1, want: "mail spf-fail"},
		{name: "signed by the domain of both", fields: sign(ann, "example.net")},
		{name: "signed by a subdomain", fields: sign(ann, "news.example.net")},
		{name: "signed by the domain of From, sent by a list", sender: "bounce@lists.example.com", fields: sign(ann, "example.net")},
		{name: "signed by the list, whose domain is in MAIL FROM", sender: "bounce@lists.example.com", fields: sign(ann, "example.com")},
		{name: "signed by a stranger", fields: sign(ann, "other.example"), want: "message spf-fail"},
		{name: "changed after signing", fields: sign(ann, "example.net"), body: "x\r\n", want: "message spf-fail"},
		{name: "two authors, signed by the second", fields: sign(from("bob@bank.example, eve@other.example"), "other.example"), want: "message spf-fail"},
		{name: "two authors of one organisation, signed by it", sender: "bounce@lists.example.com", fields: sign(from("ann@example.net, bob@news.example.net"), "example.net")},
		{name: "two authors, signed by both", sender: "bounce@lists.example.com", fields: sign(sign(from("ann@example.net, eve@other.example"), "example.net"), "other.example")},
		{name: "six authors, signed by them", sender: "bounce@lists.example.com", want: "message spf-fail",
			fields: sign(from("a@a.example.net, b@b.example.net, c@c.example.net, d@d.example.net, e@e.example.net, f@f.example.net"), "example.net")},
		{name: "two authors, signed by the domain in MAIL FROM", fields: sign(from("bob@bank.example, eve@other.example"), "example.net")},
		{name: "the DNS does not answer for an aligned key", fields: sign(ann, "mail.example.net"), zone: "!SERVFAIL test._domainkey.mail.example.net",
			want: "message spf-fail", unsure: true},
		{name: "the DNS does not answer for the key of a stranger", fields: sign(ann, "b.example"), zone: "!SERVFAIL test._domainkey.b.example", want: "message spf-fail"},
		{name: "the record says how far the organisation goes", fields: sign(ann, "news.example.net"), want: "message spf-fail",
			zone: "_dmarc.news.example.net TXT \"v=DMARC1; p=none; psd=n\"\n_dmarc.example.net TXT \"v=DMARC1; p=none\""},
		{name: "signed in the future, by a clock that was moved back", fields: checktest.Sign(t, ann, body, "example.net", fmt.Sprint("t=", checktest.Now.Unix())), moved: -48 * time.Hour, want: "message spf-fail", unsure: true},
		{name: "the domain sends no mail", sender: "ann@parked.example", fields: sign(ann, "example.net"), zone: `parked.example TXT "v=spf1 -all"`, want: "mail spf-no-mail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, policy+keys+c.zone)
			if env.Signatures = 5; c.signatures < 0 {
				env.Signatures = 0
			}
			if c.sender == "" {
				c.sender = "ann@example.net"
			}
			if c.body == "" {
				c.body = body
			}
			r := checktest.Session{Client: client, Helo: "[192.0.2.9]", MailFrom: c.sender, Header: c.fields, Time: checktest.Now.Add(c.moved)}.Request(t)
			env.Clock = checks.NewClock(checktest.Now, time.Time{}, func() time.Duration { return 0 })
			r.Stage = checks.EndOfHeader
			if w := facts.Body(env, r); w != nil {
				_, _ = w.Write([]byte(c.body))
			}
			check := checktest.Build[checks.NoSettings](t, spf.Info, env, nil)
			var got []string
			for _, r.Stage = range spf.Info.Stages {
				verdicts, err := check.Check(t.Context(), r)
				for _, v := range verdicts {
					got = append(got, r.Stage.String()+" "+v.Reason.ID)
					if v.Unsure != c.unsure || (err != nil) != c.unsure {
						t.Errorf("unsure %t, error %v", v.Unsure, err)
					}
				}
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}
