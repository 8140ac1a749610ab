package dashboard

import (
	"context"
	"net/http"
	"time"

	"milterd/milter/mirror"
)

// mirrorPage is the body of the page about outgoing mail.
type mirrorPage struct {
	mirror.Report
	Received []Received // the first maxReceived
	Omitted  int        // others
}

// answerText returns the answer of a receiver in few words.
func answerText(a mirror.Answer) string {
	return map[mirror.Answer]string{
		mirror.Takes: "takes it", mirror.Advises: "takes it, with advice", mirror.RefusesBulk: "refuses bulk only", mirror.Refuses: "may refuse it",
	}[a]
}

// answerClass returns the class of an answer in the style sheet.
func answerClass(a mirror.Answer) string {
	return map[mirror.Answer]string{mirror.Takes: "accept", mirror.Advises: "advice", mirror.RefusesBulk: "tempfail", mirror.Refuses: "reject"}[a]
}

// Received is what a site reported about mail of one host with one domain in From, in a DMARC report. Texts are remote text.
type Received struct {
	Source, From string
	Messages     int
	DKIM, SPF    string // pass or fail: of a domain that aligns with From
	Did          string // accept, quarantine or reject
	Reporter     string
	Begin, End   time.Time
}

// Passes reports whether the mail passes DMARC.
func (r Received) Passes() bool { return r.DKIM == "pass" || r.SPF == "pass" }

// maxReceived is the number of reported hosts that the page shows. Those whose mail fails come first.
const maxReceived = 100

// mirror serves the page about outgoing mail.
func (p *pages) mirror(w http.ResponseWriter, r *http.Request) {
	f := p.frame("mirror", "Would others take our mail?")
	var page mirrorPage
	code := p.setError(&f, p.read(r, evidenceTimeout, func(ctx context.Context) (err error) {
		if page.Report, err = p.Mirror(ctx); err != nil {
			return err
		}
		page.Received, err = p.Received(ctx)
		return err
	}))
	page.Omitted = max(0, len(page.Received)-maxReceived)
	page.Received = page.Received[:len(page.Received)-page.Omitted]
	p.write(w, code, &f, page)
}
