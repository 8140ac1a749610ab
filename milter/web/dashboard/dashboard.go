// Package dashboard serves the operator's pages: what is happening, the last refusals with their traces, the greylist and the
// blocks. The sender's pages are in package why.
package dashboard

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/milter/evidence"
	"milterd/milter/records"
	"milterd/milter/web"
)

// Config configures the pages. They belong behind a Guard. They work below any path, with and without JavaScript.
type Config struct {
	Site     string // host name of the mail server
	Version  string
	Started  time.Time
	Profile  func() string
	Parts    web.Parts
	Problems func() []string // what an operator should look at first
	History  *History
	Book     Book // nil: no records are kept
	Operator Operator
	Evidence Evidence
	Log      *logrus.Entry
	Now      func() time.Time // nil: time.Now
	Zone     *time.Location   // of the times that are shown; nil: time.Local
}

// Evidence makes the reports on watched and enforced reasons.
type Evidence func(ctx context.Context) (evidence.WatchReport, evidence.ActionReport, error)

// Book has the records of decisions.
type Book interface {
	Page(ctx context.Context, q records.Query, in records.Range) (records.Page, error)
	Get(ctx context.Context, id string) (records.Record, bool, error)
}

// Operator does what the pages let the operator see and change: what the commands greylist and block do. It is safe for
// concurrent use.
type Operator interface {
	Triplets(ctx context.Context, what string) iter.Seq2[Triplet, error]
	Clients(ctx context.Context, what string) iter.Seq2[Client, error]
	Allow(ctx context.Context, what string) error
	Forget(ctx context.Context, what string) (int, error)
	Blocks(ctx context.Context) ([]Block, error)
	Block(ctx context.Context, client, length, why string) (Block, error)
	Unblock(ctx context.Context, client string) (bool, error)
}

// Triplet is what greylisting knows of a client, a reverse-path and a recipient. Times that did not happen are zero.
type Triplet struct {
	Identity, From, To, Client, Suspicion, State string
	Attempts                                     int
	First, Last, Until, Passed                   time.Time
}

// Client is a client that has passed greylisting, or that the operator allowed.
type Client struct {
	Identity string
	Passes   int
	Used     time.Time // zero: never
	Client   string    // address of the last message; empty: none yet
	Allowed  bool
}

// Block is a client under a temporary block.
type Block struct {
	Client       string
	Since, Until time.Time
	Level        int // the first block is 1; 0: by hand
	Why          string
	InForce      bool // false: nothing was refused yet
}

// Policy is the content security policy of the operator's pages: no exceptions.
const Policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

const (
	// patience is how long a page looks for what it shows. What it has not found then it does not show, and says so.
	patience = 3 * time.Second
	// longPatience is that of the page of watched reasons, less than what an answer may take: the daemon first writes down what it
	// has, for which it may have to wait for other hosts.
	longPatience = 8 * time.Second
	// maxReading is how many pages may read the store at a time.
	maxReading = 4
	// liveEvery is how often a page is brought up to date, and liveCost by how much longer that is than it took to make:
	// a page that is open all day costs a hundredth of a processor at most.
	liveEvery, liveSeldom = 5 * time.Second, time.Minute
	liveCost              = 100
)

//go:embed pages
var files embed.FS

// dashboard serves the pages.
type dashboard struct {
	Config
	pages   *template.Template
	reading chan struct{}
	notes   notes
}

// New returns a handler for the pages. The error is one of their texts: a test finds it.
func New(c Config) (http.Handler, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Zone == nil {
		c.Zone = time.Local
	}
	x := &dashboard{Config: c, reading: make(chan struct{}, maxReading)}
	var err error
	if x.pages, err = template.New("").Funcs(x.funcs()).ParseFS(files, "pages/*.html"); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", x.overview)
	mux.HandleFunc("GET /refusals", x.refusals)
	mux.HandleFunc("GET /session", x.session)
	mux.HandleFunc("GET /watched", x.watched)
	mux.HandleFunc("GET /greylist", x.greylist)
	mux.HandleFunc("POST /greylist", x.changeGreylist)
	mux.HandleFunc("GET /blocks", x.blocks)
	mux.HandleFunc("POST /blocks", x.changeBlocks)
	for name, kind := range map[string]string{"style.css": "text/css", "live.js": "text/javascript"} {
		text, err := files.ReadFile("pages/" + name)
		if err != nil {
			return nil, err
		}
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			w.Header().Set("Cache-Control", "max-age=300")
			_, _ = w.Write(text)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		f := x.frame("missing", "There is no such page")
		f.Base = strings.Repeat("../", max(0, strings.Count(r.URL.Path, "/")-1))
		x.write(w, http.StatusNotFound, &f, nil)
	})
	return mux, nil
}

// frame is what every page shows.
type frame struct {
	Page, Title, Site, Version, Base string
	Attention                        int // how many things the operator should look at
	Note                             *note
	Error                            string // why the page shows less than it should
	Now                              time.Time
	Refresh                          int64 // milliseconds; 0: what it shows does not change
	Body                             any

	began time.Time
	live  bool
}

func (x *dashboard) frame(page, title string) frame {
	return frame{
		Page: page, Title: title, Site: x.Site, Version: x.Version, Attention: len(x.attention()), Now: x.Now(), began: time.Now(),
	}
}

// attention are the things the operator should look at.
func (x *dashboard) attention() []string {
	var list []string
	for _, p := range x.Problems() {
		list = append(list, web.Shown(p))
	}
	for _, c := range x.Parts.Checks() {
		if c.Why != "" {
			list = append(list, web.Shown(fmt.Sprintf("%s %s is %s: %s", c.Check, c.Name, c.State, c.Why)))
		}
	}
	if n := x.Parts.Records().Dropped; n > 0 {
		list = append(list, fmt.Sprintf("%d decision records were lost since the start, because the store did not take them in time", n))
	}
	if n := x.Parts.LogDropped(); n > 0 {
		list = append(list, fmt.Sprintf("%d lines of the log were lost since the start, because syslog did not take them in time", n))
	}
	return list
}

// write sends a page. Nothing is sent of a page that cannot be made.
func (x *dashboard) write(w http.ResponseWriter, code int, f *frame, body any) {
	f.Body = body
	if f.live {
		f.Refresh = min(max(liveEvery, liveCost*time.Since(f.began)), liveSeldom).Milliseconds()
	}
	var b bytes.Buffer
	if err := x.pages.ExecuteTemplate(&b, f.Page, f); err != nil {
		x.warn("page", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = b.WriteTo(w) // who asked has gone
}

func (x *dashboard) warn(what string, err error) {
	if x.Log != nil && !errors.Is(err, context.Canceled) {
		x.Log.WithError(err).Warn("operator's pages: " + what)
	}
}

// errBusy is what a page says that could not read the store.
var errBusy = errors.New("too many pages read the store at this moment, try again")

// read lets f read the store, not for long and not with many others.
func (x *dashboard) read(r *http.Request, f func(context.Context) error) error {
	return x.readFor(r, patience, f)
}

func (x *dashboard) readFor(r *http.Request, patience time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	select {
	case x.reading <- struct{}{}:
		defer func() { <-x.reading }()
		return f(ctx)
	case <-ctx.Done():
		return errBusy
	}
}

// failed says on a page what could not be read, and returns its code.
func (x *dashboard) failed(f *frame, err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, context.DeadlineExceeded):
		f.Error = "Looking took too long, so what is shown is not complete. A narrower search helps."
		return http.StatusOK
	}
	x.warn(f.Page, err)
	f.Error = "The store did not answer: " + web.Shown(err.Error())
	return http.StatusServiceUnavailable
}

// maxChange is the most that is read of a form that changes something, in octets.
const maxChange = 8 << 10

// change carries out what a form wants. The answer sends the browser back, so that a reload changes nothing again; a mistake in
// the form is answered at once by show.
func (x *dashboard) change(w http.ResponseWriter, r *http.Request, back string, f func(context.Context) (string, error), show func(http.ResponseWriter, *http.Request, *note, int)) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	said, err := f(ctx)
	if err != nil {
		code := http.StatusUnprocessableEntity
		if errors.Is(err, context.DeadlineExceeded) || !x.Parts.Store().OK {
			code = http.StatusServiceUnavailable
		}
		show(w, r, &note{Text: "Nothing was changed: " + web.Shown(err.Error()), Bad: true}, code)
		return
	}
	at := strings.Index(back, "?")
	query, _ := url.ParseQuery(back[at+1:])
	query.Set("note", x.notes.add(said))
	w.Header().Set("Location", back[:at]+"?"+query.Encode())
	w.WriteHeader(http.StatusSeeOther)
}

// form reads a form that changes something. It takes nothing from the address, so that a link cannot fill it.
func form(w http.ResponseWriter, r *http.Request) url.Values {
	r.Body = http.MaxBytesReader(w, r.Body, maxChange)
	_ = r.ParseForm() // what is too long or broken is as if it were not there
	return r.PostForm
}

// field is a value of a form or an address, not longer than any that makes sense.
func field(v url.Values, name string) string {
	const longest = 320
	s := strings.TrimSpace(v.Get(name))
	return s[:min(len(s), longest)]
}
