// Package web holds what the daemon's HTTP listeners share: the metrics for Prometheus, the health pages, and the rate
// limits, headers and page helpers of both sites. Package dashboard serves the operator's pages, package why the pages for
// senders; package webtest tests both, with a browser too. Listeners and wiring are in cmd/milterd. Start with Metrics for
// what is counted, and with dashboard.New and why.New for the sites.
package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"milterd/checks"
)

// checkBuckets are the upper bounds of milterd_check_seconds: checks that only compute, checks that wait for the DNS, and
// checks that use up the budget.
var checkBuckets = []float64{.0001, .001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10}

// maxScrapes is the number of requests for metrics that are answered at the same time; others get status 503.
const maxScrapes = 4

// Metrics counts decisions and serves all metrics of the daemon to Prometheus. Its labels are bounded by the registry of
// checks and by the configuration. It implements milter.Journal and is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	verdicts *prometheus.CounterVec
	accepted prometheus.Counter
	errors   *prometheus.CounterVec
	seconds  map[string]prometheus.Observer // by name of the check
}

// NewMetrics returns the metrics of a daemon with these checks. It reads the components at every scrape.
func NewMetrics(infos []checks.Info, version string, components Components) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "milterd_verdicts_total", Help: "Reasons that applied and are not off, counted for each recipient.",
		}, []string{"check", "stage", "reason", "action"}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "milterd_accepted_total", Help: "Accepted messages.",
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "milterd_check_errors_total", Help: "Failures of a check, for example because the DNS did not answer.",
		}, []string{"check"}),
		seconds: make(map[string]prometheus.Observer, len(infos)),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "milterd_check_seconds", Help: "Duration of one run of a check.", Buckets: checkBuckets,
	}, []string{"check"})
	for _, i := range infos {
		m.errors.WithLabelValues(i.Name)
		m.seconds[i.Name] = seconds.WithLabelValues(i.Name)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "milterd_build_info", Help: "Always 1; the label is the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.verdicts, m.accepted, m.errors, seconds, build, components,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Decided implements milter.Journal. A check that failed because the MTA closed the connection is not counted.
func (m *Metrics) Decided(_ *checks.Request, d checks.Decision) {
	for _, o := range d.Outcomes {
		m.verdicts.WithLabelValues(o.Check, o.Stage.String(), o.Reason.ID, o.Action.String()).Inc()
	}
	for _, f := range d.Failures {
		if !errors.Is(f.Err, context.Canceled) {
			m.errors.WithLabelValues(f.Check).Inc()
		}
	}
}

// Accepted implements milter.Journal.
func (m *Metrics) Accepted(*checks.Request) { m.accepted.Inc() }

// Took records the duration of one run of a check. It is a callback of checks.Options.
func (m *Metrics) Took(check string, d time.Duration) {
	if s := m.seconds[check]; s != nil {
		s.Observe(d.Seconds())
	}
}

// Handler serves the metrics. It leaves out metrics that cannot be collected.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Registry: m.registry,
	})
}
