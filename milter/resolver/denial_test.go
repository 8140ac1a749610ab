package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"milterd/checks"
	"milterd/milter/resolver/dnstest"
)

const (
	internetText = `a.root-servers.net. A 198.41.0.4`
	privateText  = `host.example.org. A 192.0.2.1`
	both         = internetText + "\n" + privateText
)

var host = checks.Ask("host.example.org", dns.TypeA)

// denied asks for n names that do not exist. It returns how many answers were believed, and the last error.
func denied(r *Resolver, prefix string, n int) (believed int, last error) {
	for i := range n {
		a, err := r.Lookup(context.Background(), checks.Ask(fmt.Sprintf("%s%d.example.net", prefix, i), dns.TypeMX))
		if err == nil && len(a.Records) == 0 {
			believed++
		} else {
			last = err
		}
	}
	return believed, last
}

// empty answers every query with no record.
func empty(_ dns.ResponseWriter, req, _ *dns.Msg) *dns.Msg { return new(dns.Msg).SetReply(req) }

// TestServerThatDeniesAllNames tests that the denials of a server count only if it has a record for a name that must exist.
func TestServerThatDeniesAllNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after string // zones; the questions begin after a record of the first
		behave        []dnstest.Behaviour
		denies        bool
	}{
		"Internet":                         {before: both, after: both},
		"a client's name is gone":          {before: both, after: internetText},
		"private network":                  {before: privateText, after: privateText},
		"no answer about the root":         {before: both, after: "!SERVFAIL a.root-servers.net."},
		"no answer about the known name":   {before: both, after: "!SERVFAIL host.example.org."},
		"NXDOMAIN for all":                 {before: both, after: "", denies: true},
		"empty answers for all":            {before: both, after: both, behave: []dnstest.Behaviour{empty}, denies: true},
		"private network that lost itself": {before: privateText, after: "", denies: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.Start(t, c.before)
			r := start(t, Config{Servers: []string{s.Addr}})
			if _, err := r.Lookup(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			if err := s.Set(c.after); err != nil {
				t.Fatal(err)
			}
			s.Behave(c.behave...)
			want := 3 * maxDenials
			if c.denies {
				want = maxDenials - 1
			}
			believed, err := denied(r, "a", 3*maxDenials)
			if believed != want || errors.Is(err, errDeniesAll) != c.denies {
				t.Errorf("%d answers believed, want %d; last error %v", believed, want, err)
			}
			if got := len(r.Stats().Denying); got > 0 != c.denies {
				t.Errorf("%d servers deny all names, want any: %t", got, c.denies)
			}
		})
	}
}

// TestDenialsEnd tests that what a server denied is forgotten, that a record ends its state, and what is logged.
func TestDenialsEnd(t *testing.T) {
	t.Parallel()
	log, lines := logtest.NewNullLogger()
	s := dnstest.Start(t, "")
	r := start(t, Config{Servers: []string{s.Addr}, Log: logrus.NewEntry(log)})
	if a, err := r.Lookup(t.Context(), host); err != nil || !a.NXDomain {
		t.Fatalf("the first answer is not believed: %v, %v", a, err)
	}
	denied(r, "a", maxDenials)
	if got := r.Stats().Denying; !slices.Equal(got, []string{s.Addr}) {
		t.Fatalf("servers that deny all names: %q", got)
	}
	if err := s.Set(both); err != nil {
		t.Fatal(err)
	}
	if a, err := r.Lookup(t.Context(), host); err != nil || len(a.Records) != 1 {
		t.Errorf("a denied name was not asked again: %v, %v", a, err)
	}
	if believed, err := denied(r, "b", 2*maxDenials); believed != 2*maxDenials || len(r.Stats().Denying) > 0 {
		t.Errorf("after a record %d of %d answers are believed: %v", believed, 2*maxDenials, err)
	}
	var got []string
	for _, e := range lines.AllEntries() {
		got = append(got, fmt.Sprint(e.Level, " ", e.Message, " ", e.Data["server"] == s.Addr))
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], "warning the name server denies all names") || !strings.HasPrefix(got[1], "info the name server has records again") {
		t.Errorf("logged %q", got)
	}
}

// TestNextServerIsAskedAfterADenial tests that a server that denies all names is no reason to refuse while another one answers.
func TestNextServerIsAskedAfterADenial(t *testing.T) {
	t.Parallel()
	portal, good := dnstest.Start(t, ""), dnstest.Start(t, both)
	r := start(t, Config{Servers: []string{portal.Addr, good.Addr}})
	denied(r, "a", maxDenials)
	if a, err := r.Lookup(t.Context(), host); err != nil || len(a.Records) != 1 {
		t.Errorf("got %v, %v", a, err)
	}
	if believed, err := denied(r, "b", maxDenials); believed != maxDenials {
		t.Errorf("%d of %d denials of the good server are believed: %v", believed, maxDenials, err)
	}
}
