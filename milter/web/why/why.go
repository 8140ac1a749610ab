// Package why serves the pages for senders whose mail was refused: an index of the reasons and a page for each. The link in a
// reply has a signed reference; with it, the page shows what was seen of the mail and how to repair it, and tests it again.
// Without a valid reference the pages show nothing about anybody and ask neither the DNS nor the store.
//
// The daemon implements Tester. The templates and texts are in the folder pages; what a reason means comes from checks.Reason.
// Package dashboard serves the operator's pages. Start reading with New, which lists the pages, and reason.go; seen.go has what a
// page shows of a mail, result.go the result of a test, and document.go the form of a page for programs.
package why

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/web"
)

// Config configures the pages.
type Config struct {
	Checks []checks.Info  // checks whose reasons have pages, beside those of the pipeline
	Site   string         // host name of the mail server
	URL    string         // public URL of the pages; a proxy may remove its path
	Signer records.Signer // of references; the zero value accepts none
	Keep   time.Duration  // how long a reference is valid
	Log    *logrus.Entry  // may be nil
	Tester Tester         // nil: no reference is valid

	now func() time.Time // set by tests; nil: time.Now
}

// Tester gives access to the daemon. It is safe for concurrent use.
type Tester interface {
	// Record returns the record with an id, and whether it exists.
	Record(ctx context.Context, id string) (records.Record, bool, error)
	// Again runs the named checks for the client, HELO name and sender of a record, without cached answers.
	Again(ctx context.Context, r records.Record, names []string) []checks.Result
	// Repaired is called if no reason of a record applies any more. It reports whether it lifted a temporary block of the client.
	Repaired(ctx context.Context, r records.Record) (lifted bool, err error)
}

// contentPolicy is the content security policy of the pages.
const contentPolicy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

//go:embed pages/*.html pages/*.yaml
var files embed.FS

//go:embed pages/style.css
var style []byte

//go:embed pages/schema.json
var schema []byte

// pages is the handler of the pages.
type pages struct {
	Config
	prefix  string // path of the URL, without a slash at the end
	texts   *texts
	groups  []group
	reasons map[string]*checks.Reason // by id
	limiter *limiter

	rendering chan struct{} // one element for each page being rendered: half of the processors are left for mail
}

// New returns the handler of the pages. It fails only if a template or a file is broken.
func New(c Config) (http.Handler, error) {
	if c.now == nil {
		c.now = time.Now
	}
	t, err := loadTexts()
	if err != nil {
		return nil, err
	}
	p := &pages{
		Config: c, texts: t, reasons: map[string]*checks.Reason{}, limiter: newLimiter(c.now),
		rendering: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	if u, err := url.Parse(c.URL); err == nil {
		p.prefix = strings.TrimSuffix(u.Path, "/")
	}
	for _, info := range c.Checks {
		if len(info.Reasons) > 0 {
			p.addGroup(info.Name, info.Reasons)
		}
	}
	p.addGroup("milterd", checks.PipelineReasons())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "why/") // relative, to stay below the path of the URL
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("GET /why", func(w http.ResponseWriter, r *http.Request) { p.index(w, r, "why/") })
	mux.HandleFunc("GET /why/{$}", func(w http.ResponseWriter, r *http.Request) { p.index(w, r, "") })
	mux.HandleFunc("GET /why/style.css", web.Stylesheet(style))
	mux.HandleFunc("GET /why/schema.json", web.Static("application/schema+json", schema))
	mux.HandleFunc("GET /why/{reason}", p.show)
	mux.HandleFunc("POST /why/{reason}", p.test)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { p.missing(w) })
	return p.protect(mux), nil
}

// protect sets the security headers, limits the rate of requests, and removes the path of the URL from requests.
func (p *pages) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.SetSecurityHeaders(w.Header(), contentPolicy)
		if !p.limiter.allowPage() {
			select {
			case <-time.After(delayPage):
			case <-r.Context().Done():
			}
			w.Header().Set("Retry-After", "1")
			http.Error(w, p.texts.Notices["busy"], http.StatusTooManyRequests)
			return
		}
		if strings.HasPrefix(r.URL.Path, p.prefix+"/") {
			http.StripPrefix(p.prefix, next).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// view is the data of the templates.
type view struct {
	Page, Title, Site string
	Base              string // URL of the folder of the pages, relative or absolute
	Private           bool   // about one mail, so it must not be cached or indexed
	Lead              *lead
	Notice            string
	Groups            []group
	Reason            *reasonView
	Seen              *seen
	Result            *result
	SPF               *openSPF
}

// write sends a page. If the template fails, it sends status 500 and nothing of the page.
func (p *pages) write(w http.ResponseWriter, code int, v view) {
	v.Site = p.Site
	var b bytes.Buffer
	p.rendering <- struct{}{}
	err := p.texts.templates.ExecuteTemplate(&b, v.Page, v)
	<-p.rendering
	if err != nil {
		p.warn("page", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	web.WritePage(w, code, cacheControl(code, v.Private), b.Bytes())
}

// cacheControl returns the header of that name. A page about one mail, and an error, must not be stored.
func cacheControl(code int, private bool) string {
	if private || code != http.StatusOK {
		return "no-store"
	}
	return "public, max-age=300"
}

func (p *pages) warn(what string, err error) { web.Warn(p.Log, "pages for senders: "+what, err) }

// missing serves the page for an unknown path or reason.
func (p *pages) missing(w http.ResponseWriter) {
	p.write(w, http.StatusNotFound, view{Page: "missing", Title: p.texts.Titles["missing"], Base: p.prefix + "/why/"})
}

// group is the reasons of one check, as the index shows them.
type group struct {
	Name, Title string
	Reasons     []listedReason
}

type listedReason struct{ ID, Title string }

// addGroup adds the reasons of a check, in the order of the registry, or of the pipeline.
func (p *pages) addGroup(name string, reasons []*checks.Reason) {
	g := group{Name: name, Title: cmp.Or(p.texts.Groups[name], name)}
	for _, r := range reasons {
		p.reasons[r.ID] = r
		g.Reasons = append(g.Reasons, listedReason{ID: r.ID, Title: p.texts.title(r)})
	}
	p.groups = append(p.groups, g)
}

// index serves the list of reasons, or the page for a link in openspf's form. base is the relative URL of the folder of the
// pages.
func (p *pages) index(w http.ResponseWriter, r *http.Request, base string) {
	if spf, ok := parseOpenSPF(r.URL.Query()); ok {
		p.openSPF(w, base, spf)
		return
	}
	p.write(w, http.StatusOK, view{Page: "index", Title: p.texts.Titles["index"], Base: base, Groups: p.groups})
}
