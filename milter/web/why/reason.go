package why

import (
	"cmp"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
	"milterd/milter/records"
	"milterd/milter/web"
)

// seen is what a record shows to who has its reference.
type seen struct {
	Reply                                      string
	Time, Until                                time.Time
	Client, Helo, MailFrom, RcptDomain, Action string
	Ref                                        string
	CanTest                                    bool
	Others                                     []records.Outcome
	Asked                                      []records.Asked
}

// lookup finds the record of a reference. The notice says why there is none; asking costs nothing then.
func (x *explain) lookup(r *http.Request, reason, ref string) (rec records.Record, notice string, code int) {
	if x.Tester == nil {
		return rec, x.texts.Notices["forged"], http.StatusOK
	}
	id, err := x.Signer.Verify(strings.ToLower(strings.TrimSpace(ref)), reason, x.Now(), x.Keep)
	switch {
	case errors.Is(err, records.ErrCut):
		return rec, x.texts.Notices["cut"], http.StatusOK
	case errors.Is(err, records.ErrExpired):
		return rec, x.texts.Notices["expired"], http.StatusOK
	case err != nil:
		return rec, x.texts.Notices["forged"], http.StatusOK
	}
	rec, ok, err := x.Record(r.Context(), id)
	switch {
	case err != nil:
		x.warn("record", err)
		return rec, x.texts.Notices["down"], http.StatusServiceUnavailable
	case !ok || rec.Reason != reason:
		return rec, x.texts.Notices["gone"], http.StatusOK
	}
	return rec, "", http.StatusOK
}

// show is the page of a reason, with what the reference refers to if there is one.
func (x *explain) show(w http.ResponseWriter, r *http.Request) {
	reason := x.reasons[r.PathValue("reason")]
	if reason == nil {
		x.missing(w)
		return
	}
	ref := r.URL.Query().Get("r")
	if ref == "" {
		x.page(w, http.StatusOK, reason, "", nil, "", nil)
		return
	}
	rec, notice, code := x.lookup(r, reason.ID, ref)
	if notice != "" {
		x.page(w, code, reason, notice, nil, "", nil)
		return
	}
	x.page(w, code, reason, "", &rec, ref, nil)
}

// maxForm is the most that is read of a form, in octets.
const maxForm = 4 << 10

// test asks the DNS now.
func (x *explain) test(w http.ResponseWriter, r *http.Request) {
	reason := x.reasons[r.PathValue("reason")]
	if reason == nil {
		x.missing(w)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	ref := r.FormValue("r") // in the query, so that the address of the answer is that of the page
	rec, notice, code := x.lookup(r, reason.ID, ref)
	switch {
	case notice != "":
		x.page(w, code, reason, notice, nil, "", nil)
		return
	case len(x.reasonsOf(rec)) == 0:
		x.page(w, http.StatusOK, reason, "", &rec, ref, nil)
		return
	case !x.limiter.begin(rec.ID):
		w.Header().Set("Retry-After", "60")
		x.page(w, http.StatusTooManyRequests, reason, x.texts.Notices["limit"], &rec, ref, nil)
		return
	}
	defer x.limiter.end()
	res := x.compare(rec, valuesOf(rec, x.Site), x.Again(r.Context(), rec, x.tested()))
	if res.State == "repaired" {
		var err error
		if res.Lifted, err = x.Repaired(r.Context(), rec); err != nil {
			x.warn("lift", err)
		}
	}
	x.page(w, http.StatusOK, reason, "", &rec, ref, res)
}

// page writes the page of a reason. rec and res may be nil.
func (x *explain) page(w http.ResponseWriter, code int, reason *checks.Reason, notice string, rec *records.Record, ref string, res *result) {
	vals := exampleValues(x.Site)
	if rec != nil {
		vals = valuesOf(*rec, x.Site)
	}
	view := x.texts.reason(reason, vals)
	v := x.view("reason", view.Title)
	v.Reason, v.Notice, v.Result, v.Private = &view, notice, res, notice != "" || rec != nil
	if rec != nil {
		v.Seen = x.seen(*rec, ref)
	}
	x.write(w, code, v)
}

// seen is what a record shows. Of the recipient that is the domain alone: a report of the failure may travel far.
func (x *explain) seen(rec records.Record, ref string) *seen {
	s := &seen{
		Reply: maskAll(rec, rec.Reply), Time: rec.Time, Until: rec.Time.Add(x.Keep), Client: "unknown",
		Helo: web.Shown(rec.Helo), MailFrom: web.Shown(rec.MailFrom), Action: rec.Reason, Ref: ref,
		CanTest: len(x.reasonsOf(rec)) > 0, Asked: x.askedOf(saying(rec)),
	}
	if rec.Client.IsValid() {
		s.Client = rec.Client.String()
	}
	if len(rec.Rcpts) > 0 {
		s.RcptDomain = checks.ParseAddress(rec.Rcpts[0]).Domain
	}
	for _, o := range rec.Outcomes {
		if o.Reason != rec.Reason && x.public(o.Check) && x.reasons[o.Reason] != nil {
			o.Text = maskAll(rec, o.Text)
			s.Others = append(s.Others, o)
		}
	}
	return s
}

// saying are the checks of a record that said something.
func saying(rec records.Record) []records.Check {
	return slices.DeleteFunc(slices.Clone(rec.Checks), func(c records.Check) bool { return len(c.Reasons) == 0 && c.Error == "" })
}

// maskAll leaves of the recipient's address what everybody may know.
func maskAll(rec records.Record, text string) string {
	for _, rcpt := range rec.Rcpts {
		a := checks.ParseAddress(rcpt)
		if a.Text == "" {
			continue
		}
		masked := "<…@" + cmp.Or(a.Domain, literal(a.Literal), "…") + ">"
		for _, full := range []string{"<" + rcpt + ">", checks.Clean("<"+rcpt+">", maxReplyValue)} {
			text = strings.ReplaceAll(text, full, masked)
		}
		if strings.Contains(rcpt, "@") {
			text = strings.ReplaceAll(text, rcpt, strings.Trim(masked, "<>"))
		}
	}
	return text
}

// maxReplyValue is how much of a value stands in a reply.
const maxReplyValue = 160

func literal(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return "[" + a.String() + "]"
}
