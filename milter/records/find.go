package records

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"milterd/checks"
)

// Refused is the action of Query that takes what was deferred and what was rejected.
const Refused = "refused"

// Query says which records to find. Empty fields take everything.
type Query struct {
	Sender  string // a mailbox, a domain with what is below it, or <> for the null reverse-path
	Rcpt    string // a mailbox, or a domain with what is below it
	Client  string // an address, a network, or the domain of its name or HELO name
	Reason  string // id, of any reason that applied
	Action  string // accept, watch, greylist, tempfail or reject, or Refused
	Session string
	ID      string // of the one record
	Since   time.Time
	Until   time.Time
	Max     int  // how many, the last ones first; 0: all
	Trace   bool // with their checks
}

const (
	// page is how many records are read at a time before it is looked what fits.
	page = 8 * blockSize
	// gap is how many records may be missing in a row, because a store lost them, before nothing older is looked for.
	gap = 8 * page
	// late is how long a record may have waited to be written: the order is that of writing.
	late = time.Minute
)

// Find returns the records that a query takes, the last one first. A record that cannot be read is left out.
func (b *Book) Find(ctx context.Context, q Query) ([]Record, error) {
	if at, ok := timeOf(q.ID); ok && q.Since.IsZero() {
		q.Since = at // to the second
	}
	p, err := b.Page(ctx, q, Range{})
	return p.Records, err
}

// Range bounds what is read for a part of the answer.
type Range struct {
	Before int64 // only records with smaller numbers; 0: all
	Look   int   // how many records are looked at, at most, whatever of them fits; 0: all
}

// Page is a part of what Find returns.
type Page struct {
	Records []Record
	Next    int64     // Before of the part that follows; 0: there is none
	Reached time.Time // of the last record that was looked at; zero: none was
}

// Page is Find within a range, so that a question that hardly any record fits costs no more than another. With an error it
// returns what was found before.
func (b *Book) Page(ctx context.Context, q Query, in Range) (Page, error) {
	p := Page{Records: []Record{}} // [] in JSON
	b.flush(ctx)
	last, err := b.last(ctx)
	if err != nil {
		return p, err
	}
	fits := q.filter()
	oldest, missing := max(last-int64(b.opts.Max), 0), 0
	first := last
	if in.Before > 0 {
		first = min(last, in.Before-1)
	}
	bottom := oldest
	if in.Look > 0 {
		bottom = max(oldest, first-int64(in.Look))
	}
	newer := first // below it nothing is known yet to be new enough
	for end := first; end > bottom && missing < gap; end -= page {
		found, err := b.page(ctx, end, max(end-page, bottom))
		if err != nil {
			p.Next = end + 1
			return p, err
		}
		for i, f := range found {
			if !f.ok {
				missing++
				continue
			}
			missing = 0
			if since := q.Since.Add(-late); f.Time.Before(since) {
				if number := end - int64(i); number <= newer {
					if newer, err = b.newerBelow(ctx, number, oldest, since); newer == 0 || err != nil {
						return p, err
					}
				}
				continue
			}
			p.Reached = f.Time
			if !fits(f.Record) {
				continue
			}
			if q.Trace && f.complete() != nil {
				continue
			}
			if p.Records = append(p.Records, f.Record); q.Max > 0 && len(p.Records) >= q.Max {
				if number := end - int64(i); number > oldest+1 {
					p.Next = number
				}
				return p, nil
			}
		}
	}
	if bottom > oldest && missing < gap {
		p.Next = bottom + 1
	}
	return p, nil
}

// newerBelow looks for a record that is new enough although one after it is not: the clock was behind for a while. It looks at few,
// further and further away, as there hardly ever is one. It returns its number, or 0.
func (b *Book) newerBelow(ctx context.Context, number, oldest int64, since time.Time) (int64, error) {
	for step := int64(1); number-step > oldest; step *= 2 {
		list, err := b.page(ctx, number-step, number-step-1)
		if err != nil {
			return 0, err
		}
		if f := list[0]; f.ok && !f.Time.Before(since) {
			return number - step, nil
		}
	}
	return 0, nil
}

func (b *Book) last(ctx context.Context) (int64, error) {
	value, ok, err := b.store.Get(ctx, lastKey)
	if err != nil || !ok {
		return 0, err
	}
	return strconv.ParseInt(string(value), 10, 64)
}

// page reads the records from number end down to the one after begin, many blocks at a time.
func (b *Book) page(ctx context.Context, end, begin int64) ([]found, error) {
	list := make([]found, end-begin)
	var reading sync.WaitGroup
	first := blockOf(begin + 1)
	errs := make([]error, blockOf(end)-first+1)
	for i := range errs {
		reading.Go(func() {
			errs[i] = b.read(ctx, first+int64(i), func(f found) {
				if f.Number > begin && f.Number <= end && blockOf(f.Number) == first+int64(i) {
					list[end-f.Number] = f
				}
			})
		})
	}
	reading.Wait()
	return list, errors.Join(errs...)
}

// filter makes the test whether a record is one of those looked for.
func (q Query) filter() func(Record) bool {
	sender, rcpt, client := mailbox(q.Sender), mailbox(q.Rcpt), host(q.Client)
	return func(r Record) bool {
		return !r.Time.Before(q.Since) && (q.Until.IsZero() || !r.Time.After(q.Until)) &&
			(q.Action == "" || r.Action == q.Action || q.Action == Refused && r.Reply != "") && (q.Session == "" || r.Session == q.Session) &&
			(q.ID == "" || r.ID == q.ID) &&
			(q.Reason == "" || r.Reason == q.Reason || slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Reason == q.Reason })) &&
			(sender == nil || sender(r.MailFrom)) && (rcpt == nil || slices.ContainsFunc(r.Rcpts, rcpt)) &&
			(client == nil || client(r))
	}
}

// mailbox makes the test for an address; nil takes every one.
func mailbox(what string) func(string) bool {
	if what == "" {
		return nil
	}
	a := checks.ParseAddress(what)
	domain := strings.TrimPrefix(what, "@")
	return func(text string) bool {
		has := checks.ParseAddress(text)
		switch {
		case a.IsNull():
			return has.IsNull()
		case strings.EqualFold(has.Text, a.Text):
			return true
		case a.Local != "" && a.Domain != "":
			return strings.EqualFold(has.Local, a.Local) && has.Domain == a.Domain
		default:
			return checks.Under(has.Domain, domain)
		}
	}
}

// host makes the test for a client; nil takes every one.
func host(what string) func(Record) bool {
	if what == "" {
		return nil
	}
	if a, err := netip.ParseAddr(what); err == nil {
		return func(r Record) bool { return r.Client == a.Unmap() }
	}
	if p, err := netip.ParsePrefix(what); err == nil {
		return func(r Record) bool { return p.Contains(r.Client) }
	}
	return func(r Record) bool { return checks.Under(r.ClientName, what) || checks.Under(r.Helo, what) }
}
