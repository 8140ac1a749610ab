package dnsbl_test

import (
	"errors"
	"testing"
	"time"

	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

// reload replaces the check as the daemon does when it reads its configuration again.
func (s *site) reload(settings dnsbl.Zone) {
	env := checktest.Env(s.t, "")
	env.DNS = &s.dns
	env.Log.Logger.SetOutput(&s.log)
	next := build(s.t, env, settings)
	next.Reload(s.Check)
	next.Maintain(s.t.Context(), s.now)
	s.Check = next
}

func TestReloadKeepsThatAZoneListsTheWorld(t *testing.T) {
	t.Parallel()
	same := zone(t, "bl.example", dnsbl.Client)
	s := newSite(t, listsAll)
	s.mails(100)
	old := s.Check
	for range 5 {
		s.reload(same)
		if n := s.mails(20); n > 0 {
			t.Errorf("%d refused after a reload", n)
		}
		s.want(dnsbl.Off, "it lists the world")
	}
	s.dns.set(listsNone)
	s.mail()
	s.want(dnsbl.On, "")
	if st := old.Zones()[0]; st.State != dnsbl.Off {
		t.Errorf("the old check shares state with the new one: %+v", st)
	}
}

func TestReloadKeepsARunThatHasBegun(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsAll)
	refused := 0
	for range 12 {
		refused += s.mails(1)
		s.reload(zone(t, "bl.example", dnsbl.Client))
	}
	if refused != 11 {
		t.Errorf("%d client networks refused with a reload after each, want 11", refused)
	}
}

// TestReloadTestsZonesThatAreOff: the operator may have mended the way to them.
func TestReloadTestsZonesThatAreOff(t *testing.T) {
	t.Parallel()
	same := zone(t, "bl.example", dnsbl.Client)
	dead := func(string) (string, error) { return "", errors.New("SERVFAIL") }
	s := newSite(t, listsNone)
	s.dns.set(dead)
	s.reload(same)
	s.want(dnsbl.On, "")
	s.pass(time.Hour)
	s.want(dnsbl.Off, "SERVFAIL")
	s.dns.set(listsNone)
	s.reload(same)
	s.want(dnsbl.On, "")

	s.dns.set(dead)
	other := same
	other.Allow = true
	s.reload(other) // another zone begins anew
	s.want(dnsbl.Off, "SERVFAIL")
}

func TestReloadWithAShorterHealth(t *testing.T) {
	t.Parallel()
	s := newSite(t, listsNone)
	s.mail()
	env := checktest.Env(t, "")
	env.DNS = &s.dns
	next := checktest.Build(t, dnsbl.Info, env, func(c *dnsbl.Settings) {
		c.Health, c.Zones = 5*time.Minute, []dnsbl.Zone{zone(t, "bl.example", dnsbl.Client)}
	}).(*dnsbl.Check)
	next.Reload(s.Check)
	s.Check = next
	s.dns.set(func(string) (string, error) { return "", errors.New("SERVFAIL") })
	s.pass(4 * time.Minute)
	s.want(dnsbl.On, "")
	s.pass(2 * time.Minute)
	s.want(dnsbl.Off, "SERVFAIL")
}
