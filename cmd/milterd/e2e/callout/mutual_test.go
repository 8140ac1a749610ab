package callout

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// mailSite is one of several sites that send mail to each other.
type mailSite struct {
	daemontest.MailServer
	domain string
}

// startSites starts mail servers for a.test, b.test and so on, each with milterd and callouts. The settings are added to
// those of the check callout, with DOMAIN replaced.
func startSites(t *testing.T, settings string, start ...func(*testing.T, *miltertest.Site) *miltertest.MTA) []*mailSite {
	t.Helper()
	var sites []*mailSite
	zone := ""
	for i, run := range start {
		s := &mailSite{domain: fmt.Sprintf("%c.test", 'a'+i)}
		s.Site = miltertest.NewSite(t, "")
		s.Site.Domain, s.Site.Outbound = s.domain, true
		s.MTA = run(t, s.Site)
		host, _, _ := net.SplitHostPort(s.Addr)
		zone += fmt.Sprintf("%s. MX 10 mx.%[1]s.\nmx.%[1]s. A %s\n", s.domain, host)
		sites = append(sites, s)
	}
	for _, s := range sites {
		if err := s.Site.DNS.Set(zone); err != nil {
			t.Fatal(err)
		}
		actions := daemontest.OnlyReason("callout-rejected", "tempfail")
		maps.Copy(actions, map[string]string{
			"callout-unreachable": "watch", "callout-pending": "tempfail", "from-callout-rejected": "watch",
		})
		settings := strings.ReplaceAll(settings, "DOMAIN", s.domain)
		s.Daemon = daemontest.StartInSite(t, s.Site, daemontest.Config{
			DNS: s.Site.DNS.Addr, Domain: s.domain, Profile: "strict", Actions: actions,
			Extra: fmt.Sprintf("checks: {callout: {port: 2525, allow_private: true%s}}\n", settings),
		}, s.MTA)
	}
	return sites
}

// submit sends a message of a local user, which the mail server delivers to another site.
func (s *mailSite) submit(t *testing.T, from, to string) (subject string) {
	t.Helper()
	c := miltertest.DialSMTP(t, s.Addr, "127.0.0.10")
	if s.XClient {
		c.Must("2", "EHLO home."+s.domain)
	} else {
		s.Authenticate(c)
	}
	daemontest.Envelope(c, from, to)
	subject, msg := daemontest.UniqueMessage(daemontest.Field{"From", from}, daemontest.Field{"To", to})
	daemontest.SendMessage(t, c, msg)
	return subject
}

// TestMutualCallouts tests that sites that make callouts to each other deliver mail in both directions, without waiting
// for each other.
func TestMutualCallouts(t *testing.T) {
	miltertest.Require(t)
	postfix := func(more ...string) func(*testing.T, *miltertest.Site) *miltertest.MTA {
		more = append(more, "mynetworks = 127.0.0.10", "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination")
		return func(t *testing.T, s *miltertest.Site) *miltertest.MTA { return s.Postfix(t, more...) }
	}
	sendmail := func(t *testing.T, s *miltertest.Site) *miltertest.MTA { return s.Sendmail(t) }
	t.Run("two Postfixes and a Sendmail", func(t *testing.T) {
		t.Parallel()
		testMutual(t, startSites(t, "", postfix(), postfix(), sendmail), false)
	})
	t.Run("null reverse-path refused", func(t *testing.T) {
		t.Parallel()
		refusing := postfix(strings.Split(noNull, "\n")...)
		testMutual(t, startSites(t, ", from: postmaster@DOMAIN", refusing, refusing), true)
	})
}

// testMutual sends two messages from each site to each other site. Callouts may be answered later only where mail may be
// deferred.
func testMutual(t *testing.T, sites []*mailSite, mayDefer bool) {
	subjects := map[*mailSite][]string{}
	for range 2 {
		for _, from := range sites {
			for _, to := range sites {
				if from != to {
					subjects[to] = append(subjects[to], from.submit(t, "alice@"+from.domain, "bob@"+to.domain))
				}
			}
		}
	}
	for _, s := range sites {
		for _, subject := range subjects[s] {
			s.Delivered(t, "bob", subject)
		}
		for _, other := range sites {
			if other != s {
				s.Daemon.AwaitEntry(t, 0, daemontest.Entry{"msg": "callout", "sender": "<alice@" + other.domain + ">", "mx": "mx." + other.domain})
			}
		}
		if mayDefer {
			continue
		}
		for _, e := range s.Daemon.Entries(t, 0) {
			if e["msg"] == "callout" && e["answer"] != "accepted" || e["reason"] == "callout-pending" {
				t.Errorf("%s: %v", s.domain, e)
			}
		}
	}
}
