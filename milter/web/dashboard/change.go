package dashboard

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"milterd/milter/web"
)

// showFunc serves a page that has forms, with a note, which may be nil, and a status code.
type showFunc func(http.ResponseWriter, *http.Request, *note, int)

// withNote returns the handler of a page, with the note that the query of a request names.
func (p *pages) withNote(show showFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		show(w, r, p.notes.get(r.URL.Query().Get("note")), http.StatusOK)
	}
}

// change carries out a form of a page; Guard has refused those that other sites sent. On success it redirects the browser to the
// page, with what was done as a note, so that a reload does not repeat the change. If too many would be removed, or on failure, it
// calls show to serve the page with the question or the error.
func (p *pages) change(w http.ResponseWriter, r *http.Request, page string, f func(context.Context) (Change, error), show showFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	done, err := f(ctx)
	back := page + "?" + placeOf(r.URL.Query()).Encode()
	switch {
	case err != nil:
		n, code := p.failed(err)
		show(w, r, n, code)
	case done.Would > 0:
		show(w, r, &note{Text: web.Shown(done.Text), Ask: newQuestion(back, r.PostForm, done.Would)}, http.StatusOK)
	default:
		p.redirect(w, back, web.Shown(done.Text), done.Undo)
	}
}

// failed returns the note about a change that failed, and the status code of the page.
func (p *pages) failed(err error) (*note, int) {
	if errors.Is(err, context.DeadlineExceeded) || !p.Components.Store().OK {
		return &note{Text: "The change failed, perhaps after a part of it: " + web.Shown(err.Error()), Bad: true}, http.StatusServiceUnavailable
	}
	return &note{Text: "Nothing was changed: " + web.Shown(err.Error()), Bad: true}, http.StatusUnprocessableEntity
}

// redirect sends the browser to a page with a note.
func (p *pages) redirect(w http.ResponseWriter, page, text string, undo func(context.Context) (string, error)) {
	id := p.notes.add(text, page, undo)
	w.Header().Set("Location", page+"&note="+url.QueryEscape(id))
	w.WriteHeader(http.StatusSeeOther)
}

// undo undoes the change of a note, once. If that fails, the page has a form to try it again.
func (p *pages) undo(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	undo, back := p.notes.takeUndo(field(form(w, r), "note"))
	if undo == nil {
		f := p.frame("missing", "Nothing was undone")
		f.Note = &note{Text: "This change cannot be undone any more: it was undone, or milterd was started again, or there were many changes since.", Bad: true}
		p.write(w, http.StatusGone, &f, nil)
		return
	}
	text, err := undo(ctx)
	if err != nil {
		f := p.frame("missing", "The change was not undone")
		var code int
		f.Note, code = p.failed(err)
		f.Note.Undo = p.notes.add("", back, undo)
		p.write(w, code, &f, nil)
		return
	}
	p.redirect(w, back, web.Shown(text), nil)
}

// placeOf returns the part of a query that says what a page shows. After a change, the browser is redirected to the page with
// only this part. It is never empty, so that redirect can append the note.
func placeOf(query url.Values) url.Values {
	place := url.Values{"what": {field(query, "what")}}
	for _, name := range []string{"id", "n"} {
		if value := field(query, name); value != "" {
			place.Set(name, value)
		}
	}
	return place
}

// question asks before a form removes many entries. It has the fields of the form.
type question struct {
	Action string // address of the form
	Fields url.Values
	Button string
}

func newQuestion(action string, fields url.Values, n int) *question {
	fields = maps.Clone(fields)
	fields.Set("many", "yes")
	return &question{Action: action, Fields: fields, Button: "Remove all " + grouped(n)}
}

// many reports whether the operator has answered the question.
func many(v url.Values) bool { return v.Get("many") == "yes" }

// Errors of a form that was not sent by a page of this package.
var (
	errNoClient    = errors.New("the client is missing")
	errUnknownForm = errors.New("unknown form")
)

// form returns the fields of a form. It ignores the query, so that a link cannot change anything, and a form that is too long or
// malformed.
func form(w http.ResponseWriter, r *http.Request) url.Values {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	_ = r.ParseForm()
	return r.PostForm
}

// field returns a field without the white space around it, cut to maxFieldBytes.
func field(v url.Values, name string) string {
	s := strings.TrimSpace(v.Get(name))
	return s[:min(len(s), maxFieldBytes)]
}
