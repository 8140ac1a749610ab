package rdns_test

import (
	"context"
	"slices"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/rdns"
)

const zone = `
10.2.0.192.in-addr.arpa.  PTR  mail.example.net.
mail.example.net.         A    192.0.2.10

11.2.0.192.in-addr.arpa.  PTR  elsewhere.example.net.
elsewhere.example.net.    A    198.51.100.1
12.2.0.192.in-addr.arpa.  PTR  nowhere.example.net.
13.2.0.192.in-addr.arpa.  PTR  MAIL.Example.COM.
mail.example.com.         A    192.0.2.13

14.2.0.192.in-addr.arpa.  PTR  nowhere.example.net.
14.2.0.192.in-addr.arpa.  PTR  elsewhere.example.net.
14.2.0.192.in-addr.arpa.  PTR  second.example.net.
second.example.net.       A    198.51.100.2
second.example.net.       A    192.0.2.14

; RFC 2317: the reverse zone of a small network is the target of a CNAME
15.2.0.192.in-addr.arpa.       CNAME  15.0-63.2.0.192.in-addr.arpa.
15.0-63.2.0.192.in-addr.arpa.  PTR    small.example.net.
small.example.net.             A      192.0.2.15
16.2.0.192.in-addr.arpa.       CNAME  16.0-63.2.0.192.in-addr.arpa.

17.2.0.192.in-addr.arpa.  PTR    alias.example.net.
alias.example.net.        CNAME  real.example.net.
real.example.net.         A      192.0.2.17

18.2.0.192.in-addr.arpa.  PTR  .
19.2.0.192.in-addr.arpa.  PTR  six.example.net.
six.example.net.          AAAA 2001:db8::19
20.2.0.192.in-addr.arpa.  TXT  "the name is there, a PTR record is not"

!SERVFAIL 30.2.0.192.in-addr.arpa
!TIMEOUT 31.2.0.192.in-addr.arpa
32.2.0.192.in-addr.arpa.  PTR  broken.example.net.
!SERVFAIL broken.example.net
33.2.0.192.in-addr.arpa.  PTR  slow.example.net.
!TIMEOUT slow.example.net A
34.2.0.192.in-addr.arpa.  PTR  broken.example.net.
34.2.0.192.in-addr.arpa.  PTR  confirmed.example.net.
confirmed.example.net.    A    192.0.2.34
35.2.0.192.in-addr.arpa.  PTR  broken.example.net.
35.2.0.192.in-addr.arpa.  PTR  elsewhere.example.net.

5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.  PTR  v6.example.net.
v6.example.net.           AAAA 2001:db8::5
v6.example.net.           A    192.0.2.99
6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.  PTR  mail.example.net.
`

func build(t testing.TB, env checks.Env) checks.Check {
	return checktest.Build[rdns.Settings](t, rdns.Info, env, nil)
}

func TestNamesOfTheClient(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	c := build(t, env)
	for _, test := range []struct {
		name, client, want, ptr string
		fails                   bool // returns an error
	}{
		{name: "a name that resolves to the client", client: "192.0.2.10"},
		{name: "a name in capitals", client: "192.0.2.13"},
		{name: "one name of several resolves to the client", client: "192.0.2.14"},
		{name: "a reverse zone behind a CNAME", client: "192.0.2.15"},
		{name: "a name that is an alias", client: "192.0.2.17"},
		{name: "an IPv6 client with its name", client: "2001:db8::5"},
		{name: "a client without address", client: ""},

		{name: "a name that does not exist", client: "192.0.2.99", want: "rdns-missing"},
		{name: "a name without PTR record", client: "192.0.2.20", want: "rdns-missing"},
		{name: "a CNAME without target", client: "192.0.2.16", want: "rdns-missing"},
		{name: "a PTR record with the root", client: "192.0.2.18", want: "rdns-missing"},
		{name: "an IPv6 client without a name", client: "2001:db8::99", want: "rdns-missing"},

		{name: "a name with another address", client: "192.0.2.11", want: "rdns-mismatch", ptr: "elsewhere.example.net"},
		{name: "a name without address", client: "192.0.2.12", want: "rdns-mismatch", ptr: "nowhere.example.net"},
		{name: "a name with an address of the other family", client: "192.0.2.19", want: "rdns-mismatch", ptr: "six.example.net"},
		{name: "an IPv6 client whose name has an IPv4 address only", client: "2001:db8::6", want: "rdns-mismatch", ptr: "mail.example.net"},

		{name: "SERVFAIL of the reverse zone", client: "192.0.2.30", fails: true},
		{name: "a time-out of the reverse zone", client: "192.0.2.31", fails: true},
		{name: "SERVFAIL of the name", client: "192.0.2.32", fails: true},
		{name: "a time-out of the name", client: "192.0.2.33", fails: true},
		{name: "one name fails, another resolves to the client", client: "192.0.2.34"},
		{name: "one name fails, another does not resolve to the client", client: "192.0.2.35", fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := checktest.Session{Client: test.client}.Request(t)
			r.ClientName = "forged.example.com" // reported by the MTA, and not used
			vs := checktest.Want(t, rdns.Info, c, r, test.want, test.fails)
			if test.ptr != "" && len(vs) == 1 && vs[0].Detail["ptr"] != test.ptr {
				t.Errorf("names %q, want %q", vs[0].Detail["ptr"], test.ptr)
			}
		})
	}
}

func TestMismatchShowsThreeNames(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, `
10.2.0.192.in-addr.arpa. PTR d.example.net.
10.2.0.192.in-addr.arpa. PTR b.example.net.
10.2.0.192.in-addr.arpa. PTR c.example.net.
10.2.0.192.in-addr.arpa. PTR a.example.net.
10.2.0.192.in-addr.arpa. PTR e.example.net.`)
	c := build(t, env)
	vs := checktest.Want(t, rdns.Info, c, checktest.Session{Client: "192.0.2.10"}.Request(t), "rdns-mismatch", false)
	const want = "a.example.net, b.example.net, c.example.net and 2 more"
	if len(vs) != 1 || vs[0].Detail["ptr"] != want {
		t.Errorf("got %+v, want %q", vs, want)
	}
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	for _, client := range []string{"", "192.0.2.10", "192.0.2.14", "192.0.2.15", "192.0.2.18", "192.0.2.99", "2001:db8::5"} {
		session := checktest.Session{Client: client, Helo: "mail.example.net", MailFrom: "user@example.net"}
		if asked, prefetched := checktest.Questions(t, rdns.Info, env, build, session); !slices.Equal(asked, prefetched) {
			t.Errorf("%s: asked %q, prefetched %q", client, asked, prefetched)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	env := checktest.Env(b, zone)
	c := build(b, env)
	d := checktest.Session{Client: "192.0.2.10"}
	b.ReportAllocs()
	for b.Loop() {
		if vs, err := c.Check(context.Background(), d.Request(b)); len(vs) > 0 || err != nil {
			b.Fatal(vs, err)
		}
	}
}
