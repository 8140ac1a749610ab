package dnsbl_test

import (
	"errors"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

// reload replaces the check as a reload of the configuration does.
func (s *site) reload(settings dnsbl.Zone) {
	env := checktest.Env(s.t, "")
	env.DNS = &s.dns
	env.Log.Logger.SetOutput(&s.log)
	next := build(s.t, env, settings)
	next.Reload(s.dnsblCheck)
	next.Maintain(s.t.Context(), s.now)
	s.dnsblCheck = next
}

func TestReloadKeepsZoneSuspended(t *testing.T) {
	t.Parallel()
	same := zone(t, "bl.example", dnsbl.Client)
	s := newSite(t, listsAll)
	s.mails(100)
	old := s.dnsblCheck
	for range 5 {
		s.reload(same)
		if n := s.mails(20); n > 0 {
			t.Errorf("%d refused after a reload", n)
		}
		s.want("off", "it lists the world")
	}
	s.dns.set(listsNone)
	s.mail()
	s.want("on", "")
	if st := old.Report()[0]; st.State != "off" {
		t.Errorf("the old check shares state with the new one: %+v", st)
	}
}

func TestReloadKeepsTheRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsAll)
	refused := 0
	for range 12 {
		refused += s.mails(1)
		s.reload(zone(t, "bl.example", dnsbl.Client))
	}
	if refused != 11 {
		t.Errorf("%d client networks were refused with a reload after each, want 11", refused)
	}
}

func TestReloadTestsZonesThatAreOff(t *testing.T) {
	t.Parallel()
	same := zone(t, "bl.example", dnsbl.Client)
	dead := func(string) (string, error) { return "", errors.New("SERVFAIL") }
	s := newSite(t, listsNone)
	s.dns.set(dead)
	s.reload(same)
	s.want("on", "")
	s.pass(time.Hour)
	s.want("off", "SERVFAIL")
	s.dns.set(listsNone)
	s.reload(same)
	s.want("on", "")

	s.dns.set(dead)
	other := same
	other.Allow = true
	s.reload(other) // a zone with other settings begins untested
	s.want("off", "SERVFAIL")
}

func TestReloadWithAShorterHealth(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsNone)
	s.mail()
	env := checktest.Env(t, "")
	env.DNS = &s.dns
	next := checktest.Build(t, dnsbl.Info, env, func(c *dnsbl.Settings) {
		c.Health, c.Zones = 5*time.Minute, []dnsbl.Zone{zone(t, "bl.example", dnsbl.Client)}
	}).(dnsblCheck)
	next.Reload(s.dnsblCheck)
	s.dnsblCheck = next
	s.dns.set(func(string) (string, error) { return "", errors.New("SERVFAIL") })
	s.pass(4 * time.Minute)
	s.want("on", "")
	s.pass(2 * time.Minute)
	s.want("off", "SERVFAIL")
}
