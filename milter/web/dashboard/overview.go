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
	"milterd/milter/store"
	"milterd/milter/web"
)

// overviewPage is what is happening.
type overviewPage struct {
	Attention   []string
	Periods     []period
	Chart       chartView
	Started     time.Time
	Profile     string
	Connections int
	Store       store.Status
	DNS         resolver.Stats
	Hits        string // share of questions answered from the cache
	Records     records.Stats
	Recording   bool
	LogDropped  uint64
	Conditions  []conditionView
}

// conditionView is a zone or a file.
type conditionView struct {
	checks.Condition
	Counts []string
}

func (x *dashboard) overview(w http.ResponseWriter, r *http.Request) {
	f := x.frame("overview", "Overview")
	f.live = true
	p := periods[0]
	for _, other := range periods {
		if other.Name == r.URL.Query().Get("period") {
			p = other
		}
	}
	dns := x.Parts.DNS()
	page := overviewPage{
		Attention: x.attention(), Periods: periods, Chart: x.chart(x.History.series(p, x.Now())),
		Started: x.Started, Profile: x.Profile(), Connections: x.Parts.Connections(), Store: x.Parts.Store(), DNS: dns,
		Records: x.Parts.Records(), Recording: x.Book != nil, LogDropped: x.Parts.LogDropped(),
	}
	if all := dns.Hits + dns.Queries; all > 0 {
		page.Hits = fmt.Sprintf("%.0f %%", 100*float64(dns.Hits)/float64(all))
	}
	for _, c := range x.Parts.Checks() {
		v := conditionView{Condition: c}
		for _, name := range slices.Sorted(maps.Keys(c.Counts)) {
			v.Counts = append(v.Counts, grouped(c.Counts[name])+" "+web.Shown(strings.ReplaceAll(name, "_", " ")))
		}
		page.Conditions = append(page.Conditions, v)
	}
	x.write(w, http.StatusOK, &f, page)
}
