// Package webtest tests web pages: Serve and Page without a browser, Start and Visit with a headless Chromium and axe-core, which
// finds violations of the accessibility guidelines.
//
// The browser can reach only loopback. It ends with the last test that uses it and leaves no files. It needs the programs that
// .ci/install installs; tests call Require first.
package webtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

// browsers are the programs that can be used, the smallest first.
var browsers = []string{"chromium-headless-shell", "chromium"}

// Require skips the test unless the environment variable MILTERD_TEST_REAL is 1. If it is, the test fails if Chromium or axe-core
// is not installed.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv("MILTERD_TEST_REAL") != "1" {
		t.Skip("needs Chromium and axe-core: run `make test`, or .ci/install and set MILTERD_TEST_REAL=1")
	}
	if program() == "" {
		t.Fatalf("none of %v is installed: run .ci/install", browsers)
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

// pageTimeout limits the loading of a page. It is long for busy machines; only a failing test waits so long.
const pageTimeout = 3 * time.Minute

// Browser is a running Chromium.
type Browser struct {
	ctx   context.Context
	blank string // URL of an empty page

	mu   sync.Mutex
	idle []*Tab // whose tests have ended
}

// shared is the browser of all tests that run, while there are any.
var shared struct {
	sync.Mutex
	*Browser
	tests int
	stop  func() error
}

// Start returns a browser, which runs until the test ends. Tests that run at the same time have the same one: starting one
// takes longer than viewing a page.
func Start(t testing.TB) *Browser {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.tests == 0 {
		var err error
		if shared.Browser, shared.stop, err = start(); err != nil {
			t.Fatalf("start %s: %v", program(), err)
		}
	}
	shared.tests++
	t.Cleanup(func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.tests--; shared.tests > 0 {
			return
		}
		if err := shared.stop(); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return shared.Browser
}

// start starts a browser. Its function stop waits for the browser to exit.
func start() (b *Browser, stop func() error, err error) {
	home, err := os.MkdirTemp("", "webtest-")
	if err != nil {
		return nil, nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program()),
		chromedp.NoSandbox, // the sandbox does not work for root
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.*"),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-gpu", true), // emulating one is slow
		// A page runs each function of axe-core a few times: to optimise it takes longer than to run it as it is.
		chromedp.Flag("js-flags", "--no-opt --no-maglev"),
		// The last two start processes for pages that might be opened. The others are the default.
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,BackForwardCache,SpareRendererForSitePerProcess"),
		chromedp.Env("HOME="+home, "TMPDIR="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	blank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>blank</title>")
	}))
	stop = func() error {
		cancel()
		end()
		blank.Close()
		return os.RemoveAll(home)
	}
	if err := chromedp.Do(ctx); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return &Browser{ctx: ctx, blank: blank.URL}, stop, nil
}

// Tab is a tab of the browser. Its methods stop the test if the browser fails.
type Tab struct {
	t       testing.TB
	browser *Browser
	ctx     context.Context
	close   context.CancelFunc

	mu   sync.Mutex
	sent []string // URLs of requests
	ran  []string // see Ran
}

// Tab returns an empty tab, which belongs to the test until it ends. A tab of a test that passed is used again, since a new one
// takes a new process, which is slow at first.
func (b *Browser) Tab(t testing.TB) *Tab {
	t.Helper()
	tab := b.idleTab()
	if tab == nil {
		tab = &Tab{browser: b}
		tab.ctx, tab.close = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.notice))
	}
	tab.t = t
	t.Cleanup(func() {
		if t.Failed() || tab.empty() != nil {
			tab.close()
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.idle = append(b.idle, tab)
	})
	tab.must(chromedp.Do(tab.ctx))
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.sent, tab.ran = nil, nil
	return tab
}

func (tab *Tab) must(err error) {
	tab.t.Helper()
	if err != nil {
		tab.t.Fatal(err)
	}
}

// notice records an event of the page.
func (tab *Tab) notice(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tab.sent = append(tab.sent, e.Request.URL)
	case *page.EventJavascriptDialogOpening:
		tab.ran = append(tab.ran, "dialog: "+e.Message)
		go func() { // the event loop that calls notice must not wait for the answer
			_, _ = chromedp.Call(tab.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	case *runtime.EventConsoleAPICalled:
		tab.ran = append(tab.ran, fmt.Sprintf("console.%s", e.Type))
	case *runtime.EventExceptionThrown:
		tab.ran = append(tab.ran, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity { // the content security policy stopped something
			tab.ran = append(tab.ran, "refused: "+e.Entry.Text)
		}
	}
}

// Sent returns the URLs that the tab has requested.
func (tab *Tab) Sent() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.sent)
}

// Ran returns what scripts did: dialogs, console output and exceptions. It also has what the content security policy refused.
func (tab *Tab) Ran() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.ran)
}

// Open loads a page and returns the status code.
func (tab *Tab) Open(address string) int {
	tab.t.Helper()
	return tab.load("open "+address, chromedp.Navigate(address))
}

// Click clicks the element that a CSS selector finds, waits for the next page, and returns its status code.
func (tab *Tab) Click(selector string) int {
	tab.t.Helper()
	return tab.load("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// load runs an action that loads a page, and returns the status code.
func (tab *Tab) load(what string, action chromedp.Action[chromedp.Void]) int {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, pageTimeout)
	defer cancel()
	r, err := chromedp.RunResponse(ctx, action)
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

// Enter presses the Enter key, waits for the next page, and returns its status code.
func (tab *Tab) Enter() int {
	tab.t.Helper()
	return tab.load("Enter", chromedp.KeyEvent(kb.Enter))
}

// Address returns the URL of the page.
func (tab *Tab) Address() *url.URL {
	tab.t.Helper()
	s, err := chromedp.Run(tab.ctx, chromedp.Location())
	tab.must(err)
	u, err := url.Parse(s)
	tab.must(err)
	return u
}

// Text returns the visible text of the elements that a CSS selector finds, in one line.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	name, _ := json.Marshal(selector)
	s := Evaluate[string](tab, `[...document.querySelectorAll(`+string(name)+`)].map(e => e.innerText).join(" ")`)
	return strings.Join(strings.Fields(s), " ")
}

// Evaluate evaluates a JavaScript expression in the page and waits for its promise. The content security policy does not apply to
// it.
func Evaluate[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, pageTimeout)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	tab.must(err)
	return v
}

// Look is a kind of device.
type Look struct {
	Name  string
	Width int64 // in CSS pixels
	Dark  bool
	Print bool // print media, on one long sheet
}

// Looks are a wide and a narrow screen, light and dark.
var Looks = []Look{
	{Name: "wide-light", Width: 1280}, {Name: "wide-dark", Width: 1280, Dark: true}, {Name: "narrow-light", Width: 320}, {Name: "narrow-dark", Width: 320, Dark: true},
}

// Paper is a sheet of A4 with margins of 1 cm.
var Paper = Look{Name: "paper", Width: 718, Print: true}

// Look changes the Look of the tab.
func (tab *Tab) Look(l Look) {
	tab.t.Helper()
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	medium := "" // the default: screen
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

// Overflow returns the elements that extend beyond the right edge of the page, so that the reader would have to scroll.
func (tab *Tab) Overflow() []string {
	tab.t.Helper()
	return Evaluate[[]string](tab, `
		[...document.body.querySelectorAll("*")]
			.filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
			.map(e => e.tagName.toLowerCase() + ": " + (e.innerText || "").slice(0, 60))`)
}

// Screenshot writes a picture of the whole page to the file name.png in the folder that the environment variable
// MILTERD_SCREENSHOTS names. It does nothing if the variable is empty.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	dir := os.Getenv("MILTERD_SCREENSHOTS")
	if dir == "" {
		return
	}
	tab.must(os.MkdirAll(dir, 0o755))
	tab.must(os.WriteFile(filepath.Join(dir, name+".png"), tab.Picture(), 0o644))
}

// Picture returns a picture of the whole page, as PNG.
func (tab *Tab) Picture() []byte {
	tab.t.Helper()
	png, err := chromedp.Run(tab.ctx, chromedp.FullScreenshot(100))
	tab.must(err)
	return png
}
