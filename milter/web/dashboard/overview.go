package dashboard

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/resolver"
	"milterd/milter/store/status"
	"milterd/milter/web"
)

// overviewPage is the body of the overview.
type overviewPage struct {
	Periods     []period
	Chart       chartView
	Started     time.Time
	Profile     string
	Profiles    []string
	Connections int
	Store       status.Store
	DNS         resolver.Stats
	Hits        string // percentage of questions answered from the cache; empty if there were none
	Records     records.Stats
	Recording   bool
	LogDropped  uint64
	Conditions  []checks.Condition
}

func (p *pages) overview(w http.ResponseWriter, r *http.Request) {
	f := p.frame("overview", "Overview")
	f.live = true
	c := p.Components
	page := overviewPage{
		Periods: periods, Chart: p.chart(p.History.series(r.URL.Query().Get("period"), p.now())),
		Started: p.Started, Profile: p.Profile(), Profiles: p.Profiles(), Connections: c.Connections(), Store: c.Store(), DNS: c.DNS(),
		Records: c.Records(), Recording: p.Book != nil, LogDropped: c.LogDropped(), Conditions: c.Checks(),
	}
	if all := page.DNS.Hits + page.DNS.Queries; all > 0 {
		page.Hits = fmt.Sprintf("%.0f\u202f%%", 100*float64(page.DNS.Hits)/float64(all))
	}
	p.write(w, http.StatusOK, &f, page)
}

// countsText formats the counts of a condition, without those that are 0.
func countsText(counts map[string]uint64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[name]; n > 0 {
			list = append(list, grouped(n)+" "+web.Shown(strings.ReplaceAll(name, "_", " ")))
		}
	}
	return strings.Join(list, ", ")
}
