package main

import (
	"fmt"
	"strings"
	"time"

	"milterd/checks"
	"milterd/milter/resolver"
)

// problems returns what keeps the daemon from working, for the health pages and the dashboard.
func (d *daemon) problems() []string {
	list := []string{} // [] in JSON
	if s := d.store.Status(); !s.OK {
		cause := s.Error
		if !strings.Contains(cause, s.Place) {
			cause = s.Place + ": " + cause
		}
		list = append(list, fmt.Sprintf("the store is down since %s: %s", formatTime(s.Since), cause))
	}
	if !d.serving.Load() {
		list = append(list, "no mail server can connect: the daemon starts or stops")
	}
	return list
}

// manyUnanswered is the number of questions in a row, unanswered, that are taken for a failure of the name servers. Half of it may be
// the questions of a few messages about domains whose own servers are down; with double, a small site notices a failure late.
const manyUnanswered = 50

// warnings returns what the operator should look at although the daemon works.
func (d *daemon) warnings() []string {
	list := append([]string{}, d.server.Warnings()...) // [] in JSON
	if f := d.reloadFailed.Load(); f != nil {
		list = append(list, f.String())
	}
	d.mu.Lock()
	cfg, keys := d.cfg, d.waitingKeys
	d.mu.Unlock()
	if len(cfg.LocalDomains) == 0 {
		list = append(list, "local_domains: "+noLocalDomains)
	}
	return append(list, stateWarnings(cfg.Store.Driver, d.store.Status().Driver, keys, d.resolver.Stats())...)
}

// stateWarnings returns warnings about a store that is not the configured one, keys that take effect at the next start, and name
// servers that deny all names or do not answer.
func stateWarnings(wanted, driver string, keys []string, dns resolver.Stats) (list []string) {
	if len(keys) > 0 {
		list = append(list, fmt.Sprintf("the last reload changed what takes effect at the next start: %s; run systemctl restart milterd", strings.Join(keys, ", ")))
	}
	if wanted == "embedded" && driver == "memory" {
		list = append(list, "the state is in memory and lost at the end, as its folder could not be used at the start; correct what the log of "+
			"the start says, and run systemctl restart milterd")
	}
	switch {
	case len(dns.Denying) > 0:
		list = append(list, fmt.Sprintf("name server %s denies all names, as a captive portal or a filter does, and is not believed; the next one is asked, "+
			"or on_error applies; see dns.servers or /etc/resolv.conf, and what the name server does", strings.Join(dns.Denying, ", ")))
	case dns.Unanswered >= manyUnanswered:
		list = append(list, fmt.Sprintf("no name server answered the last %d questions, and on_error applies; see dns.servers or "+
			"/etc/resolv.conf, and whether the name servers work", dns.Unanswered))
	}
	return list
}

// conditions returns the state of what the checks depend on, and of the clock if it is in doubt.
func (d *daemon) conditions() []checks.Condition {
	list := d.pipeline.Load().Report()
	if why := d.clock.Doubt(time.Now()); why != "" {
		list = append(list, checks.Condition{Check: "msgfields", Name: "clock", State: "doubted", Why: why})
	}
	return list
}

// attention returns what the operator should look at, one sentence each. It is for the pages and for the daily report, which has some
// conditions of checks elsewhere.
func (d *daemon) attention(conditions []checks.Condition) []string {
	list := append(d.problems(), d.warnings()...)
	for _, c := range conditions {
		if c.Why != "" {
			list = append(list, fmt.Sprintf("%s %s is %s: %s", c.Check, c.Name, c.State, c.Why))
		}
	}
	return append(list, dropped(d.recordStats().Dropped, d.output.Dropped())...)
}

// dropped says what was dropped since the start.
func dropped(records, logLines uint64) (list []string) {
	if records > 0 {
		list = append(list, fmt.Sprintf("%d decision %s dropped since the start, while the store was down or slow", records, plural(int(records), "records")))
	}
	if logLines > 0 {
		list = append(list, fmt.Sprintf("%d log %s dropped since the start, as the log did not take them", logLines, plural(int(logLines), "lines")))
	}
	return list
}
