package rdns_test

import (
	"context"
	"slices"
	"testing"

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

; RFC 2317: the reverse zone of a small network hangs on a CNAME
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

func TestCheck(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	c := checktest.Build[rdns.Settings](t, rdns.Info, env, nil)
	for _, test := range []struct {
		name, client, want, ptr string
		unknown                 bool // could not be found out
	}{
		{name: "a name that leads back passes", client: "192.0.2.10"},
		{name: "a name in capitals passes", client: "192.0.2.13"},
		{name: "one good name among several is enough", client: "192.0.2.14"},
		{name: "a reverse zone behind a CNAME passes", client: "192.0.2.15"},
		{name: "a name that is an alias passes", client: "192.0.2.17"},
		{name: "an IPv6 client with its name passes", client: "2001:db8::5"},
		{name: "an unknown client has nothing to judge", client: ""},

		{name: "a name that does not exist", client: "192.0.2.99", want: "rdns-missing"},
		{name: "a name without PTR record", client: "192.0.2.20", want: "rdns-missing"},
		{name: "a CNAME that leads nowhere", client: "192.0.2.16", want: "rdns-missing"},
		{name: "a PTR record for the root is none", client: "192.0.2.18", want: "rdns-missing"},
		{name: "an IPv6 client without a name", client: "2001:db8::99", want: "rdns-missing"},

		{name: "a name with another address", client: "192.0.2.11", want: "rdns-mismatch", ptr: "elsewhere.example.net"},
		{name: "a name without address", client: "192.0.2.12", want: "rdns-mismatch", ptr: "nowhere.example.net"},
		{name: "a name with an address of the other family", client: "192.0.2.19", want: "rdns-mismatch", ptr: "six.example.net"},
		{name: "an IPv6 client whose name has IPv4 alone", client: "2001:db8::6", want: "rdns-mismatch", ptr: "mail.example.net"},

		{name: "SERVFAIL of the reverse zone is no verdict", client: "192.0.2.30", unknown: true},
		{name: "a time-out of the reverse zone is no verdict", client: "192.0.2.31", unknown: true},
		{name: "SERVFAIL of the name is no verdict", client: "192.0.2.32", unknown: true},
		{name: "a time-out of the name is no verdict", client: "192.0.2.33", unknown: true},
		{name: "a failure beside a good name is nothing", client: "192.0.2.34"},
		{name: "a failure beside a bad name is no verdict", client: "192.0.2.35", unknown: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := checktest.Session{Client: test.client}.Request(t)
			s.ClientName = "forged.example.com" // the MTA's word counts for nothing
			vs, err := checktest.Ask(t, rdns.Info, c, s)
			if (err != nil) != test.unknown {
				t.Errorf("error %v, want one: %v", err, test.unknown)
			}
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if got := checktest.IDs(vs); !slices.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			if test.ptr != "" && vs[0].Detail["ptr"] != test.ptr {
				t.Errorf("names %q, want %q", vs[0].Detail["ptr"], test.ptr)
			}
		})
	}
}

func TestMismatchNamesAFewOfManyNames(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, `
10.2.0.192.in-addr.arpa. PTR d.example.net.
10.2.0.192.in-addr.arpa. PTR b.example.net.
10.2.0.192.in-addr.arpa. PTR c.example.net.
10.2.0.192.in-addr.arpa. PTR a.example.net.
10.2.0.192.in-addr.arpa. PTR e.example.net.`)
	c := checktest.Build[rdns.Settings](t, rdns.Info, env, nil)
	vs, err := checktest.Ask(t, rdns.Info, c, checktest.Session{Client: "192.0.2.10"}.Request(t))
	if err != nil || len(vs) != 1 {
		t.Fatalf("got %q, %v", checktest.IDs(vs), err)
	}
	const want = "a.example.net, b.example.net, c.example.net and 2 more"
	if got := vs[0].Detail["ptr"]; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEveryQuestionIsAnnounced(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, zone)
	for _, client := range []string{"", "192.0.2.10", "192.0.2.14", "192.0.2.15", "192.0.2.18", "192.0.2.99", "2001:db8::5"} {
		s := checktest.Session{Client: client, Helo: "mail.example.net", MailFrom: "user@example.net"}.Request(t)
		rec := &checktest.Recorder{Resolver: env.DNS}
		recorded := env
		recorded.DNS = rec
		c := checktest.Build[rdns.Settings](t, rdns.Info, recorded, nil)
		announced := checktest.Announced(t, c, env.DNS, s)
		if _, err := checktest.Ask(t, rdns.Info, c, s); err != nil {
			t.Error(err)
		}
		if asked := rec.Asked(); !slices.Equal(asked, announced) {
			t.Errorf("%s: asked %q, announced %q", client, asked, announced)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	env := checktest.Env(b, zone)
	c := checktest.Build[rdns.Settings](b, rdns.Info, env, nil)
	d := checktest.Session{Client: "192.0.2.10"}
	b.ReportAllocs()
	for b.Loop() {
		if vs, err := c.Check(context.Background(), d.Request(b)); len(vs) > 0 || err != nil {
			b.Fatal(vs, err)
		}
	}
}
