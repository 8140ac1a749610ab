package webtest

import (
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

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
