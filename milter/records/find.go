package records

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Refused is the action of a Query that matches deferred and rejected mail.
const Refused = "refused"

// Query selects records. An empty field matches every record.
type Query struct {
	Sender  string // a mailbox, a domain with its subdomains, or <> for the null reverse-path
	Rcpt    string // a mailbox, or a domain with its subdomains
	Client  string // an address, a network, or the domain of the client's name or HELO name
	Reason  string // id of a reason that applied
	Action  string // as Record.Action, or Refused; quarantine matches accepted messages, each once for all recipients
	Session string
	// QueueID is that of a message. With Session, records of the session without a queue id match too, as mail servers name it
	// late. After the first match, a record with another queue id ends the search: it is of an earlier message.
	QueueID string
	User    string // a user whom a reason names, as those of limits do
	ID      string
	Since   time.Time
	Until   time.Time
	Max     int   // number of records, the newest first; 0: all
	Before  int64 // only records with smaller numbers; 0: all
	Look    int   // how many records are looked at, even if few match; 0: no limit
	Trace   bool  // whether the records have their checks
}

const (
	// pageSize is the number of records that are read together.
	pageSize = 8 * blockSize
	// maxSkipped is how many records in a row may be missing, or older than Query.Since, before a search ends. The first
	// such record does not end it: the store may have lost one, or a clock may have been wrong. With half of it, fewer
	// bad records in a row hide the older ones; with twice as much, a search reads twice as far beyond Query.Since.
	maxSkipped = pageSize
	// maxDelay is how long a record may wait to be written. So a record may have an earlier time than one with a smaller number.
	maxDelay = time.Minute
)

// Find returns the records of Page.
func (l *Log) Find(ctx context.Context, q Query) ([]Record, error) {
	p, err := l.Page(ctx, q)
	return p.Records, err
}

// Page is the result of Log.Page.
type Page struct {
	Records []Record
	Next    int64     // Query.Before of the next page; 0: this is the last page
	Reached time.Time // time of the last record that was looked at; zero if there was none
}

// Page returns the records that match a query, the newest first. A record that cannot be read is left out. With an error it
// returns what was found before.
func (l *Log) Page(ctx context.Context, q Query) (Page, error) {
	if at, ok := timeOf(q.ID); ok && q.Since.IsZero() {
		q.Since = at // to the second
	}
	s := search{Query: q, page: Page{Records: []Record{}}} // not null in JSON
	_ = l.queue.Flush(ctx, flushTimeout)
	last, err := l.last(ctx)
	if err != nil {
		return s.page, err
	}
	s.oldest = max(last-int64(l.opts.Max), 0) + 1
	newest, oldest := last, s.oldest
	if q.Before > 0 {
		newest = min(last, q.Before-1)
	}
	if q.Look > 0 {
		oldest = max(oldest, newest-int64(q.Look)+1)
	}
	for ; newest >= oldest; newest -= pageSize {
		list, err := l.read(ctx, newest, max(oldest, newest-pageSize+1), last)
		if err != nil {
			s.page.Next = newest + 1
			return s.page, err
		}
		for i, r := range list {
			if s.add(newest-int64(i), r) {
				return s.page, nil
			}
		}
	}
	if oldest > s.oldest {
		s.page.Next = oldest
	}
	return s.page, nil
}

// search is a running call of Page.
type search struct {
	Query
	oldest  int64 // number of the oldest record that is kept
	skipped int   // records in a row, see maxSkipped
	page    Page
}

// add looks at the record with a number, which is nil if it is missing. It reports whether the search is over.
func (s *search) add(number int64, r *stored) bool {
	if r == nil || r.Time.Before(s.Since.Add(-maxDelay)) {
		s.skipped++
		return s.skipped >= maxSkipped
	}
	s.skipped = 0
	s.page.Reached = r.Time
	if len(s.page.Records) > 0 && s.isOtherMessage(r.Record) {
		return true
	}
	if !s.matches(r.Record) || s.Trace && r.decodeChecks() != nil {
		return false
	}
	s.page.Records = append(s.page.Records, r.Record)
	if s.Max == 0 || len(s.page.Records) < s.Max {
		return false
	}
	if number > s.oldest {
		s.page.Next = number
	}
	return true
}

// matches reports whether a record matches the query.
func (q Query) matches(r Record) bool {
	return !r.Time.Before(q.Since) && (q.Until.IsZero() || !r.Time.After(q.Until)) &&
		(q.Action == "" || r.hasAction(q.Action)) &&
		(q.Session == "" || r.Session == q.Session) &&
		(q.QueueID == "" || r.QueueID == q.QueueID || q.Session != "" && r.QueueID == "") &&
		(q.User == "" || r.hasUser(q.User)) &&
		(q.ID == "" || r.ID == q.ID) &&
		(q.Reason == "" || r.hasReason(q.Reason)) &&
		(q.Sender == "" || isMailbox(r.MailFrom, q.Sender)) &&
		(q.Rcpt == "" || slices.ContainsFunc(r.Rcpts, func(rcpt string) bool { return isMailbox(rcpt, q.Rcpt) })) &&
		(q.Client == "" || r.isFrom(q.Client))
}

// isOtherMessage reports whether a record is of another message of the same session, see Query.QueueID.
func (q Query) isOtherMessage(r Record) bool {
	return q.QueueID != "" && q.Session != "" && r.Session == q.Session && r.QueueID != "" && r.QueueID != q.QueueID
}

// hasAction reports whether an action was taken. For quarantine, the record of the accepted message matches, and none of its
// recipients.
func (r Record) hasAction(action string) bool {
	switch action {
	case Refused:
		return r.Reply != ""
	case quarantine:
		return len(r.Quarantined) > 0
	default:
		return r.Fate() == action
	}
}

// hasReason reports whether a reason applied. The record of an accepted message has only those for which it was quarantined.
func (r Record) hasReason(reason string) bool {
	return r.Reason == reason || slices.Contains(r.Quarantined, reason) ||
		slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Reason == reason })
}

// hasUser reports whether a reason that applied names a user.
func (r Record) hasUser(user string) bool {
	return slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Detail["user"] == user })
}

// isMailbox reports whether an address is the wanted one, see Query.Sender and Query.Rcpt.
func isMailbox(text, want string) bool {
	has, a := checks.ParseAddress(text), checks.ParseAddress(want)
	switch {
	case a.IsNull():
		return has.IsNull()
	case strings.EqualFold(has.Text, a.Text):
		return true
	case a.Local != "" && a.Domain != "":
		return strings.EqualFold(has.Local, a.Local) && has.Domain == a.Domain
	default:
		domain := strings.TrimPrefix(want, "@")
		return checks.Under(has.Domain, cmp.Or(checks.ToALabels(domain), domain))
	}
}

// isFrom reports whether the client is the wanted one, see Query.Client.
func (r Record) isFrom(want string) bool {
	if a, err := netip.ParseAddr(want); err == nil {
		return r.Client == a.Unmap()
	}
	if p, err := netip.ParsePrefix(want); err == nil {
		return p.Contains(r.Client)
	}
	domain := cmp.Or(checks.ToALabels(want), want)
	return checks.Under(r.ClientName, domain) || checks.Under(r.Helo, domain) || checks.Under(r.Helo, want)
}
