// Package webtest drives a headless Chromium for tests, and has axe-core look for what keeps people out of a page.
//
// The browser reaches loopback alone. It ends with the test, and nothing of it stays. It needs what .ci/install installs;
// tests call Require first.
package webtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browsers are the programs that will do, the smallest first.
var browsers = []string{"chromium-headless-shell", "chromium"}

// Require skips the test unless MILTERD_TEST_REAL=1 says that this machine has the real thing. Then whatever lacks is a
// failure.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skip("needs Chromium and axe-core: run `make test`, or .ci/install and set MILTERD_TEST_REAL=1")
	}
	if program() == "" {
		t.Fatalf("none of %v is here: run .ci/install", browsers)
	}
	if _, err := axe(); err != nil {
		t.Fatalf("%v: run .ci/install", err)
	}
}

func program() string {
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// axe is the source of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	dir := os.Getenv("MILTERD_TEST_ROOT")
	if dir == "" {
		dir = "/opt/milterd-test"
	}
	source, err := os.ReadFile(filepath.Join(dir, "axe-core/axe.min.js"))
	return string(source), err
})

// patience is how long a page may take. Loaded machines are slow; only a failing test waits so long.
const patience = 3 * time.Minute

// Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// Start runs a browser until the test ends.
func Start(t testing.TB) *Browser {
	t.Helper()
	home, err := os.MkdirTemp("", "webtest-")
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program()),
		chromedp.NoSandbox, // it needs a user who is not root
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.*"),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-gpu", true), // there is none, and its emulation is slow
		chromedp.Env("HOME="+home, "TMPDIR="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(func() {
		cancel()
		end() // waits for the program
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", program(), err)
	}
	return &Browser{ctx}
}

// Tab is one page after another. A test that cannot go on with one fails.
type Tab struct {
	t   testing.TB
	ctx context.Context

	mu   sync.Mutex
	sent []string // addresses of requests
	ran  []string
}

// Tab opens an empty page, which is closed when the test ends.
func (b *Browser) Tab(t testing.TB) *Tab {
	t.Helper()
	tab := &Tab{t: t}
	var cancel context.CancelFunc
	tab.ctx, cancel = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.notice))
	t.Cleanup(cancel)
	tab.must(chromedp.Do(tab.ctx))
	return tab
}

func (tab *Tab) must(err error) {
	tab.t.Helper()
	if err != nil {
		tab.t.Fatal(err)
	}
}

// notice takes down what a page does.
func (tab *Tab) notice(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tab.sent = append(tab.sent, e.Request.URL)
	case *page.EventJavascriptDialogOpening:
		tab.ran = append(tab.ran, "dialog: "+e.Message)
		go func() { // not from here, where the answer would be waited for
			_, _ = chromedp.Call(tab.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	case *runtime.EventConsoleAPICalled:
		tab.ran = append(tab.ran, fmt.Sprintf("console.%s", e.Type))
	case *runtime.EventExceptionThrown:
		tab.ran = append(tab.ran, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity { // the content security policy was needed
			tab.ran = append(tab.ran, "refused: "+e.Entry.Text)
		}
	}
}

// Sent are the addresses that were asked for so far.
func (tab *Tab) Sent() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.sent)
}

// Ran is what scripts of the pages did so far, or would have done without the content security policy.
func (tab *Tab) Ran() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.ran)
}

// Open loads a page, and returns the status code.
func (tab *Tab) Open(address string) int {
	tab.t.Helper()
	return tab.load("open "+address, chromedp.Navigate(address))
}

// Click clicks what a CSS selector finds, waits for the page that comes, and returns the status code.
func (tab *Tab) Click(selector string) int {
	tab.t.Helper()
	return tab.load("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// load does what makes a page come.
func (tab *Tab) load(what string, do chromedp.Action[chromedp.Void]) int {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	r, err := chromedp.RunResponse(ctx, do)
	if err != nil {
		tab.t.Fatalf("%s: %v", what, err)
	}
	return int(r.Status)
}

// Press presses keys, such as "\t".
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	tab.must(chromedp.Do(tab.ctx, chromedp.KeyEvent(keys)))
}

// Enter presses the Enter key, waits for the page that comes, and returns the status code.
func (tab *Tab) Enter() int {
	tab.t.Helper()
	return tab.load("Enter", chromedp.KeyEvent(kb.Enter))
}

// Address is that of the page.
func (tab *Tab) Address() *url.URL {
	tab.t.Helper()
	s, err := chromedp.Run(tab.ctx, chromedp.Location())
	tab.must(err)
	u, err := url.Parse(s)
	tab.must(err)
	return u
}

// Text is what the elements that a CSS selector finds show, in one line.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	name, _ := json.Marshal(selector)
	s := Evaluate[string](tab, `[...document.querySelectorAll(`+string(name)+`)].map(e => e.innerText).join(" ")`)
	return strings.Join(strings.Fields(s), " ")
}

// Evaluate has the browser work out an expression, with its promise kept. The policy of the page does not apply to it.
func Evaluate[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	tab.must(err)
	return v
}

// Look is what a page is looked at with.
type Look struct {
	Name  string
	Width int64 // in CSS pixels
	Dark  bool
	Print bool // as on paper, in one long sheet
}

// Looks are a desk and a telephone, by day and by night.
var Looks = []Look{
	{Name: "wide-light", Width: 1280}, {Name: "wide-dark", Width: 1280, Dark: true}, {Name: "narrow-light", Width: 390}, {Name: "narrow-dark", Width: 390, Dark: true},
}

// Paper is a sheet of A4 within its margins of 1 cm.
var Paper = Look{Name: "paper", Width: 718, Print: true}

// Look changes the look of this page and those to come.
func (tab *Tab) Look(l Look) {
	tab.t.Helper()
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	medium := "" // the usual one
	if l.Print {
		medium = "print"
	}
	tab.must(chromedp.Do(tab.ctx, chromedp.EmulateViewport(l.Width, 844)))
	_, err := chromedp.Call(tab.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media:    medium,
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	tab.must(err)
}

// Overflow names the elements that reach beyond the right edge of the page, for which the reader would have to scroll.
func (tab *Tab) Overflow() []string {
	tab.t.Helper()
	return Evaluate[[]string](tab, `
		[...document.body.querySelectorAll("*")]
			.filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
			.map(e => e.tagName.toLowerCase() + ": " + (e.innerText || "").slice(0, 60))`)
}

// Complaint is what axe-core finds wrong with a page.
type Complaint struct {
	Rule  string   `json:"id"`
	Help  string   `json:"help"`
	Nodes []string `json:"nodes"` // the elements, each with the reason
}

// Axe has axe-core look at the page: all its rules for WCAG 2.2 AA and its best practices, or only those named. What it cannot
// decide is a complaint too, but for the contrast of a single character or an arrow.
func (tab *Tab) Axe(rules ...string) []Complaint {
	tab.t.Helper()
	source, err := axe()
	tab.must(err)
	if !Evaluate[bool](tab, `"axe" in window`) {
		Evaluate[bool](tab, source+"\n;true")
	}
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

// Screenshot writes the whole page into a file of the folder that MILTERD_SCREENSHOTS names, if it names one.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	dir := os.Getenv("MILTERD_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(tab.ctx, chromedp.FullScreenshot(100))
	tab.must(err)
	tab.must(os.MkdirAll(dir, 0o755))
	tab.must(os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}
