package webtest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Visit is a tab for one site, which is served on loopback until the test ends.
type Visit struct {
	*Tab
	Home string // URL of the site, without a slash at the end
}

// Visit serves a site and opens a tab for it.
func (b *Browser) Visit(t testing.TB, site http.Handler) *Visit {
	t.Helper()
	server := httptest.NewServer(site)
	t.Cleanup(server.Close)
	return &Visit{Tab: b.Tab(t), Home: server.URL}
}

// Harmless fails the test if a page ran an unexpected script or requested anything outside the site.
func (v *Visit) Harmless() {
	v.t.Helper()
	if ran := v.Ran(); len(ran) > 0 {
		v.t.Errorf("ran: %q", ran)
	}
	for _, address := range v.Sent() {
		if !strings.HasPrefix(address, v.Home+"/") {
			v.t.Errorf("requested %s", address)
		}
	}
}

// lookRules are the rules of axe-core whose result depends on the Look.
var lookRules = []string{"color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block"}

// CheckLooks fails the test if the page overflows or violates a rule of axe-core in one of Looks. It writes a screenshot of
// each, see Tab.Screenshot.
func (v *Visit) CheckLooks(name string) {
	v.t.Helper()
	for i, l := range Looks {
		if i == 0 {
			v.CheckLook(l)
		} else {
			v.CheckLook(l, lookRules...)
		}
		v.Screenshot(name + "-" + l.Name)
	}
}

// CheckLook changes the Look and fails the test if the page overflows or violates one of the rules, by default all rules,
// of axe-core.
func (v *Visit) CheckLook(l Look, rules ...string) {
	v.t.Helper()
	v.CheckFits(l)
	for _, c := range v.Axe(rules...) {
		v.t.Errorf("%s: %s (%s) %s", l.Name, c.Rule, c.Help, strings.Join(c.Nodes, "\n\t"))
	}
}

// CheckFits changes the Look and fails the test if the page overflows.
func (v *Visit) CheckFits(l Look) {
	v.t.Helper()
	v.Look(l)
	if wide := v.Overflow(); len(wide) > 0 {
		v.t.Errorf("%s: beyond the right edge: %q", l.Name, wide)
	}
}
