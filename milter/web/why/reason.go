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
	resp := response{code: http.StatusOK}
	if ref := r.URL.Query().Get("r"); ref != "" {
		resp = p.lookup(r, reason.ID, ref)
	}
	p.writeReason(w, r, reason, resp)
}

// response is what the page of a reason shows of one mail.
type response struct {
	code   int             // status of the page
	notice string          // why there is no record, or no result
	rec    *records.Record // nil: none
	res    *result         // nil: it was not tested again
}

// reasonOf returns the reason that a request is about. If there is none, it sends status 404 and returns nil.
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
	resp := p.lookup(r, reason.ID, r.FormValue("r"))
	if resp.rec == nil || len(p.testable(*resp.rec)) == 0 {
		p.writeReason(w, r, reason, resp)
		return
	}
	tested, valid := withHelo(*resp.rec, r.FormValue("helo"))
	switch {
	case !valid:
		resp.notice, resp.code = p.texts.Notices["helo"], http.StatusUnprocessableEntity
	case !p.limiter.beginTest(resp.rec.ID):
		w.Header().Set("Retry-After", "60")
		resp.notice, resp.code = p.texts.Notices["limit"], http.StatusTooManyRequests
	default:
		defer p.limiter.endTest()
		resp.res = p.compare(tested, p.Tester.Again(r.Context(), tested, p.testedChecks()))
		if tested.Helo != resp.rec.Helo {
			resp.res.Helo = tested.Helo // the name that is refused may still be sent, so a block stays
		} else if resp.res.State == stateRepaired {
			var err error
			if resp.res.Lifted, err = p.Tester.Repaired(r.Context(), *resp.rec); err != nil {
				p.warn("lift", err)
			}
		}
	}
	p.writeReason(w, r, reason, resp)
}

// lookup returns the record of a reference. If there is none, the notice says why. It reads the store only for a reference with
// a valid signature.
func (p *pages) lookup(r *http.Request, reason, ref string) response {
	notice := func(code int, name string) response { return response{code: code, notice: p.texts.Notices[name]} }
	if p.Tester == nil {
		return notice(http.StatusOK, "forged")
	}
	id, err := p.Signer.Verify(strings.ToLower(strings.TrimSpace(ref)), reason, p.now(), p.Keep)
	switch {
	case errors.Is(err, records.ErrCut):
		return notice(http.StatusOK, "cut")
	case errors.Is(err, records.ErrExpired):
		return notice(http.StatusOK, "expired")
	case err != nil:
		return notice(http.StatusOK, "forged")
	}
	found, ok, err := p.Tester.Record(r.Context(), id)
	switch {
	case err != nil:
		p.warn("record", err)
		return notice(http.StatusServiceUnavailable, "down")
	case !ok || found.Reason != reason:
		return notice(http.StatusOK, "gone")
	}
	return response{code: http.StatusOK, rec: &found}
}

// writeReason sends the page of a reason, or its document.
func (p *pages) writeReason(w http.ResponseWriter, r *http.Request, reason *checks.Reason, resp response) {
	known := values{site: p.Site}
	if resp.rec != nil {
		known = newValues(*resp.rec, p.Site)
	}
	rv := p.texts.reason(reason, known)
	v := view{
		Page: "reason", Title: rv.Title, Reason: &rv, Lead: p.leadOf(rv, resp.rec), Notice: resp.notice, Result: resp.res,
		Private: resp.notice != "" || resp.rec != nil,
	}
	if resp.rec != nil {
		v.Seen = p.seen(*resp.rec)
	}
	if wantsDocument(r) {
		p.writeDocument(w, resp.code, v)
		return
	}
	p.write(w, resp.code, v)
}
