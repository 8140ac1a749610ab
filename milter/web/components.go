package web

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

// Components returns the state of the daemon's components, for the metrics and the dashboard. All functions must be set. It
// implements prometheus.Collector.
type Components struct {
	Connections func() int    // open milter connections
	LogDropped  func() uint64 // log lines lost since the start
	Records     func() records.Stats
	Store       func() store.Status
	DNS         func() resolver.Stats
	Checks      func() []checks.Condition
}

// metric describes one metric of a component.
type metric struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.GaugeValue}
}

// untyped describes a metric that is a counter for some label values and a gauge for others.
func untyped(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.UntypedValue}
}

var (
	connections = gauge("connections", "Open milter connections.")
	logDropped  = counter("log_dropped_total", "Log lines lost because the log did not take them in time.")

	recordsWritten = counter("records_written_total", "Decision records written to the store.")
	recordsDropped = counter("records_dropped_total", "Decision records lost because the store did not take them in time.")

	storeUp      = gauge("store_up", "1 while the store works, else 0.")
	storeErrors  = counter("store_errors_total", "Failed operations of the store, including probes.")
	storeRecords = gauge("store_records", "Approximate number of records in the store.")
	storeBytes   = gauge("store_bytes", "Approximate size of the store on disk or in memory.")

	dnsQueries   = counter("resolver_queries_total", "Queries sent over UDP, including retries.")
	dnsTCP       = counter("resolver_tcp_total", "Queries repeated over TCP because the answer was truncated.")
	dnsHits      = counter("resolver_cache_hits_total", "Questions answered from the cache.")
	dnsCoalesced = counter("resolver_coalesced_total", "Questions that waited for the answer to an equal one.")
	dnsFailures  = counter("resolver_failures_total", "Failed queries, counted for each name server.", "kind")
	dnsMisfits   = counter("resolver_misfits_total", "Packets that match no query: late or forged.")
	dnsAnnounced = counter("resolver_announced_total", "Questions announced for prefetch.")
	dnsDropped   = counter("resolver_dropped_total", "Announced questions that were not asked because of a limit.")
	dnsPanics    = counter("resolver_panics_total", "Panics during prefetch or while parsing an answer.")
	dnsEntries   = gauge("resolver_cache_entries", "Approximate number of answers in the cache.")
	dnsBytes     = gauge("resolver_cache_bytes", "Approximate memory used by the cache.")

	condition       = gauge("condition", "Always 1; the labels are the state of a DNSBL zone, a file, or anything else that a check depends on.", "check", "name", "state")
	conditionCounts = untyped("condition_counts", "Counts of a DNSBL zone, a file, or anything else that a check depends on.", "check", "name", "count")
)

// Describe implements prometheus.Collector.
func (c Components) Describe(to chan<- *prometheus.Desc) {
	for _, m := range []metric{
		connections, logDropped, recordsWritten, recordsDropped, storeUp, storeErrors, storeRecords, storeBytes,
		dnsQueries, dnsTCP, dnsHits, dnsCoalesced, dnsFailures, dnsMisfits, dnsAnnounced, dnsDropped, dnsPanics, dnsEntries, dnsBytes,
		condition, conditionCounts,
	} {
		to <- m.Desc
	}
}

// Collect implements prometheus.Collector.
func (c Components) Collect(to chan<- prometheus.Metric) {
	send := func(m metric, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(m.Desc, m.kind, value, labels...)
	}
	send(connections, float64(c.Connections()))
	send(logDropped, float64(c.LogDropped()))
	r := c.Records()
	send(recordsWritten, float64(r.Written))
	send(recordsDropped, float64(r.Dropped))
	collectStore(c.Store(), send)
	collectDNS(c.DNS(), send)
	collectConditions(c.Checks(), send)
}

func collectStore(s store.Status, send func(metric, float64, ...string)) {
	up := 0.0
	if s.OK {
		up = 1
	}
	send(storeUp, up)
	send(storeErrors, float64(s.Errors))
	if s.Records >= 0 { // -1: unknown
		send(storeRecords, float64(s.Records))
	}
	if s.Bytes >= 0 {
		send(storeBytes, float64(s.Bytes))
	}
}

func collectDNS(s resolver.Stats, send func(metric, float64, ...string)) {
	send(dnsQueries, float64(s.Queries))
	send(dnsTCP, float64(s.TCP))
	send(dnsHits, float64(s.Hits))
	send(dnsCoalesced, float64(s.Coalesced))
	send(dnsFailures, float64(s.Timeouts), "timeout")
	send(dnsFailures, float64(s.Unreachable), "unreachable")
	send(dnsFailures, float64(s.ServFail), "servfail")
	send(dnsFailures, float64(s.Refused), "refused")
	send(dnsFailures, float64(s.Malformed), "malformed")
	send(dnsMisfits, float64(s.Misfits))
	send(dnsAnnounced, float64(s.Announced))
	send(dnsDropped, float64(s.Dropped))
	send(dnsPanics, float64(s.Panics))
	send(dnsEntries, float64(s.Entries))
	send(dnsBytes, float64(s.Bytes))
}

// collectConditions sends the first condition of each name. A file may be configured twice, but Prometheus rejects duplicate
// series.
func collectConditions(list []checks.Condition, send func(metric, float64, ...string)) {
	sent := make(map[[2]string]bool, len(list))
	for _, c := range list {
		name := strings.ToValidUTF8(c.Name, "\uFFFD")
		key := [2]string{c.Check, name}
		if sent[key] {
			continue
		}
		sent[key] = true
		send(condition, 1, c.Check, name, c.State)
		for count, n := range c.Counts {
			send(conditionCounts, float64(n), c.Check, name, count)
		}
	}
}
