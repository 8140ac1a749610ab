package dnsbl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

// answers is a resolver that calls a function with the name in the question.
type answers func(name string) (addr string, err error)

// Lookup returns the address as A record, or NXDOMAIN if it is empty.
func (f answers) Lookup(_ context.Context, q checks.Question) (checks.Answer, error) {
	addr, err := f(q.Name)
	switch {
	case err != nil:
		return checks.Answer{}, fmt.Errorf("dns: %s: %w", q, err)
	case addr == "":
		return checks.Answer{NXDomain: true}, nil
	case q.Type == dns.TypeTXT:
		return checks.Answer{Records: []dns.RR{&dns.TXT{Txt: []string{"Error: open resolver; https://check.example/returnc/"}}}}, nil
	}
	return checks.Answer{Records: []dns.RR{&dns.A{A: net.ParseIP(addr)}}}, nil
}

// all returns a list with the same answer to every question.
func all(addr string) answers { return func(string) (string, error) { return addr, nil } }

// turned returns a list that is right at its test points and has the same answer to every other question.
func turned(addr string, err error) answers {
	return func(name string) (string, error) {
		switch {
		case strings.HasPrefix(name, "2.0.0.127."), strings.HasPrefix(name, "test."):
			return "127.0.0.2", nil
		case strings.HasPrefix(name, "1.0.0.127."), strings.HasPrefix(name, "invalid."), strings.HasPrefix(name, "1.0.0.0."), strings.HasPrefix(name, "2.0.0.0."):
			return "", nil
		}
		return addr, err
	}
}

// TestReportedFailures tests cases from the issue trackers of other programs, in which a list had all mail refused. In each,
// ten honest clients send mail.
func TestReportedFailures(t *testing.T) {
	t.Parallel()
	gone := errors.New("SERVFAIL")
	for _, test := range []struct {
		name  string // issue and failure
		why   string // why the zone is off; empty: it stays on
		dns   answers
		query dnsbl.Query
		codes string
	}{
		// Lists that refuse queries with an address.
		{name: "haraka/Haraka#3106: 127.255.255.255 at the client's address", dns: turned("127.255.255.255", nil), why: "too many queries"},
		{name: "mjl-/mox#354: 127.255.255.254 at the test points too", dns: all("127.255.255.254"), why: "through a public resolver"},
		{name: "mailcow/mailcow-dockerized#2987: 127.255.255.252, with every code configured", dns: turned("127.255.255.252", nil), codes: "127.0.0.0/8", why: "misspelled"},
		{name: "mail-in-a-box/mailinabox#2332: 127.255.255.254 for sender domains", dns: turned("127.255.255.254", nil), query: dnsbl.Sender, why: "through a public resolver"},
		{name: "mail-in-a-box/mailinabox#2332: 127.0.1.255 of a list of domains, for an unlisted name", dns: turned("127.0.1.255", nil), query: dnsbl.Helo},
		{name: "modoboa/modoboa-installer#426: 127.255.255.254 for resolvers without a reverse DNS name", dns: turned("127.255.255.254", nil), why: "through a public resolver"},
		{name: "simple-login/app#2675: all mail refused, \"Error: open resolver\"", dns: all("127.255.255.254"), codes: "127.0.0.0/8", why: "through a public resolver"},
		{name: "mailserver2/mailserver#90: a refused query taken for a listed HELO name", dns: turned("127.255.255.254", nil), query: dnsbl.Helo, why: "through a public resolver"},
		{name: "openstreetmap/operations#674: an error code after months of good answers", dns: turned("127.255.255.254", nil), why: "error code 127.255.255.254"},

		{name: "URIBL and SURBL: 127.0.0.1 for unlisted names, with every code configured", dns: turned("127.0.0.1", nil), query: dnsbl.Sender, codes: "127.0.0.0/8"},
		{name: "URIBL and SURBL: 127.0.0.1 for the test points too", dns: all("127.0.0.1"), query: dnsbl.Sender, codes: "127.0.0.0/8", why: "it lists INVALID"},

		// Lists that were closed or sold.
		{name: "mailcow/mailcow-dockerized#5901: a list is shut down, its zone empty", dns: all(""), why: "does not list its test point"},
		{name: "anonaddy/docker#301: a list is shut down, its name servers gone", dns: func(string) (string, error) { return "", gone }, why: "does not answer"},
		{name: "anonaddy/docker#301: its name servers gone, the test points in the cache", dns: turned("", gone), why: "does not answer"},
		{name: "matteocorti/check_rbl#17: a list answers yes to every query", dns: all("127.0.0.2"), why: "it may list everyone"},
		{name: "matteocorti/check_rbl#17: the same for a list of names", dns: all("127.0.0.2"), query: dnsbl.Sender, why: "it may list everyone"},
		{name: "sovereign/sovereign#750: a dead list, its domain sold", dns: all("192.0.2.80"), codes: "127.0.0.0/8", why: "no code of a list"},
		{name: "sovereign/sovereign#750: a dead list, its domain sold, the test points in the cache", dns: turned("192.0.2.80", nil), why: "no code of a list"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, "")
			env.DNS = test.dns
			z := zone(t, "bl.example", test.query)
			if test.codes != "" {
				z.Codes = codes(t, test.codes)
			}
			c := build(t, env, z)
			for i := range 10 {
				vs, _ := ask(t, c, checktest.Session{
					Client: fmt.Sprintf("192.0.%d.9", i), Helo: fmt.Sprintf("mail%d.example.net", i), MailFrom: fmt.Sprintf("user@%d.example.org", i),
				}.Request(t))
				if len(vs) > 0 {
					t.Fatalf("mail %d: %s: %s", i+1, ids(vs), vs[0].Detail["text"])
				}
			}
			st := c.Report()[0]
			if test.why == "" && st.State != "on" {
				t.Errorf("off: %s", st.Why)
			}
			if test.why != "" && (st.State != "off" || !strings.Contains(st.Why, test.why)) {
				t.Errorf("%s: %q, want %q", st.State, st.Why, test.why)
			}
		})
	}
}
