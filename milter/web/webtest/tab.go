package webtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

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

// idleTab returns an idle tab, which is then no longer one, or nil.
func (b *Browser) idleTab() *Tab {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := len(b.idle) - 1
	if last < 0 {
		return nil
	}
	tab := b.idle[last]
	b.idle = b.idle[:last]
	return tab
}

// empty leaves the page and removes all that it could leave behind: its cookies, its storage and the Look. It opens a page of
// loopback instead of about:blank, so that the tab stays in its process.
func (tab *Tab) empty() error {
	ctx, cancel := context.WithTimeout(tab.ctx, pageTimeout)
	defer cancel()
	origin, err := chromedp.Run(ctx, chromedp.Evaluate[string]("origin"))
	if err != nil {
		return err
	}
	if _, err := chromedp.RunResponse(ctx, chromedp.Navigate(tab.browser.blank)); err != nil {
		return err
	}
	if _, err := chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		return err
	}
	clear := storage.ClearDataForOriginParams{Origin: origin, StorageTypes: "all"}
	if _, err := chromedp.Call(ctx, storage.ClearDataForOrigin, clear); err != nil {
		return err
	}
	if _, err := chromedp.Call(ctx, emulation.ClearDeviceMetricsOverride, cdp.Empty{}); err != nil {
		return err
	}
	_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	return err
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
