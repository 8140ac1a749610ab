package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/milter/resolver/dnstest"
)

const (
	internetText = "com. SOA a.gtld-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 900"
	privateText  = "host.example.org. A 192.0.2.1"
	both         = internetText + "\n" + privateText
)

var host = checks.Ask("host.example.org", dns.TypeA)

// startTested returns a resolver whose tests of servers have ended when the answer that caused them is there, and its clock.
func startTested(t *testing.T, cfg Config) (*Resolver, *checktest.Clock) {
	t.Helper()
	c := new(checktest.Clock)
	cfg.Now = c.Now
	r := start(t, cfg)
	r.upstreams.background = func(f func(context.Context)) { f(t.Context()) }
	return r, c
}

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

// TestServerThatDeniesAllNames tests that the denials of a server count, unless it has lost the names of the Internet.
func TestServerThatDeniesAllNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after string // zones; before has 30 answers
		behave        []dnstest.Behaviour
		denies        bool
	}{
		"Internet":                         {before: both, after: both},
		"names of the site are gone":       {before: both, after: internetText},
		"private network":                  {before: privateText, after: privateText},
		"private network that lost itself": {before: privateText, after: ""},
		"no answer about the Internet":     {before: both, after: "!SERVFAIL com."},
		"NXDOMAIN for all":                 {before: both, after: "", denies: true},
		"NXDOMAIN for the Internet":        {before: both, after: privateText, denies: true},
		"empty answers for all":            {before: both, after: both, behave: []dnstest.Behaviour{empty}, denies: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.Start(t, c.before)
			r, clock := startTested(t, Config{Servers: []string{s.Addr}})
			if believed, err := denied(r, "before", maxDenials-1); believed != maxDenials-1 {
				t.Fatal(believed, err)
			}
			if _, err := r.Lookup(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			clock.Advance(testEvery)
			if err := s.Set(c.after); err != nil {
				t.Fatal(err)
			}
			s.Behave(c.behave...)
			want := 3 * maxDenials
			if c.denies {
				want = maxDenials - 1
			}
			believed, err := denied(r, "after", 3*maxDenials)
			if believed != want || errors.Is(err, errDeniesAll) != c.denies {
				t.Errorf("%d answers believed, want %d; last error %v", believed, want, err)
			}
			if got := len(r.Stats().Denying); got > 0 != c.denies {
				t.Errorf("%d servers deny all names, want any: %t", got, c.denies)
			}
		})
	}
}

// TestDenialsEnd tests that what a server denied is forgotten, how its state ends, and what is logged.
func TestDenialsEnd(t *testing.T) {
	t.Parallel()
	log, lines := logtest.NewNullLogger()
	s := dnstest.Start(t, both)
	r, clock := startTested(t, Config{Servers: []string{s.Addr}, Log: logrus.NewEntry(log)})
	set := func(zone string) {
		t.Helper()
		clock.Advance(time.Minute)
		if err := s.Set(zone); err != nil {
			t.Fatal(err)
		}
	}
	denied(r, "a", maxDenials)
	set("")
	if a, err := r.Lookup(t.Context(), host); err != nil || !a.NXDomain {
		t.Fatalf("the first answer is not believed: %v, %v", a, err)
	}
	denied(r, "b", maxDenials)
	if got := r.Stats().Denying; !slices.Equal(got, []string{s.Addr}) {
		t.Fatalf("servers that deny all names: %q", got)
	}
	set(privateText)
	if a, err := r.Lookup(t.Context(), host); err != nil || len(a.Records) != 1 {
		t.Errorf("a denied name was not asked again: %v, %v", a, err)
	}
	if believed, err := denied(r, "c", maxDenials); believed != 0 || !errors.Is(err, errDeniesAll) {
		t.Errorf("after a record of a private name %d denials are believed: %v", believed, err)
	}
	set(both)
	denied(r, "d", 1)
	if believed, err := denied(r, "e", 2*maxDenials); believed != 2*maxDenials || len(r.Stats().Denying) > 0 {
		t.Errorf("at the end %d of %d answers are believed: %v", believed, 2*maxDenials, err)
	}
	wantLogged(t, lines, s.Addr, "warning the name server denies all names", "info the name server resolves names of the Internet again")
}

// TestPrivateServerIsReportedOnce tests that a server which never resolved names of the Internet is reported, and tested once a second at most.
func TestPrivateServerIsReportedOnce(t *testing.T) {
	t.Parallel()
	log, lines := logtest.NewNullLogger()
	s := dnstest.Start(t, privateText)
	r, clock := startTested(t, Config{Servers: []string{s.Addr}, Log: logrus.NewEntry(log)})
	denied(r, "a", 5*maxDenials)
	if n := s.Asked("com.", dns.TypeSOA); n != 1 {
		t.Errorf("%d tests in a second", n)
	}
	clock.Advance(testEvery)
	denied(r, "b", maxDenials)
	if n := s.Asked("com.", dns.TypeSOA); n != 2 {
		t.Errorf("%d tests in two seconds", n)
	}
	wantLogged(t, lines, s.Addr, "warning the name server had no record for 30 questions in a row")
}

// TestPrivateServerWithRecords tests that a server which never resolved names of the Internet is not reported while it has records.
func TestPrivateServerWithRecords(t *testing.T) {
	t.Parallel()
	log, lines := logtest.NewNullLogger()
	s := dnstest.Start(t, privateText)
	r, clock := startTested(t, Config{Servers: []string{s.Addr}, Log: logrus.NewEntry(log)})
	for i := range 3 {
		denied(r, fmt.Sprint(i, "a"), maxDenials-1)
		clock.Advance(time.Hour)
		if _, err := r.Lookup(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Asked("com.", dns.TypeSOA); n != 3 {
		t.Errorf("%d tests", n)
	}
	wantLogged(t, lines, s.Addr)
}

// TestInternetIsSeenLater tests that a failure of the first test does not make a server one of a private network.
func TestInternetIsSeenLater(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, privateText+"\n!SERVFAIL com.")
	r, clock := startTested(t, Config{Servers: []string{s.Addr}})
	for i, zone := range []string{both, ""} {
		denied(r, fmt.Sprint(i, "a"), maxDenials-1)
		if _, err := r.Lookup(t.Context(), host); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Hour) // the record of host expires
		if err := s.Set(zone); err != nil {
			t.Fatal(err)
		}
	}
	if believed, err := denied(r, "b", 2*maxDenials); believed != maxDenials-1 {
		t.Errorf("%d denials believed: %v", believed, err)
	}
}

// TestAllServersFail tests that the denials of a server that was never asked before count as little as those of the others.
func TestAllServersFail(t *testing.T) {
	t.Parallel()
	first, second := dnstest.Start(t, both), dnstest.Start(t, both)
	r, clock := startTested(t, Config{Servers: []string{first.Addr, second.Addr}})
	denied(r, "a", maxDenials)
	clock.Advance(testEvery)
	for _, s := range []*dnstest.Server{first, second} {
		if err := s.Set(""); err != nil {
			t.Fatal(err)
		}
	}
	if believed, err := denied(r, "b", 4*maxDenials); believed != 2*maxDenials-2 || !errors.Is(err, errDeniesAll) {
		t.Errorf("%d denials believed: %v", believed, err)
	}
	if got := r.Stats().Denying; len(got) != 2 {
		t.Errorf("servers that deny all names: %q", got)
	}
}

// wantLogged compares what was logged about a server with the beginnings of lines.
func wantLogged(t *testing.T, lines *logtest.Hook, server string, want ...string) {
	t.Helper()
	var got []string
	for _, e := range lines.AllEntries() {
		if e.Data["server"] != server {
			t.Errorf("%s about %v", e.Message, e.Data)
		}
		got = append(got, e.Level.String()+" "+e.Message)
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// TestNextServerIsAskedAfterADenial tests that a server that denies all names is no reason to refuse while another one answers.
func TestNextServerIsAskedAfterADenial(t *testing.T) {
	t.Parallel()
	portal, good := dnstest.Start(t, both), dnstest.Start(t, both)
	r, clock := startTested(t, Config{Servers: []string{portal.Addr, good.Addr}})
	denied(r, "a", maxDenials)
	clock.Advance(testEvery)
	if err := portal.Set(""); err != nil {
		t.Fatal(err)
	}
	denied(r, "b", maxDenials)
	if a, err := r.Lookup(t.Context(), host); err != nil || len(a.Records) != 1 {
		t.Errorf("got %v, %v", a, err)
	}
	if believed, err := denied(r, "c", maxDenials); believed != maxDenials {
		t.Errorf("%d of %d denials of the good server are believed: %v", believed, maxDenials, err)
	}
}
