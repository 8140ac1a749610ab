package web

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store/status"
)

// Components has functions that return the state of the daemon's components, for the metrics and the dashboard. All must be
// set. It implements prometheus.Collector.
type Components struct {
	Connections func() int    // open milter connections
	LogDropped  func() uint64 // log lines lost since the start
	Records     func() records.Stats
	Store       func() status.Store
	DNS         func() resolver.Stats
	Checks      func() []checks.Condition
	ConfigValid func() bool // the last reload of the configuration succeeded
}

// Describe implements prometheus.Collector. It describes nothing: Collect makes the descriptions.
func (c Components) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c Components) Collect(to chan<- prometheus.Metric) {
	e := emitter{to}
	e.gauge("connections", "Open milter connections.", float64(c.Connections()))
	e.gauge("config_valid", "1 if the configuration file was valid when it was last read. If 0, the earlier configuration is in force.", oneIf(c.ConfigValid()))
	e.counter("log_dropped_total", "Log lines lost because the log did not take them in time.", c.LogDropped())
	r := c.Records()
	e.counter("records_written_total", "Decision records written to the store.", r.Written)
	e.counter("records_dropped_total", "Decision records lost because the store did not take them in time.", r.Dropped)
	e.store(c.Store())
	e.dns(c.DNS())
	e.conditions(c.Checks())
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// emitter sends metrics.
type emitter struct{ to chan<- prometheus.Metric }

func (e emitter) counter(name, help string, n uint64) {
	e.send(prometheus.CounterValue, name, help, float64(n), nil)
}

func (e emitter) gauge(name, help string, n float64) {
	e.send(prometheus.GaugeValue, name, help, n, nil)
}

// send sends a metric with the values of its labels.
func (e emitter) send(kind prometheus.ValueType, name, help string, value float64, labels []string, values ...string) {
	e.to <- prometheus.MustNewConstMetric(prometheus.NewDesc("milterd_"+name, help, labels, nil), kind, value, values...)
}

func (e emitter) store(s status.Store) {
	e.gauge("store_up", "1 while the store works, else 0.", oneIf(s.OK))
	e.counter("store_errors_total", "Failed operations of the store, including probes.", s.Errors)
	if s.Records >= 0 { // -1: unknown
		e.gauge("store_records", "Approximate number of records in the store.", float64(s.Records))
	}
	if s.Bytes >= 0 {
		e.gauge("store_bytes", "Approximate size of the store on disk or in memory.", float64(s.Bytes))
	}
}

func (e emitter) dns(s resolver.Stats) {
	e.counter("resolver_queries_total", "Queries sent over UDP, including retries.", s.Queries)
	e.counter("resolver_tcp_total", "Queries repeated over TCP because the answer was truncated.", s.TCP)
	e.counter("resolver_cache_hits_total", "Questions answered from the cache.", s.Hits)
	e.counter("resolver_coalesced_total", "Questions that waited for the answer to an equal one.", s.Coalesced)
	for kind, n := range map[string]uint64{
		"timeout": s.Timeouts, "unreachable": s.Unreachable, "servfail": s.ServFail, "refused": s.Refused, "malformed": s.Malformed,
	} {
		const help = "Failed queries, counted for each name server."
		e.send(prometheus.CounterValue, "resolver_failures_total", help, float64(n), []string{"kind"}, kind)
	}
	e.counter("resolver_misfits_total", "Packets that match no query: late or forged.", s.Misfits)
	e.counter("resolver_announced_total", "Questions announced for prefetch.", s.Announced)
	e.counter("resolver_dropped_total", "Announced questions that were not asked because of a limit.", s.Dropped)
	e.counter("resolver_panics_total", "Panics during prefetch or while parsing an answer.", s.Panics)
	e.gauge("resolver_cache_entries", "Approximate number of answers in the cache.", float64(s.Entries))
	e.gauge("resolver_cache_bytes", "Approximate memory used by the cache.", float64(s.Bytes))
}

// conditions sends the first condition of each name. A file may be configured twice, but Prometheus rejects duplicate
// series.
func (e emitter) conditions(list []checks.Condition) {
	const about = "a DNSBL zone, a file, or anything else that a check depends on."
	sent := make(map[[2]string]bool, len(list))
	for _, c := range list {
		name := strings.ToValidUTF8(c.Name, "\uFFFD")
		key := [2]string{c.Check, name}
		if sent[key] {
			continue
		}
		sent[key] = true
		e.send(prometheus.GaugeValue, "condition", "Always 1; the labels are the state of "+about, 1,
			[]string{"check", "name", "state"}, c.Check, name, c.State)
		for count, n := range c.Counts { // counters and gauges
			e.send(prometheus.UntypedValue, "condition_counts", "Counts of "+about, float64(n),
				[]string{"check", "name", "count"}, c.Check, name, count)
		}
	}
}
