package web

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store"
)

// Parts are the parts of the daemon that count for themselves. It implements prometheus.Collector.
type Parts struct {
	Connections func() int
	LogDropped  func() uint64
	Records     func() records.Stats
	Store       func() store.Status
	DNS         func() resolver.Stats
	Checks      func() []checks.Condition
}

// part is a number that a part tells.
type part struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) part {
	return part{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) part {
	return part{prometheus.NewDesc("milterd_"+name, help, labels, nil), prometheus.GaugeValue}
}

var (
	connections = gauge("connections", "Connections of mail servers that are open.")
	logDropped  = counter("log_dropped_total", "Log lines lost because nobody took them in time.")

	recordsWritten = counter("records_written_total", "Records of decisions written.")
	recordsDropped = counter("records_dropped_total", "Records of decisions that the store did not take, or not in time.")

	storeUp      = gauge("store_up", "Whether the store works: 1 or 0.")
	storeErrors  = counter("store_errors_total", "Operations of the store that failed, probes included.")
	storeRecords = gauge("store_records", "Records in the store, about.")
	storeBytes   = gauge("store_bytes", "What they take on the disk or in memory, about.")

	dnsQueries   = counter("resolver_queries_total", "Questions sent over UDP, repetitions included.")
	dnsTCP       = counter("resolver_tcp_total", "Questions asked again over TCP, because the answer was truncated.")
	dnsHits      = counter("resolver_cache_hits_total", "Questions answered from the cache.")
	dnsCoalesced = counter("resolver_coalesced_total", "Questions that joined one already on its way.")
	dnsFailures  = counter("resolver_failures_total", "Failures of name servers, for each server that was asked.", "kind")
	dnsMisfits   = counter("resolver_misfits_total", "Packets that fit no question: late, or forged.")
	dnsAnnounced = counter("resolver_announced_total", "Questions announced ahead.")
	dnsDropped   = counter("resolver_dropped_total", "Questions announced ahead but not asked because of a limit.")
	dnsPanics    = counter("resolver_panics_total", "Panics in questions asked ahead or in parsing.")
	dnsEntries   = gauge("resolver_cache_entries", "Answers in the cache, about.")
	dnsBytes     = gauge("resolver_cache_bytes", "Memory that these take, about.")

	condition = gauge("condition", "What a check depends on, such as a DNSBL zone or a file: 1 with the state it is in.", "check", "name", "state")
	// Some of these numbers only grow, others do not.
	conditionCounts = part{
		prometheus.NewDesc("milterd_condition_counts", "What a check counts of that.", []string{"check", "name", "count"}, nil), prometheus.UntypedValue,
	}
)

// Describe implements prometheus.Collector.
func (p Parts) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []part{
		connections, logDropped, recordsWritten, recordsDropped, storeUp, storeErrors, storeRecords, storeBytes,
		dnsQueries, dnsTCP, dnsHits, dnsCoalesced, dnsFailures, dnsMisfits, dnsAnnounced, dnsDropped, dnsPanics, dnsEntries, dnsBytes,
		condition, conditionCounts,
	} {
		to <- d.Desc
	}
}

// Collect implements prometheus.Collector.
func (p Parts) Collect(to chan<- prometheus.Metric) {
	tell := func(d part, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d.Desc, d.kind, value, labels...)
	}
	tell(connections, float64(p.Connections()))
	tell(logDropped, float64(p.LogDropped()))
	r := p.Records()
	tell(recordsWritten, float64(r.Written))
	tell(recordsDropped, float64(r.Dropped))
	collectStore(p.Store(), tell)
	collectDNS(p.DNS(), tell)
	collectConditions(p.Checks(), tell)
}

func collectStore(s store.Status, tell func(part, float64, ...string)) {
	up := 0.0
	if s.OK {
		up = 1
	}
	tell(storeUp, up)
	tell(storeErrors, float64(s.Errors))
	if s.Records >= 0 {
		tell(storeRecords, float64(s.Records))
	}
	if s.Octets >= 0 {
		tell(storeBytes, float64(s.Octets))
	}
}

func collectDNS(s resolver.Stats, tell func(part, float64, ...string)) {
	tell(dnsQueries, float64(s.Queries))
	tell(dnsTCP, float64(s.TCP))
	tell(dnsHits, float64(s.Hits))
	tell(dnsCoalesced, float64(s.Coalesced))
	tell(dnsFailures, float64(s.Timeouts), "timeout")
	tell(dnsFailures, float64(s.Unreachable), "unreachable")
	tell(dnsFailures, float64(s.ServFail), "servfail")
	tell(dnsFailures, float64(s.Refused), "refused")
	tell(dnsFailures, float64(s.Malformed), "malformed")
	tell(dnsMisfits, float64(s.Misfits))
	tell(dnsAnnounced, float64(s.Announced))
	tell(dnsDropped, float64(s.Dropped))
	tell(dnsPanics, float64(s.Panics))
	tell(dnsEntries, float64(s.Entries))
	tell(dnsBytes, float64(s.Octets))
}

// collectConditions tells each name of a check once: the same file may be in use twice, and Prometheus takes no series twice.
func collectConditions(list []checks.Condition, tell func(part, float64, ...string)) {
	told := make(map[[2]string]bool, len(list))
	for _, c := range list {
		name := strings.ToValidUTF8(c.Name, "\uFFFD")
		if key := [2]string{c.Check, name}; !told[key] {
			told[key] = true
			tell(condition, 1, c.Check, name, c.State)
			for count, n := range c.Counts {
				tell(conditionCounts, float64(n), c.Check, name, count)
			}
		}
	}
}
