package webtest

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
)

// axe returns the source of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	dir := cmp.Or(os.Getenv("MILTERD_TEST_ROOT"), "/opt/milterd-test")
	source, err := os.ReadFile(filepath.Join(dir, "axe-core/axe.min.js"))
	return string(source), err
})

// Complaint is a rule of axe-core that a page violates.
type Complaint struct {
	Rule  string   `json:"id"`
	Help  string   `json:"help"`
	Nodes []string `json:"nodes"` // elements, each with the cause
}

// loadAxe loads axe-core into the page, unless it is there.
func (tab *Tab) loadAxe() {
	tab.t.Helper()
	if Evaluate[bool](tab, `"axe" in window`) {
		return
	}
	source, err := axe()
	tab.must(err)
	Evaluate[bool](tab, source+"\n;true")
}

// Axe runs axe-core on the page, with all rules for WCAG 2.2 AA and its best practices, or only with the named rules. Rules that
// axe-core cannot decide are complaints too, except for the contrast of single characters.
func (tab *Tab) Axe(rules ...string) []Complaint {
	tab.t.Helper()
	tab.loadAxe()
	only := any(map[string]any{"type": "tag", "values": []string{
		"wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice",
	}})
	if len(rules) > 0 {
		only = rules
	}
	options, err := json.Marshal(map[string]any{"runOnly": only, "preload": false, "resultTypes": []string{"violations", "incomplete"}})
	tab.must(err)
	return Evaluate[[]Complaint](tab, `axe.run(document, `+string(options)+`).then(r => [...r.violations, ...r.incomplete].map(v => ({
		...v, nodes: v.nodes.filter(n => !n.any.some(c => ["shortTextContent", "nonBmp"].includes(c.data?.messageKey))),
	})).filter(v => v.nodes.length).map(v => ({
		id: v.id, help: v.help,
		nodes: v.nodes.map(n => n.target.join(" ") + ": " + [...n.any, ...n.all, ...n.none].map(c => c.message).join("; ")),
	})))`)
}
