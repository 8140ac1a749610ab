// Package mtacases has the end-to-end tests of milterd behind a real mail server. The packages postfix and sendmail
// beside it run them, each with its own server; what the servers do differently is a field of miltertest.MTA.
//
// Run starts one server for all cases. Cases that need a configuration of their own restart only the daemon.
package mtacases

import (
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// zone is the DNS of all cases.
var zone = daemontest.World + policyZone + keyZone + forgedZone

// testCase is a test with a mail server and a running daemon.
type testCase struct {
	name string
	test func(*testing.T, *daemontest.MailServer)
}

// Run runs all cases with a mail server.
func Run(t *testing.T, start func(*miltertest.Site) *miltertest.MTA) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, zone)
	m := start(site)
	run := func(t *testing.T, c daemontest.Config, test func(*testing.T, *daemontest.MailServer)) {
		t.Helper()
		test(t, &daemontest.MailServer{MTA: m, Site: site, Daemon: daemontest.StartInSite(t, site, c, m)})
	}
	strict := daemontest.StrictConfig(site)
	t.Run("refusals", func(t *testing.T) { run(t, strict, testRefusals) })
	t.Run("sessions", func(t *testing.T) { run(t, strict, testSessions) })
	t.Run("policies", func(t *testing.T) { run(t, policyConfig(t, site), testPolicies) })
	t.Run("trace fields", func(t *testing.T) { run(t, traceConfig(site), testTraceFields) })
	t.Run("bodies", func(t *testing.T) { run(t, traceConfig(site), testBodies) })
	t.Run("marks", func(t *testing.T) { run(t, marksConfig(site), testMarks) })
	t.Run("signed messages", func(t *testing.T) { run(t, strict, testDKIM) })
	for _, c := range restarts {
		t.Run(c.name, func(t *testing.T) { run(t, strict, c.test) })
	}
	for _, c := range histories {
		if c.mta != "" && c.mta != m.Name {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.config.DNS, c.config.Profile = site.DNS.Addr, "safe"
			run(t, c.config, c.test)
		})
	}
}
