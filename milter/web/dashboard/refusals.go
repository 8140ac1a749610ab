package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"milterd/milter/records"
)

const (
	// decisionsPerPage is the number of records on a page of the list.
	decisionsPerPage = 50
	// searchPerPage is the number of records that are searched for one page.
	searchPerPage = 20_000
	// searchForSession is the number of the latest records that are searched for the id of a session.
	searchForSession = 50_000
)

// choice is an option of a select element.
type choice struct{ Value, Title string }

// The options of the filter.
var (
	actionChoices = []choice{
		{Value: "", Title: "reject or tempfail"}, {Value: "reject", Title: "reject"}, {Value: "tempfail", Title: "tempfail"},
		{Value: "quarantine", Title: "quarantine"}, {Value: "greylist", Title: "greylist"}, {Value: "tag", Title: "tag"},
		{Value: "watch", Title: "watch"}, {Value: records.Accept, Title: records.Accept},
		{Value: "all", Title: "any"},
	}
	sinceChoices = []choice{
		{Value: "", Title: "any"}, {Value: "1h", Title: "last hour"}, {Value: "24h", Title: "last 24 hours"}, {Value: "7d", Title: "last 7 days"},
	}
	sinceDurations = map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour}
)

// filter is the content of the form above the list.
type filter struct {
	Sender, Rcpt, Client, Reason, Action, Since string
	Before                                      int64 // number of a record; 0: from the latest on
}

// newFilter returns the filter of a query. It ignores unknown values.
func newFilter(v url.Values) filter {
	f := filter{
		Sender: field(v, "sender"), Rcpt: field(v, "rcpt"), Client: field(v, "client"), Reason: field(v, "reason"),
		Action: field(v, "action"), Since: field(v, "since"),
	}
	if !slices.ContainsFunc(actionChoices, func(c choice) bool { return c.Value == f.Action }) {
		f.Action = ""
	}
	if _, ok := sinceDurations[f.Since]; !ok {
		f.Since = ""
	}
	if n, err := strconv.ParseInt(v.Get("before"), 10, 64); err == nil && n > 0 {
		f.Before = n
	}
	return f
}

// address returns the relative URL of the list with this filter.
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

// query returns the query for the records.
func (f filter) query(now time.Time) records.Query {
	q := records.Query{
		Sender: f.Sender, Rcpt: f.Rcpt, Client: f.Client, Reason: f.Reason, Action: cmp.Or(f.Action, records.Refused),
		Max: decisionsPerPage, Before: f.Before, Look: searchPerPage,
	}
	if f.Action == "all" {
		q.Action = ""
	}
	if d := sinceDurations[f.Since]; d > 0 {
		q.Since = now.Add(-d)
	}
	return q
}

// refusalsPage is the body of the list of decisions.
type refusalsPage struct {
	Off      bool // no records are kept
	Filter   filter
	Filtered bool
	Actions  []choice
	Times    []choice
	Reasons  []string
	Records  []records.Record
	Reached  time.Time // time of the oldest record that was searched; zero if older ones do not exist
	Older    string    // URL of the next page; empty if there is none
	Newest   string    // URL of the first page; empty if this is it
}

func (p *pages) refusals(w http.ResponseWriter, r *http.Request) {
	filter := newFilter(r.URL.Query())
	title := "Refusals"
	if !slices.Contains([]string{"", "reject", "tempfail"}, filter.Action) {
		title = "Decisions"
	}
	f := p.frame("refusals", title)
	page := refusalsPage{Off: p.Book == nil, Filter: filter, Actions: actionChoices, Times: sinceChoices, Reasons: p.Reasons}
	if page.Off {
		p.write(w, http.StatusOK, &f, page)
		return
	}
	var err error
	if ref := field(r.URL.Query(), "ref"); ref != "" {
		var address string
		if address, err = p.findSession(r, ref); address != "" {
			w.Header().Set("Location", address)
			w.WriteHeader(http.StatusSeeOther)
			return
		}
		if err == nil {
			f.Note = &note{Text: "No record has this link or session: it has expired, or it belongs to another site.", Bad: true}
		}
	}
	if err == nil {
		err = p.read(r, readTimeout, func(ctx context.Context) error { return p.list(ctx, &page) })
	}
	f.live = filter.Before == 0
	p.write(w, p.setError(&f, err), &f, page)
}

// list adds the records that match the filter to a page.
func (p *pages) list(ctx context.Context, page *refusalsPage) error {
	part, err := p.Book.Page(ctx, page.Filter.query(p.now()))
	page.Records = part.Records
	older, newest := page.Filter, page.Filter
	if part.Next > 0 {
		older.Before = part.Next
		page.Older, page.Reached = older.address(), part.Reached
	}
	newest.Before = 0
	if page.Filter.Before > 0 {
		page.Newest = newest.address()
	}
	page.Filtered = newest != filter{}
	return err
}

// findSession returns the URL of the page of a session. ref is what a sender may quote: the link of a reply, the reference in it,
// or the id of a session. The URL is empty if no record has it.
func (p *pages) findSession(r *http.Request, ref string) (address string, err error) {
	err = p.read(r, readTimeout, func(ctx context.Context) error {
		if id := records.IDIn(ref); id != "" {
			rec, found, err := p.Book.Get(ctx, id)
			if found {
				address = traceAddress(rec)
			}
			return err
		}
		part, err := p.Book.Page(ctx, records.Query{Session: ref, Max: 1, Look: searchForSession})
		if len(part.Records) > 0 {
			address = traceAddress(part.Records[0])
		}
		return err
	})
	return address, err
}

// traceAddress returns the relative URL of the page of a record's session.
func traceAddress(r records.Record) string {
	return "session?" + url.Values{"id": {r.Session}, "n": {strconv.FormatInt(r.Number, 10)}}.Encode()
}
