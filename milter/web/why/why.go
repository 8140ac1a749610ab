// Package why serves the sender's pages: one for each reason, which with the reference of a reply shows what was seen and
// tests it again. The operator's pages are in package dashboard.
package why

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/netip"
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
	Checks  []checks.Info    // whose reasons have pages
	Reasons []*checks.Reason // that no check says
	Site    string           // host name of the mail server
	URL     string           // as which others reach the pages; its path may or may not come along
	Signer  records.Signer   // of references; the zero value: none is valid
	Keep    time.Duration    // how long a reference is valid
	Log     *logrus.Entry
	Now     func() time.Time // nil: time.Now
	Tester                   // nil: there are no references
}

// Tester is what the pages need of the daemon. It is safe for concurrent use.
type Tester interface {
	// Record finds the record of a reference; false if it is not kept any more.
	Record(ctx context.Context, id string) (records.Record, bool, error)
	// Again asks the named checks once more about the client, HELO name and sender of a record, past all caches.
	Again(ctx context.Context, r records.Record, names []string) []checks.Result
	// Repaired is told of a record whose reasons are gone, and tells whether it lifted a temporary block for that.
	Repaired(ctx context.Context, r records.Record) (lifted bool, err error)
}

// explain serves the pages.
type explain struct {
	Config
	texts   *texts
	reasons map[string]*checks.Reason
	limiter *limiter
	style   []byte
	pens    chan struct{} // each writes a page: however many want to read, half of the processors are left for mail
}

// Policy is the content security policy of every page: no exceptions.
const Policy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// New returns a handler for the pages. The error is one of their texts.
func New(c Config) (http.Handler, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	t, err := loadTexts()
	if err != nil {
		return nil, err
	}
	x := &explain{
		Config: c, texts: t, reasons: map[string]*checks.Reason{}, limiter: newLimiter(c.Now),
		pens: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	if x.style, err = files.ReadFile("pages/style.css"); err != nil {
		return nil, err
	}
	for _, g := range x.registry() {
		for _, r := range g.reasons {
			x.reasons[r.ID] = r
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "why/") // below the path of the URL
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("GET /why", func(w http.ResponseWriter, r *http.Request) { x.index(w, r, "why/") })
	mux.HandleFunc("GET /why/{$}", func(w http.ResponseWriter, r *http.Request) { x.index(w, r, "") })
	mux.HandleFunc("GET /why/style.css", x.css)
	mux.HandleFunc("GET /why/{reason}", x.show)
	mux.HandleFunc("POST /why/{reason}", x.test)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { x.missing(w) })
	return x.guard(mux), nil
}

// guard hardens every answer, and takes the path of the URL off.
func (x *explain) guard(next http.Handler) http.Handler {
	prefix := ""
	if u, err := url.Parse(x.URL); err == nil {
		prefix = strings.TrimSuffix(u.Path, "/")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.SetSecurityHeaders(w.Header(), Policy)
		if !x.limiter.page() {
			select {
			case <-time.After(delayPage):
			case <-r.Context().Done():
			}
			w.Header().Set("Retry-After", "1")
			http.Error(w, x.texts.Notices["busy"], http.StatusTooManyRequests)
			return
		}
		if strings.HasPrefix(r.URL.Path, prefix+"/") {
			http.StripPrefix(prefix, next).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// view is what the templates show.
type view struct {
	Page, Title, Site, Contact string
	Base                       string // what leads to the folder of the pages
	Private                    bool   // about somebody
	Notice                     string
	Groups                     []group
	Reason                     *reasonView
	Seen                       *seen
	Result                     *result
	SPF                        *openspf
}

func (x *explain) view(page, title string) view {
	return view{Page: page, Title: title, Site: x.Site, Contact: x.Site}
}

// write sends a page. Nothing is sent of a page that cannot be made.
func (x *explain) write(w http.ResponseWriter, code int, v view) {
	b, err := x.render(v)
	if err != nil {
		x.warn("page", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=300")
	if v.Private || code != http.StatusOK {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(code)
	_, _ = b.WriteTo(w) // who asked has gone
}

func (x *explain) render(v view) (*bytes.Buffer, error) {
	x.pens <- struct{}{}
	defer func() { <-x.pens }()
	b := new(bytes.Buffer)
	return b, x.texts.pages.ExecuteTemplate(b, v.Page, v)
}

func (x *explain) warn(what string, err error) {
	if x.Log != nil && !errors.Is(err, context.Canceled) {
		x.Log.WithError(err).Warn("explanation pages: " + what)
	}
}

func (x *explain) css(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(x.style)
}

func (x *explain) missing(w http.ResponseWriter) {
	v := x.view("missing", x.texts.Titles["missing"])
	v.Base = "/why/"
	if u, err := url.Parse(x.URL); err == nil {
		v.Base = strings.TrimSuffix(u.Path, "/") + v.Base
	}
	x.write(w, http.StatusNotFound, v)
}

// group is the reasons of one check.
type group struct {
	Name, Title string
	Reasons     []reasonView
	reasons     []*checks.Reason
}

// registry lists all reasons in their order.
func (x *explain) registry() []group {
	var list []group
	for _, info := range x.Checks {
		if len(info.Reasons) > 0 {
			list = append(list, group{Name: info.Name, reasons: info.Reasons})
		}
	}
	return append(list, group{Name: "milterd", reasons: x.Reasons})
}

// index lists all reasons, or answers a link in openspf's form: http://www.openspf.org/why.html?sender=...&ip=...&receiver=...
func (x *explain) index(w http.ResponseWriter, r *http.Request, base string) {
	if spf, ok := parseOpenSPF(r.URL.Query()); ok {
		x.openspf(w, base, spf)
		return
	}
	v := x.view("index", x.texts.Titles["index"])
	v.Base = base
	for _, g := range x.registry() {
		if g.Title = x.texts.Groups[g.Name]; g.Title == "" {
			g.Title = g.Name
		}
		for _, r := range g.reasons {
			g.Reasons = append(g.Reasons, reasonView{ID: r.ID, Title: x.texts.reason(r, values{}).Title})
		}
		v.Groups = append(v.Groups, g)
	}
	x.write(w, http.StatusOK, v)
}

// openspf is what a link in openspf's form says.
type openspf struct {
	Sender, Domain, IP, Receiver string
}

// parseOpenSPF takes nothing but addresses and names: the page would repeat anything.
func parseOpenSPF(q url.Values) (*openspf, bool) {
	a := checks.ParseAddress(q.Get("sender"))
	ip, err := netip.ParseAddr(q.Get("ip"))
	domain, ok := hostName(a.Domain)
	if !q.Has("sender") || err != nil || !ok {
		return nil, false
	}
	receiver, ok := hostName(q.Get("receiver"))
	if !ok {
		receiver = ""
	}
	return &openspf{checks.Clean(a.Text, 254), domain, ip.Unmap().WithZone("").String(), receiver}, true
}

func (x *explain) openspf(w http.ResponseWriter, base string, spf *openspf) {
	fail := x.reasons["spf-fail"]
	if fail == nil {
		x.missing(w)
		return
	}
	v := x.view("openspf", x.texts.Titles["openspf"])
	v.Base, v.SPF, v.Private = base, spf, true
	vals := exampleValues(x.Site)
	vals.domain, vals.client = spf.Domain, netip.MustParseAddr(spf.IP)
	reason := x.texts.reason(fail, vals)
	v.Reason = &reason
	x.write(w, http.StatusOK, v)
}
