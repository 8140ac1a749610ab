package dashboard

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"milterd/checks"
	"milterd/milter/records"
)

const (
	// recordsAround is the number of records before and after the given one that are searched for others of its session.
	recordsAround = 10_000
	// longestSession is how far apart in time the records of one session may be.
	longestSession = 2 * time.Hour
)

// sessionPage is the body of the page of one session.
type sessionPage struct {
	Off     bool // no records are kept
	ID      string
	Records []sessionRecord // in order
	Place   string          // query of the address of the page
	Now     *stateView      // nil if it could not be read
}

// sessionRecord is one decision of a session.
type sessionRecord struct {
	records.Record
	Others []records.Outcome // without the one that decided
	Remedy string            // what the sender of refused mail can do
	Link   string            // to the sender's page
	Took   float64           // milliseconds of all checks
	Asked  int               // number of DNS questions
}

// showSession serves the page of a session. Its query has the id of the session and the number n of one of its records.
func (p *pages) showSession(w http.ResponseWriter, r *http.Request, n *note, code int) {
	page := sessionPage{Off: p.Book == nil, ID: field(r.URL.Query(), "id"), Place: placeOf(r.URL.Query()).Encode()}
	f := p.frame("session", "Session "+checks.Clean(page.ID, 40))
	f.Note = n
	if page.Off {
		p.write(w, http.StatusOK, &f, page)
		return
	}
	number, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	if page.ID == "" || err != nil || number < 1 {
		f.Error = "The address of this page is incomplete. Open the session from the list of refusals."
		p.write(w, http.StatusNotFound, &f, page)
		return
	}
	err = p.read(r, readTimeout, func(ctx context.Context) (err error) {
		page.Records, err = p.sessionRecords(ctx, page.ID, number)
		if err != nil || len(page.Records) == 0 {
			return err
		}
		shown := page.Records[0].Record
		for _, r := range page.Records {
			if r.Number == number {
				shown = r.Record
			}
		}
		st, err := p.Operator.State(ctx, shown)
		page.Now = newStateView(st, shown)
		page.Now.Entry, page.Now.Until, page.Now.Why = field(r.PostForm, "entry"), field(r.PostForm, "until"), field(r.PostForm, "why")
		return err
	})
	code = max(code, p.setError(&f, err))
	if len(page.Records) == 0 && err == nil {
		code = http.StatusNotFound
		f.Error = "No record has this session: it has expired."
	}
	p.write(w, code, &f, page)
}

// sessionRecords returns the records of a session, in order. number is the number of one of them.
func (p *pages) sessionRecords(ctx context.Context, id string, number int64) (list []sessionRecord, err error) {
	one, err := p.Book.Page(ctx, records.Query{Session: id, Max: 1, Before: number + 1, Look: 1})
	if err != nil || len(one.Records) == 0 {
		return nil, err
	}
	at := one.Records[0].Time
	all, err := p.Book.Page(ctx, records.Query{
		Session: id, Since: at.Add(-longestSession), Until: at.Add(longestSession), Before: number + recordsAround, Look: 2 * recordsAround, Trace: true,
	})
	for _, r := range slices.Backward(all.Records) {
		list = append(list, p.newSessionRecord(r))
	}
	return list, err
}

func (p *pages) newSessionRecord(r records.Record) sessionRecord {
	s := sessionRecord{Record: r}
	s.Remedy, s.Link = p.Answer(r)
	for _, o := range r.Outcomes {
		if o.Reason != r.Reason {
			s.Others = append(s.Others, o)
		}
	}
	for _, c := range r.Checks {
		s.Took += c.Millis
		s.Asked += len(c.Asked)
	}
	return s
}
