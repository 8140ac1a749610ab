package why

import (
	"errors"
	"net/http"
	"strings"

	"milterd/checks"
	"milterd/milter/records"
)

// show serves the page of a reason. If the query has a valid reference, the page shows the record.
func (p *pages) show(w http.ResponseWriter, r *http.Request) {
	reason := p.reasonOf(w, r)
	if reason == nil {
		return
	}
	a := answer{code: http.StatusOK}
	if ref := r.URL.Query().Get("r"); ref != "" {
		a = p.lookup(r, reason.ID, ref)
	}
	p.writeReason(w, r, reason, a)
}

// answer is what the page of a reason shows of one mail.
type answer struct {
	code   int             // status of the page
	notice string          // why there is no record, or no result
	rec    *records.Record // nil: none
	res    *result         // nil: it was not tested again
}

// reasonOf returns the reason that a request is about. If there is none, it sends the answer and returns nil.
func (p *pages) reasonOf(w http.ResponseWriter, r *http.Request) *checks.Reason {
	w.Header().Add("Vary", "Accept")
	reason := p.reasons[strings.TrimSuffix(r.PathValue("reason"), documentSuffix)]
	switch {
	case reason != nil:
	case wantsDocument(r):
		p.missingDocument(w)
	default:
		p.missing(w)
	}
	return reason
}

// maxFormBytes is the most that is read of a form.
const maxFormBytes = 4 << 10

// test runs the checks again and serves the page of a reason with the result.
func (p *pages) test(w http.ResponseWriter, r *http.Request) {
	reason := p.reasonOf(w, r)
	if reason == nil {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	a := p.lookup(r, reason.ID, r.FormValue("r"))
	var tested records.Record
	valid := true
	if a.rec != nil {
		tested, valid = withHelo(*a.rec, r.FormValue("helo"))
	}
	switch {
	case a.rec == nil || len(p.testable(*a.rec)) == 0:
	case !valid:
		a.notice, a.code = p.texts.Notices["helo"], http.StatusUnprocessableEntity
	case !p.limiter.beginTest(a.rec.ID):
		w.Header().Set("Retry-After", "60")
		a.notice, a.code = p.texts.Notices["limit"], http.StatusTooManyRequests
	default:
		defer p.limiter.endTest()
		a.res = p.compare(tested, p.Tester.Again(r.Context(), tested, p.testedChecks()))
		if tested.Helo != a.rec.Helo {
			a.res.Helo = tested.Helo // the name that is refused may still be sent, so a block stays
		} else if a.res.State == repaired {
			var err error
			if a.res.Lifted, err = p.Tester.Repaired(r.Context(), *a.rec); err != nil {
				p.warn("lift", err)
			}
		}
	}
	p.writeReason(w, r, reason, a)
}

// lookup returns the record of a reference. If there is none, the notice says why. It reads the store only for a reference with
// a valid signature.
func (p *pages) lookup(r *http.Request, reason, ref string) answer {
	if p.Tester == nil {
		return answer{code: http.StatusOK, notice: p.texts.Notices["forged"]}
	}
	id, err := p.Signer.Verify(strings.ToLower(strings.TrimSpace(ref)), reason, p.now(), p.Keep)
	switch {
	case errors.Is(err, records.ErrCut):
		return answer{code: http.StatusOK, notice: p.texts.Notices["cut"]}
	case errors.Is(err, records.ErrExpired):
		return answer{code: http.StatusOK, notice: p.texts.Notices["expired"]}
	case err != nil:
		return answer{code: http.StatusOK, notice: p.texts.Notices["forged"]}
	}
	found, ok, err := p.Tester.Record(r.Context(), id)
	switch {
	case err != nil:
		p.warn("record", err)
		return answer{code: http.StatusServiceUnavailable, notice: p.texts.Notices["down"]}
	case !ok || found.Reason != reason:
		return answer{code: http.StatusOK, notice: p.texts.Notices["gone"]}
	}
	return answer{code: http.StatusOK, rec: &found}
}

// writeReason sends the page of a reason, or its document.
func (p *pages) writeReason(w http.ResponseWriter, r *http.Request, reason *checks.Reason, a answer) {
	known := values{site: p.Site}
	if a.rec != nil {
		known = newValues(*a.rec, p.Site)
	}
	rv := p.texts.reason(reason, known)
	v := view{
		Page: "reason", Title: rv.Title, Reason: &rv, Lead: p.leadOf(rv, a.rec), Notice: a.notice, Result: a.res,
		Private: a.notice != "" || a.rec != nil,
	}
	if a.rec != nil {
		v.Seen = p.seen(*a.rec)
	}
	if wantsDocument(r) {
		p.writeDocument(w, a.code, v)
		return
	}
	p.write(w, a.code, v)
}
