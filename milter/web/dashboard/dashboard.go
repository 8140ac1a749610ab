// Package dashboard serves the operator's pages: an overview with charts, the decisions with their traces, the evidence on
// watched reasons, the greylist and the blocks. The pages can be served below any path, work without JavaScript and load
// nothing from other sites. Guard restricts access to them.
//
// The daemon implements Operator and Book; the templates are in the folder pages. Package why serves the pages for senders.
// Start reading with New, which lists the pages, and page.go, which has what all pages share; change.go
// carries out the forms. CONTRIBUTING.md says what a new page, column or button needs.
package dashboard

import (
	"context"
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/milter/evidence"
	"milterd/milter/mirror"
	"milterd/milter/records"
	"milterd/milter/web"
)

// Config configures the pages. Fields are required unless their comment says otherwise.
type Config struct {
	Site       string // host name of the mail server
	Version    string
	Started    time.Time
	Profile    func() string
	Components web.Components
	Attention  func() []string // what the operator should look at, one sentence each
	Profiles   func() []string // what the profiles safe and strict would have answered, one sentence each; it must be quick
	History    *History
	Reasons    []string // ids of all reasons
	Book       Book     // nil if no records are kept
	Operator   Operator
	Answer     func(records.Record) (remedy, link string) // of refused mail, for its sender; empty: none
	Evidence   func(context.Context) (evidence.WatchReport, evidence.ActionReport, error)
	Mirror     func(context.Context) (mirror.Report, error)
	Received   func(context.Context) ([]Received, error) // what other sites report about mail in the name of this one
	Log        *logrus.Entry                             // may be nil

	// Set by tests.
	now  func() time.Time // nil: time.Now
	zone *time.Location   // of the times on the pages; nil: time.Local
}

// Book reads the records of decisions.
type Book interface {
	Page(ctx context.Context, q records.Query) (records.Page, error)
	Get(ctx context.Context, id string) (records.Record, bool, error)
}

//go:embed pages/*.html
var files embed.FS

//go:embed pages/style.css
var style []byte

//go:embed pages/live.js
var script []byte

// pages is the handler of the pages.
type pages struct {
	Config
	templates *template.Template
	reading   chan struct{} // semaphore for reading the store
	notes     notes
}

// New returns the handler of the pages. It fails only if a template is broken.
func New(c Config) (http.Handler, error) {
	if c.now == nil {
		c.now = time.Now
	}
	if c.zone == nil {
		c.zone = time.Local
	}
	p := &pages{Config: c, reading: make(chan struct{}, maxReading)}
	var err error
	if p.templates, err = template.New("").Funcs(p.funcs()).ParseFS(files, "pages/*.html"); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.overview)
	mux.HandleFunc("GET /refusals", p.refusals)
	mux.HandleFunc("GET /session", p.withNote(p.showSession))
	mux.HandleFunc("POST /session", p.changeSession)
	mux.HandleFunc("POST /undo", p.undo)
	mux.HandleFunc("GET /watched", p.watched)
	mux.HandleFunc("GET /greylist", p.withNote(p.showGreylist))
	mux.HandleFunc("POST /greylist", p.changeGreylist)
	mux.HandleFunc("GET /blocks", p.withNote(p.showBlocks))
	mux.HandleFunc("POST /blocks", p.changeBlocks)
	mux.HandleFunc("GET /mirror", p.mirror)
	mux.HandleFunc("GET /style.css", web.Stylesheet(style))
	mux.HandleFunc("GET /live.js", web.Static("text/javascript", script))
	mux.HandleFunc("/", p.missing)
	return mux, nil
}

// missing serves the page for an unknown path.
func (p *pages) missing(w http.ResponseWriter, r *http.Request) {
	f := p.frame("missing", "There is no such page")
	f.Base = strings.Repeat("../", max(0, strings.Count(r.URL.Path, "/")-1))
	p.write(w, http.StatusNotFound, &f, nil)
}
