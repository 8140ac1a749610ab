// Package webtest tests web pages: Serve and Page without a browser, Start and Visit with a headless Chromium and axe-core, which
// finds violations of the accessibility guidelines.
//
// The browser can reach only loopback. It ends with the last test that uses it and leaves no files. It needs the programs that
// .ci/install installs; tests call Require first. Start reading with Visit, then tab.go.
package webtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
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
