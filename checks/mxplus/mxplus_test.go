package mxplus_test

import (
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/mxplus"
)

const zone = `
example.net.                 MX    10 mx.example.net.
example.net.                 MX    20 mx2.provider.example.
mx.example.net.              A     192.0.2.10
mx.example.net.              AAAA  2001:db8::10
mx2.provider.example.        A     192.0.2.20
implicit.example.com.        A     192.0.2.30
null.example.com.            MX    0 .
nothing.example.com.         TXT   "neither MX nor address"
co.uk.                       A     192.0.2.99

40.2.0.192.in-addr.arpa.     PTR   out1.example.net.          ; not an MX host
out1.example.net.            A     192.0.2.40
41.2.0.192.in-addr.arpa.     PTR   out2.example.net.          ; does not resolve to the client
42.2.0.192.in-addr.arpa.     PTR   dsl-192-0-2-42.example.net. ; a pool name
dsl-192-0-2-42.example.net.  A     192.0.2.42
47.2.0.192.in-addr.arpa.     PTR   2-47.dyn.example.net.      ; a pool name with half the address
2-47.dyn.example.net.        A     192.0.2.47
43.2.0.192.in-addr.arpa.     PTR   mail.example.org.
mail.example.org.            A     192.0.2.43
44.2.0.192.in-addr.arpa.     PTR   notexample.net.
notexample.net.              A     192.0.2.44
45.2.0.192.in-addr.arpa.     PTR   mail.other.co.uk.
mail.other.co.uk.            A     192.0.2.45
46.2.0.192.in-addr.arpa.     PTR   dsl-192-0-2-46.example.net. ; a pool name beside another name
46.2.0.192.in-addr.arpa.     PTR   mail.example.net.
dsl-192-0-2-46.example.net.  A     192.0.2.46
mail.example.net.            A     192.0.2.46
0.4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR out6.example.net.
out6.example.net.            AAAA  2001:db8::40

mx50.example.com.            MX    10 host50.example.com.
host50.example.com.          A     192.0.2.50
!SERVFAIL 50.2.0.192.in-addr.arpa
!TIMEOUT broken.example.com
!TIMEOUT broken.example.net
half.example.com.            MX    10 mx.example.net.
half.example.com.            MX    20 slow.example.com.
!TIMEOUT slow.example.com
`

// vouched is the text of a vouch in results, unsure that of one that a missing answer could have brought.
const vouched, unsure = "vouched", "may be vouched for"

func result(vs []checks.Verdict) string {
	var out []string
	for _, v := range vs {
		if v.Vouch == checks.SkipDelays {
			out = append(out, map[bool]string{false: vouched, true: unsure}[v.Unsure])
		}
		if v.Reason != nil {
			out = append(out, v.Reason.ID)
		}
	}
	return strings.Join(out, " ")
}

func build(t testing.TB, env checks.Env) checks.Check {
	return checktest.Build[checks.NoSettings](t, mxplus.Info, env, nil)
}

func TestMatch(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
	for _, test := range []struct {
		name, client, from, auth string
		want                     string
		fails                    bool
	}{
		{name: "an MX host", client: "192.0.2.10", from: "a@example.net", want: vouched},
		{name: "an MX host by IPv6", client: "2001:db8::10", from: "a@example.net", want: vouched},
		{name: "an MX host by IPv6 with a zone", client: "2001:db8::10%eth0", from: "a@example.net", want: vouched},
		{name: "a backup MX of another name", client: "192.0.2.20", from: "a@EXAMPLE.net", want: vouched},
		{name: "the domain itself without MX", client: "192.0.2.30", from: "a@implicit.example.com", want: vouched},
		{name: "a name under the domain", client: "192.0.2.40", from: "a@example.net", want: vouched},
		{name: "an IPv6 client's name", client: "2001:db8::40", from: "a@example.net", want: vouched},
		{name: "a name under the organisational domain of the sender", client: "192.0.2.40", from: "a@lists.example.net", want: vouched},
		{name: "a pool name beside another name", client: "192.0.2.46", from: "a@example.net", want: vouched},
		{name: "a name, and the MX records are not known", client: "192.0.2.40", from: "a@broken.example.net", want: vouched},
		{name: "an MX host, and its name is not known", client: "192.0.2.50", from: "a@mx50.example.com", want: vouched},
		{name: "an MX host, and another one is not known", client: "192.0.2.10", from: "a@half.example.com", want: vouched},

		{name: "a host without name", client: "192.0.2.60", from: "a@example.net", want: "mxplus-mismatch"},
		{name: "a host with another name", client: "192.0.2.43", from: "a@example.net", want: "mxplus-mismatch"},
		{name: "a neighbour of an MX host", client: "2001:db8::11", from: "a@example.net", want: "mxplus-mismatch"},
		{name: "a name that does not resolve to the client", client: "192.0.2.41", from: "a@example.net", want: "mxplus-mismatch"},
		{name: "a name that only ends like the domain", client: "192.0.2.44", from: "a@example.net", want: "mxplus-mismatch"},
		{name: "a name under the same public suffix", client: "192.0.2.45", from: "a@example.co.uk", want: "mxplus-mismatch"},
		{name: "a public suffix as domain", client: "192.0.2.45", from: "a@co.uk", want: "mxplus-mismatch"},
		{name: "a domain with a null MX", client: "192.0.2.60", from: "a@null.example.com", want: "mxplus-mismatch"},
		{name: "a domain without MX and address", client: "192.0.2.60", from: "a@nothing.example.com", want: "mxplus-mismatch"},
		{name: "a pool name under the domain", client: "192.0.2.42", from: "a@example.net"},
		{name: "a pool name with half the address", client: "192.0.2.47", from: "a@example.net"},

		{name: "the address literal of another host", client: "192.0.2.60", from: "a@[192.0.2.61]", want: "mxplus-mismatch"},
		{name: "the client's own address literal", client: "192.0.2.60", from: "a@[192.0.2.60]"},
		{name: "the null reverse-path", client: "192.0.2.60", from: "<>"},
		{name: "no domain", client: "192.0.2.60", from: "postmaster"},
		{name: "a client without address", from: "a@example.net"},
		{name: "an authenticated user", client: "192.0.2.60", from: "a@example.net", auth: "a"},

		{name: "the MX records are not known", client: "192.0.2.60", from: "a@broken.example.com", want: unsure, fails: true},
		{name: "the address of an MX host is not known", client: "192.0.2.60", from: "a@half.example.com", want: unsure, fails: true},
		{name: "the client's name is not known", client: "192.0.2.50", from: "a@example.net", want: unsure, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := checktest.Session{Client: test.client, Helo: "h.example", MailFrom: test.from, Auth: test.auth}.Request(t)
			vs, err := checktest.Ask(t, mxplus.Info, c, r)
			if got := result(vs); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (err != nil) != test.fails {
				t.Errorf("error %v, want one: %v", err, test.fails)
			}
		})
	}
}

// TestManyHosts tests that a client is not refused if it may be the eleventh host.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, n := range "abcdefghijk" {
		b.WriteString("big.example.com. MX 10 " + string(n) + ".example.com.\n" + string(n) + ".example.com. A 198.51.100.1\n")
	}
	c := build(t, checktest.Env(t, b.String()))
	vs, err := checktest.Ask(t, mxplus.Info, c, checktest.Session{Client: "192.0.2.60", MailFrom: "a@big.example.com"}.Request(t))
	if result(vs) != unsure || err == nil {
		t.Errorf("got %q, %v", result(vs), err)
	}
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	c := build(t, checktest.Env(t, zone))
	for _, test := range []struct{ client, from, want string }{
		{"192.0.2.60", "a@example.net", "it has no confirmed reverse DNS name, and mail for the domain goes to mx.example.net, mx2.provider.example"},
		{"192.0.2.43", "a@implicit.example.com", "its reverse DNS name is mail.example.org, and mail for the domain goes to implicit.example.com"},
		{"192.0.2.43", "a@null.example.com", "its reverse DNS name is mail.example.org, and the domain accepts no mail"},
		{"192.0.2.60", "a@[192.0.2.61]", "mail for it goes to 192.0.2.61 only"},
	} {
		vs, _ := checktest.Ask(t, mxplus.Info, c, checktest.Session{Client: test.client, MailFrom: test.from}.Request(t))
		if len(vs) != 1 || vs[0].Detail["seen"] != test.want {
			t.Errorf("%s from %s: got %v, want %q", test.from, test.client, vs, test.want)
		}
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	for _, d := range []checktest.Session{
		{Client: "192.0.2.60", MailFrom: "a@example.net"}, {Client: "192.0.2.43", MailFrom: "a@implicit.example.com"},
		{Client: "192.0.2.41", MailFrom: "a@null.example.com"}, {Client: "2001:db8::10", MailFrom: "a@example.net"},
	} {
		if asked, prefetched := checktest.Questions(t, mxplus.Info, env, build, d); !slices.Equal(asked, prefetched) {
			t.Errorf("%+v: asked %q, prefetched %q", d, asked, prefetched)
		}
	}
}
