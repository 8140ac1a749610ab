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

// checkBuckets are the bounds of milterd_check_seconds: from what is computed, over what the DNS must be asked for, to the budget.
var checkBuckets = []float64{.0001, .001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10}

// maxScrapes is how many may read the metrics at a time.
const maxScrapes = 4

// Metrics counts for Prometheus what is decided, and shows at /metrics what the parts of the daemon tell of themselves. It is a
// milter.Journal and safe for concurrent use. Its labels are bounded: by the registry of checks, and by the configuration.
type Metrics struct {
	registry *prometheus.Registry
	verdicts *prometheus.CounterVec
	accepted prometheus.Counter
	errors   *prometheus.CounterVec
	seconds  map[string]prometheus.Observer // by check
}

// NewMetrics makes the metrics of a daemon. The parts are asked at every scrape.
func NewMetrics(infos []checks.Info, version string, parts Parts) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "milterd_verdicts_total", Help: "Reasons that applied and were not off, one for each recipient, as in the log.",
		}, []string{"check", "stage", "reason", "action"}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "milterd_accepted_total", Help: "Messages that nothing was said against.",
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "milterd_check_errors_total", Help: "How often a check could not find out.",
		}, []string{"check"}),
		seconds: make(map[string]prometheus.Observer, len(infos)),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "milterd_check_seconds", Help: "How long a check took each time it was asked.", Buckets: checkBuckets,
	}, []string{"check"})
	for _, i := range infos {
		m.errors.WithLabelValues(i.Name)
		m.seconds[i.Name] = seconds.WithLabelValues(i.Name)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "milterd_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.verdicts, m.accepted, m.errors, seconds, build, parts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Decided implements milter.Journal. Failures because the MTA went away are none.
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

// Took is for checks.Options.
func (m *Metrics) Took(check string, d time.Duration) {
	if s := m.seconds[check]; s != nil {
		s.Observe(d.Seconds())
	}
}

// Handler answers with the metrics. What cannot be gathered is left out.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Registry: m.registry,
	})
}
