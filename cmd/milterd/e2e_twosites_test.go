package main_test

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// side is one of two mail sites that send mail to each other.
type side struct {
	daemontest.MailServer
	domain string
}

// twoSides starts two mail servers, each with milterd and callouts on. Each finds the other in its DNS.
func twoSides(t *testing.T, more string, start ...func(*miltertest.Site) *miltertest.MTA) []*side {
	t.Helper()
	var sides []*side
	zone := ""
	for i, run := range start {
		s := &side{domain: []string{"a.test", "b.test"}[i]}
		s.Site = miltertest.NewSite(t, "")
		s.Site.Domain, s.Site.Outbound = s.domain, true
		s.MTA = run(s.Site)
		host, _, _ := net.SplitHostPort(s.Addr)
		zone += fmt.Sprintf("%s. MX 10 mx.%[1]s.\nmx.%[1]s. A %s\n", s.domain, host)
		sides = append(sides, s)
	}
	for _, s := range sides {
		if err := s.Site.DNS.Set(zone); err != nil {
			t.Fatal(err)
		}
		// As in the profile strict, with as much patience as the mail servers have: whoever waits for the other shows.
		actions := daemontest.OnlyReason("callout-rejected", "tempfail")
		maps.Copy(actions, map[string]string{"callout-unreachable": "watch", "callout-pending": "tempfail", "from-callout-rejected": "watch"})
		s.Daemon = daemontest.StartInSite(t, s.Site, daemontest.Config{
			DNS: s.Site.DNS.Addr, Domain: s.domain, Profile: "strict", Actions: actions,
			Extra: fmt.Sprintf("checks: {callout: {port: 2525, allow_private: true%s}}\n", strings.ReplaceAll(more, "DOMAIN", s.domain)),
		}, s.MTA)
	}
	return sides
}

// submit gives a message of a user at home to the mail server, which has to find the other one.
func (s *side) submit(t *testing.T, from, to string) (subject string) {
	t.Helper()
	c := miltertest.DialSMTP(t, s.Addr, "127.0.0.10")
	if s.XClient {
		c.Must("2", "EHLO home."+s.domain)
	} else {
		s.Authenticate(c, s.Site)
	}
	daemontest.Envelope(c, from, to)
	subject, msg := daemontest.UniqueMessage(daemontest.Field{"From", from}, daemontest.Field{"To", to})
	if r := c.Data(msg); r.Code != "250" {
		t.Fatalf("submission at %s: %s", s.domain, r)
	}
	return subject
}

// TestTwoSites: two mail servers that both call out deliver to each other, and nobody waits for the other.
func TestTwoSites(t *testing.T) {
	miltertest.Require(t)
	postfix := func(more ...string) func(*miltertest.Site) *miltertest.MTA {
		more = append(more, "mynetworks = 127.0.0.10", "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination")
		return func(s *miltertest.Site) *miltertest.MTA { return s.Postfix(t, more...) }
	}
	sendmail := func(s *miltertest.Site) *miltertest.MTA { return s.Sendmail(t) }
	refusing := postfix(strings.Split(noNull, "\n")...)
	for _, c := range []struct {
		name     string
		a, b     func(*miltertest.Site) *miltertest.MTA
		settings string
		deferred bool // mail may be told to come back
	}{
		{name: "Postfix and Postfix", a: postfix(), b: postfix()},
		{name: "Postfix and Sendmail", a: postfix(), b: sendmail},
		{name: "two that refuse <>", a: refusing, b: refusing, settings: ", from: postmaster@DOMAIN", deferred: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			sides := twoSides(t, c.settings, c.a, c.b)
			subjects := map[*side][]string{}
			for range 2 {
				for i, s := range sides {
					other := sides[1-i]
					subjects[other] = append(subjects[other], s.submit(t, "alice@"+s.domain, "bob@"+other.domain))
				}
			}
			for i, s := range sides {
				for _, subject := range subjects[s] {
					s.Delivered(t, "bob", subject)
				}
				sender := "alice@" + sides[1-i].domain
				s.Daemon.AwaitEntry(t, 0, daemontest.Entry{"msg": "callout", "sender": "<" + sender + ">", "mx": "mx." + sides[1-i].domain})
				for _, e := range s.Daemon.Entries(t, 0) {
					if e["msg"] == "callout" && e["answer"] != "accepted" && !c.deferred || e["reason"] == "callout-pending" && !c.deferred {
						t.Errorf("%s: %v", s.domain, e)
					}
				}
			}
		})
	}
}
