package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

const (
	// rowsPerPage is how many records a page shows.
	rowsPerPage = 50
	// lookPerPage is how many are looked at for that.
	lookPerPage = 20_000
	// aroundSession is how many records before and after one of a session are looked at for the others, and longestSession how
	// far in time.
	aroundSession  = 10_000
	longestSession = 2 * time.Hour
	// lookForSession is how many of the last records are looked at for a session of which nothing but its id is known.
	lookForSession = 50_000
)

// choice is one of a list in a form.
type choice struct {
	Value, Title string
	Chosen       bool
}

// refusalsPage is the list of decisions.
type refusalsPage struct {
	Off      bool
	Filter   filter
	Actions  []choice
	Times    []choice
	Reasons  []string
	Records  []recordView
	Reached  time.Time // how far back it was looked; zero: to the end
	Older    string    // address of the part that follows; empty: there is none
	Newest   string    // address of the first part; empty: this is it
	Filtered bool
}

// filter is what the form of the list says.
type filter struct {
	Sender, Rcpt, Client, Reason, Action, Since string
	Before                                      int64
}

// Actions and times by which the list can be filtered.
var (
	actionChoices = []choice{
		{Value: "", Title: "rejected or deferred"}, {Value: "reject", Title: "rejected"}, {Value: "tempfail", Title: "deferred"},
		{Value: "greylist", Title: "suspected"}, {Value: "watch", Title: "watched"}, {Value: records.Accept, Title: "accepted"}, {Value: "all", Title: "everything"},
	}
	timeChoices = []choice{
		{Value: "", Title: "all that is kept"}, {Value: "1h", Title: "the last hour"}, {Value: "24h", Title: "the last 24 hours"}, {Value: "7d", Title: "the last 7 days"},
	}
	times = map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour}
)

func choose(list []choice, value string) []choice {
	out := slices.Clone(list)
	for i := range out {
		out[i].Chosen = out[i].Value == value
	}
	return out
}

// filterOf reads the form. What it does not know is as if it were not there.
func filterOf(v url.Values) filter {
	f := filter{
		Sender: field(v, "sender"), Rcpt: field(v, "rcpt"), Client: field(v, "client"), Reason: field(v, "reason"),
		Action: field(v, "action"), Since: field(v, "since"),
	}
	if !slices.ContainsFunc(actionChoices, func(c choice) bool { return c.Value == f.Action }) {
		f.Action = ""
	}
	if _, ok := times[f.Since]; !ok {
		f.Since = ""
	}
	if n, err := strconv.ParseInt(v.Get("before"), 10, 64); err == nil && n > 0 {
		f.Before = n
	}
	return f
}

// address is the page of the filter.
func (f filter) address() string {
	q := url.Values{}
	for name, value := range map[string]string{"sender": f.Sender, "rcpt": f.Rcpt, "client": f.Client, "reason": f.Reason, "action": f.Action, "since": f.Since} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Before > 0 {
		q.Set("before", strconv.FormatInt(f.Before, 10))
	}
	return "refusals?" + q.Encode()
}

func (f filter) query(now time.Time) records.Query {
	q := records.Query{
		Sender: f.Sender, Rcpt: f.Rcpt, Client: f.Client, Reason: f.Reason, Action: cmp.Or(f.Action, records.Refused), Max: rowsPerPage,
	}
	if f.Action == "all" {
		q.Action = ""
	}
	if d := times[f.Since]; d > 0 {
		q.Since = now.Add(-d)
	}
	return q
}

// recordView is a record as the list shows it.
type recordView struct {
	records.Record
	Trace string // address of the page of its session
}

func traceOf(r records.Record) string {
	return "session?" + url.Values{"id": {r.Session}, "n": {strconv.FormatInt(r.Number, 10)}}.Encode()
}

func (x *dashboard) refusals(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	fr := x.frame("refusals", "Refusals")
	f := filterOf(query)
	page := refusalsPage{Off: x.Book == nil, Filter: f, Actions: choose(actionChoices, f.Action), Times: choose(timeChoices, f.Since), Reasons: x.History.ids[:len(x.History.ids)-1]}
	if page.Off {
		x.write(w, http.StatusOK, &fr, page)
		return
	}
	var err error
	if ref := field(query, "ref"); ref != "" {
		var found bool
		if found, err = x.byReference(w, r, ref); found {
			return
		}
		if err == nil {
			fr.Note = &note{Text: "There is no record of this link or session: it is no longer kept, or not of this site.", Bad: true}
		}
	}
	var part records.Page
	if err == nil {
		err = x.read(r, func(ctx context.Context) (err error) {
			part, err = x.Book.Page(ctx, f.query(x.Now()), records.Range{Before: f.Before, Look: lookPerPage})
			return err
		})
	}
	code := x.failed(&fr, err)
	for _, rec := range part.Records {
		page.Records = append(page.Records, recordView{rec, traceOf(rec)})
	}
	if part.Next > 0 {
		older := f
		older.Before = part.Next
		page.Older, page.Reached = older.address(), part.Reached
	}
	newest := f
	newest.Before = 0
	if f.Before > 0 {
		page.Newest = newest.address()
	}
	page.Filtered = newest != filter{}
	fr.live = f.Before == 0
	x.write(w, code, &fr, page)
}

// byReference sends the browser to the session of what a postmaster reads out: the link of a reply, its reference, or the id of
// a session.
func (x *dashboard) byReference(w http.ResponseWriter, r *http.Request, ref string) (bool, error) {
	at := ""
	err := x.read(r, func(ctx context.Context) error {
		if id := records.IDIn(ref); id != "" {
			rec, ok, err := x.Book.Get(ctx, id)
			if ok {
				at = traceOf(rec)
			}
			return err
		}
		part, err := x.Book.Page(ctx, records.Query{Session: ref, Max: 1}, records.Range{Look: lookForSession})
		if len(part.Records) > 0 {
			at = traceOf(part.Records[0])
		}
		return err
	})
	if at == "" {
		return false, err
	}
	w.Header().Set("Location", at)
	w.WriteHeader(http.StatusSeeOther)
	return true, nil
}

// sessionPage is all that is known of a session.
type sessionPage struct {
	Off     bool
	ID      string
	Records []sessionRecord // in their order
	First   sessionRecord
}

// sessionRecord is one decision of a session.
type sessionRecord struct {
	records.Record
	Others []records.Outcome // beside the one that decided
	Took   float64           // milliseconds of all checks
	Asked  int
}

func (x *dashboard) session(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	page := sessionPage{Off: x.Book == nil, ID: field(query, "id")}
	f := x.frame("session", "Session "+checks.Clean(page.ID, 40))
	if page.Off {
		x.write(w, http.StatusOK, &f, page)
		return
	}
	number, err := strconv.ParseInt(query.Get("n"), 10, 64)
	if page.ID == "" || err != nil || number < 1 {
		f.Error = "The address of this page is not complete."
		x.write(w, http.StatusNotFound, &f, page)
		return
	}
	var list []records.Record
	err = x.read(r, func(ctx context.Context) (err error) {
		list, err = x.sessionRecords(ctx, page.ID, number)
		return err
	})
	code := x.failed(&f, err)
	for _, rec := range slices.Backward(list) {
		page.Records = append(page.Records, newSessionRecord(rec))
	}
	if len(page.Records) > 0 {
		page.First = page.Records[0]
	} else if err == nil {
		code = http.StatusNotFound
		f.Error = "There is no record of this session: it is no longer kept."
	}
	x.write(w, code, &f, page)
}

// sessionRecords finds the records of a session, the last one first, around one of them.
func (x *dashboard) sessionRecords(ctx context.Context, id string, number int64) ([]records.Record, error) {
	one, err := x.Book.Page(ctx, records.Query{Session: id, Max: 1}, records.Range{Before: number + 1, Look: 1})
	if err != nil || len(one.Records) == 0 {
		return nil, err
	}
	at := one.Records[0].Time
	part, err := x.Book.Page(ctx, records.Query{
		Session: id, Since: at.Add(-longestSession), Until: at.Add(longestSession), Trace: true,
	}, records.Range{Before: number + aroundSession, Look: 2 * aroundSession})
	return part.Records, err
}

func newSessionRecord(rec records.Record) sessionRecord {
	s := sessionRecord{Record: rec}
	for _, o := range rec.Outcomes {
		if o.Reason != rec.Reason {
			s.Others = append(s.Others, o)
		}
	}
	for _, c := range rec.Checks {
		s.Took += c.Millis
		s.Asked += len(c.Asked)
	}
	return s
}
