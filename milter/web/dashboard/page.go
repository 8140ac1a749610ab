package dashboard

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"milterd/checks"
	"milterd/milter/web"
)

const (
	// readTimeout limits how long a page reads the store. A page that reads longer shows what it has and says so.
	readTimeout = 3 * time.Second
	// evidenceTimeout is the limit for the page of watched reasons, which waits until the daemon has written its evidence. It
	// is less than the time that the listener gives an answer (10 s).
	evidenceTimeout = 8 * time.Second
	// maxReading is the number of pages that may read the store at the same time. With half of it, a slow search delays other
	// pages sooner; with twice as much, many open pages take twice as much of the store's time from mail.
	maxReading = 4
	// A page is loaded again after liveFactor times the time that it took to make, so that an open page uses at most 1 % of a
	// processor, but not before minRefresh and not later than maxRefresh.
	liveFactor             = 100
	minRefresh, maxRefresh = 5 * time.Second, time.Minute
	// maxFormBytes is the most that is read of a form.
	maxFormBytes = 8 << 10
	// maxFieldBytes is the most that is read of one field of a form or a query. A mailbox has at most 254 bytes.
	maxFieldBytes = 320
)

// frame is what the templates "head" and "foot" show, which surround each page.
type frame struct {
	Page, Title, Site, Version string   // Page is the name of the template
	Base                       string   // relative URL of the overview: empty, or "../" for each folder
	Attention                  []string // see Config
	Note                       *note
	Error                      string // why the page is incomplete
	Now                        time.Time
	Refresh                    int64 // milliseconds after which live.js loads the page again; 0: never
	Body                       any

	began time.Time
	live  bool // write sets Refresh
}

func (p *pages) frame(page, title string) frame {
	return frame{
		Page: page, Title: title, Site: p.Site, Version: p.Version, Attention: p.Attention(), Now: p.now(), began: time.Now(),
	}
}

// write sends a page. If the template fails, it sends status 500 and nothing of the page.
func (p *pages) write(w http.ResponseWriter, code int, f *frame, body any) {
	f.Body = body
	if f.live {
		f.Refresh = min(max(minRefresh, liveFactor*time.Since(f.began)), maxRefresh).Milliseconds()
	}
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, f.Page, f); err != nil {
		p.warn("page", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	web.WritePage(w, code, "no-store", b.Bytes())
}

func (p *pages) warn(what string, err error) { web.Warn(p.Log, "operator's pages: "+what, err) }

// errBusy is returned by read if too many pages read the store.
var errBusy = errors.New("too many pages are reading the store")

// read calls f, which reads the store, with a time limit. It waits while too many pages read the store.
func (p *pages) read(r *http.Request, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	select {
	case p.reading <- struct{}{}:
		defer func() { <-p.reading }()
		return f(ctx)
	case <-ctx.Done():
		return errBusy
	}
}

// setError puts an error of read on the page and returns the status code of the page.
func (p *pages) setError(f *frame, err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, context.DeadlineExceeded):
		f.Error = "Reading the store took too long, so this page is incomplete. Use a narrower search."
		return http.StatusOK
	case errors.As(err, new(*checks.ArgumentError)):
		f.Error = "Nothing was searched: " + web.Shown(err.Error())
		return http.StatusUnprocessableEntity
	case errors.Is(err, errBusy):
		f.Error = "Too many pages are reading the store. Try again in some seconds."
	default:
		f.Error = "The store did not answer: " + web.Shown(err.Error())
	}
	p.warn(f.Page, err)
	return http.StatusServiceUnavailable
}
