package webtest

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

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
