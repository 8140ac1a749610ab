package checktest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
)

// lookup is a question to a zone and the expected answer.
type lookup struct {
	name, question string
	qtype          uint16
	records        int
	nx             bool
	err            error
}

func (c lookup) test(t *testing.T, z *Zone) {
	t.Parallel()
	q := checks.Ask(c.question, c.qtype)
	a, err := z.Lookup(t.Context(), q)
	if !errors.Is(err, c.err) || len(a.Records) != c.records || a.NXDomain != c.nx {
		t.Errorf("got %v, %v", a, err)
	}
	if len(a.Records) > 0 && a.Records[0].Header().Name != q.Name {
		t.Errorf("got a record of another name: %s", a.Records[0])
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	z, err := ParseZone(`
; a comment
example.org.        A      192.0.2.1
                    A      192.0.2.2
a.b.example.org.    TXT    "deep"
alias.example.org.  CNAME  example.org.
lost.example.org.   CNAME  nowhere.example.
loop.example.org.   CNAME  loop.example.org.
!SERVFAIL broken.example.org
!TIMEOUT example.org MX
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []lookup{
		{"records", "Example.ORG", dns.TypeA, 2, false, nil},
		{"no such type", "example.org.", dns.TypeAAAA, 0, false, nil},
		{"no such name", "nowhere.example.", dns.TypeA, 0, true, nil},
		{"a name that exists because of a name below it", "b.example.org.", dns.TypeA, 0, false, nil},
		{"an alias and its target", "alias.example.org.", dns.TypeA, 3, false, nil},
		{"the alias itself", "alias.example.org.", dns.TypeCNAME, 1, false, nil},
		{"an alias of an unknown name", "lost.example.org.", dns.TypeA, 1, true, nil},
		{"a loop", "loop.example.org.", dns.TypeA, 0, false, ErrServFail},
		{"a broken name", "broken.example.org.", dns.TypeTXT, 0, false, ErrServFail},
		{"one broken type", "example.org.", dns.TypeMX, 0, false, ErrTimeout},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, z) })
	}
}

func TestWildcards(t *testing.T) {
	t.Parallel()
	z, err := ParseZone(`
*.corp.example.net.       TXT    "any"
*.corp.example.net.       TXT    "thing"
host.corp.example.net.    A      192.0.2.1
a.empty.corp.example.net. A      192.0.2.2
*.alias.example.net.      CNAME  host.corp.example.net.
below.*.void.example.net. A      192.0.2.3
!TIMEOUT slow.corp.example.net TXT
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []lookup{
		{"a name below", "X.corp.example.net.", dns.TypeTXT, 2, false, nil},
		{"a name three levels below", "x.y.z.corp.example.net.", dns.TypeTXT, 2, false, nil},
		{"no such type", "x.corp.example.net.", dns.TypeA, 0, false, nil},
		{"the wildcard itself", "*.corp.example.net.", dns.TypeTXT, 2, false, nil},
		{"below the wildcard itself", "x.*.corp.example.net.", dns.TypeTXT, 0, true, nil},
		{"the name above", "corp.example.net.", dns.TypeTXT, 0, false, nil},
		{"a name that exists", "host.corp.example.net.", dns.TypeTXT, 0, false, nil},
		{"below a name that exists", "x.host.corp.example.net.", dns.TypeTXT, 0, true, nil},
		{"a name that exists because of a name below it", "empty.corp.example.net.", dns.TypeTXT, 0, false, nil},
		{"below a name that exists because of a name below it", "x.empty.corp.example.net.", dns.TypeTXT, 0, true, nil},
		{"a name beside", "x.example.net.", dns.TypeTXT, 0, true, nil},
		{"an alias", "x.alias.example.net.", dns.TypeA, 2, false, nil},
		{"a wildcard that exists because of a name below it", "x.void.example.net.", dns.TypeA, 0, false, nil},
		{"a name that fails", "slow.corp.example.net.", dns.TypeTXT, 0, false, ErrTimeout},
		{"below a name that fails, which does not exist", "x.slow.corp.example.net.", dns.TypeTXT, 2, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, z) })
	}
	every, err := ParseZone("*. TXT all\n")
	if err != nil {
		t.Fatal(err)
	}
	if a, err := every.Lookup(context.Background(), checks.Ask("x.y.", dns.TypeTXT)); err != nil || len(a.Records) != 1 || a.NXDomain {
		t.Errorf("of the root: got %v, %v", a, err)
	}
}

func TestInvalidText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"no record", "example.org. A 192.0.2.999\n", "line: 1"},
		{"unknown directive", "\n!BOGUS example.org\n", "line 2: unknown directive !BOGUS"},
		{"directive without a name", "!SERVFAIL\n", "line 1: want !SERVFAIL or !TIMEOUT"},
		{"directive with a wildcard alone", "!TIMEOUT *\n", "line 1: !TIMEOUT takes one name, not the wildcard *"},
		{"directive with a wildcard", "!SERVFAIL *.example.org\n", "line 1: !SERVFAIL takes one name, not the wildcard *.example.org"},
		{"unknown type", "!TIMEOUT example.org BOGUS\n", `line 1: unknown record type "BOGUS"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := ParseZone(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
