package dashboard

import (
	"context"
	"net/http"

	"milterd/milter/mirror"
)

// mirrorPage is the body of the page about outgoing mail.
type mirrorPage struct {
	mirror.Report
	Receivers []string
}

// mirror serves the page about outgoing mail.
func (p *pages) mirror(w http.ResponseWriter, r *http.Request) {
	f := p.frame("mirror", "Would others take our mail?")
	page := mirrorPage{Receivers: mirror.Receivers()}
	code := p.setError(&f, p.read(r, evidenceTimeout, func(ctx context.Context) (err error) {
		page.Report, err = p.Mirror(ctx)
		return err
	}))
	p.write(w, code, &f, page)
}
