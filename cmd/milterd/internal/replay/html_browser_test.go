package replay

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"milterd/milter/web/webtest"
)

// year returns a year of letters with several reasons and some long names.
func year() (letters []letter) {
	long := strings.Repeat("a-very-long-label.", 8) + "example"
	for i := range 300 {
		l := letter{id: fmt.Sprintf("<%d.abcdef@example.net>", i), at: time.Duration(i*i%8760) * time.Hour}
		switch {
		case i%23 == 1:
			l.date = "yesterday"
		case i%31 == 2:
			l.helo, l.from = "127.0.0.9", fmt.Sprintf("offer%d@offers%d.example", i, i%40)
		case i%17 == 3:
			l.from = fmt.Sprintf("news@nowhere%d.example", i%5)
		case i%97 == 4:
			l.no = "Message-ID"
		case i%61 == 5:
			l.helo, l.from, l.id = long, strings.Repeat("local-part.", 5)+"x@"+long, "<"+strings.Repeat("0123456789abcdef", 12)+"@"+long+">"
		case i%67 == 6:
			l.no = "Received"
		case i%71 == 7:
			l.id = "nonsense <b>in bold</b>"
		}
		letters = append(letters, l)
	}
	return letters
}

// TestPageInBrowser views the page on wide and narrow screens, in light and dark colours, and on paper.
func TestPageInBrowser(t *testing.T) {
	webtest.Require(t)
	browser := webtest.Start(t)
	strict := configOf(t, "/etc/milterd/a-folder-with-a-long-name/strict.yaml", "profile: strict\nactions: {date-invalid: watch, first-contact: greylist}\n")
	config := configOf(t, "/etc/milterd/milterd.yaml", "actions: {msgid-missing: tempfail}\n")
	archive := []string{mbox(t, year()...), file(t, strings.Repeat("long-name-", 20)+".eml", ""), file(t, "binary", "\x00\x01")}
	for _, c := range []struct {
		name, says string
		opts       Options
	}{
		{"against", "would have another result", Options{Paths: archive, Config: config, Against: &strict}},
		{"no-dns", "What could not be judged", Options{Paths: archive, Config: config, DNS: NoDNS{}}},
		{"day", "Messages per day", Options{Paths: []string{mbox(t, letter{date: "yesterday"})}, Config: config}},
		{"nothing", "No reason applied to any message.", Options{Paths: []string{file(t, "mbox", "")}, Config: config}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "report.html")
			out, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := replayed(t, c.opts).HTML(out); err != nil {
				t.Fatal(err)
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
			t.Cleanup(server.Close)
			tab := browser.Tab(t)
			if code := tab.Open(server.URL + "/report.html"); code != 200 || !strings.Contains(tab.Text("main"), c.says) {
				t.Fatalf("%d, no %q in %s", code, c.says, tab.Text("main"))
			}
			for i, l := range append(webtest.Looks, webtest.Paper) {
				tab.Look(l)
				if wide := tab.Overflow(); len(wide) > 0 {
					t.Errorf("%s: beyond the edge: %q", l.Name, wide)
				}
				// A part that must be scrolled may not be seen, and paper cannot be scrolled.
				if hidden := webtest.Evaluate[[]string](tab, `[...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText.slice(0, 60))`); len(hidden) > 0 {
					t.Errorf("%s: wider than their boxes: %q", l.Name, hidden)
				}
				var rules []string // all of them
				if i > 0 {
					rules = []string{"color-contrast"} // a page is long, and the others go by its text alone
				}
				for _, c := range tab.Axe(rules...) {
					t.Errorf("%s: %s (%s) %s", l.Name, c.Rule, c.Help, strings.Join(c.Nodes[:min(len(c.Nodes), 3)], "\n\t"))
				}
				tab.Screenshot("replay-" + c.name + "-" + l.Name)
			}
			if ran := tab.Ran(); len(ran) > 0 {
				t.Errorf("it ran %q", ran)
			}
		})
	}
}
