package mailbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"time"

	"milterd/milter/records"
)

// Attempt is one attempt to deliver a message to one recipient, read from the records of milterd, which have no header
// sections.
type Attempt struct {
	Session, QueueID string
	Time             time.Time  // zero if the record has none
	Client           netip.Addr // zero if it is unknown
	ClientName, Helo string
	From             string // empty for the null reverse-path
	To               string // empty if the attempt was refused before RCPT
}

// errNoRecords reports a JSON array without records of milterd.
var errNoRecords = errors.New("JSON without records of milterd")

// maxRecord is the longest record that is read, in bytes. milterd writes at most 60 KiB.
const maxRecord = 1 << 20

// readRecords reads the output of "milterd log --json". One attempt may have several records: one for each
// decision with a watched reason, and one for the acceptance or the refusal.
func (r *reader) readRecords(yield func(Message) bool) {
	found := false
	emit := func(m Message) bool {
		m.File, found = r.file.Path, true
		return yield(m)
	}
	var open pending
	number := 0
	for record, err := range r.decode() {
		number++
		if err != nil {
			if !emit(Message{Err: fmt.Errorf("record %d: %w", number, err)}) {
				return
			}
			break
		}
		for _, a := range attemptsOf(record, number) {
			if oldest := open.add(a); oldest != nil && !emit(oldest.message()) {
				return
			}
		}
	}
	if r.ctx.Err() != nil {
		return
	}
	for _, a := range open {
		if !emit(a.message()) {
			return
		}
	}
	if !found {
		emit(Message{Err: errNoRecords})
	}
}

// decode yields the records of one or more JSON arrays. An error ends it, because the start of the next record is not
// known then.
func (r *reader) decode() iter.Seq2[records.Record, error] {
	return func(yield func(records.Record, error) bool) {
		limited := &io.LimitedReader{R: r.buf}
		dec := json.NewDecoder(limited)
		for inArray := false; ; {
			limited.N = maxRecord
			var record records.Record
			var err error
			isRecord := inArray && dec.More()
			if isRecord {
				err = dec.Decode(&record)
			} else {
				_, err = dec.Token() // a bracket
				inArray = !inArray
			}
			if err != nil && limited.N == 0 {
				err = fmt.Errorf("over %d KiB", maxRecord>>10)
			}
			if r.ctx.Err() != nil || errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(records.Record{}, err)
				return
			}
			if isRecord && !yield(record, nil) {
				return
			}
		}
	}
}

// attempt is an Attempt that may get more records.
type attempt struct {
	Attempt
	number int  // of the first record that was read
	final  bool // the record of its acceptance or refusal was read
}

func (a *attempt) message() Message { return Message{Number: a.number, Attempt: &a.Attempt} }

// attemptsOf returns one attempt for each recipient. It returns none for a record of another program, and for
// a watched reason before RCPT.
func attemptsOf(r records.Record, number int) []*attempt {
	if r.Session == "" {
		return nil
	}
	to, refused := r.Rcpts, r.Reply != ""
	if len(to) == 0 && refused {
		to = []string{""}
	}
	var list []*attempt
	for _, rcpt := range to {
		list = append(list, &attempt{
			Attempt: Attempt{
				Session: r.Session, QueueID: r.QueueID, Time: r.Time, Client: r.Client, ClientName: r.ClientName, Helo: r.Helo,
				From: r.MailFrom, To: rcpt,
			},
			number: number, final: refused || r.Action == records.Accept,
		})
	}
	return list
}

// pending is the attempts in the order of their first record.
type pending []*attempt

// maxPending is how many attempts wait for more records. An attempt counts as two if as many others begin between its
// records. With half of it, that happens with half as many parallel sessions; with twice as many, reading takes twice as
// long, because each record is compared with all pending attempts.
const maxPending = 2048

// add merges an attempt with the last pending one of the same session, sender and recipient, or appends it.
// It returns the oldest attempt if there are too many.
func (p *pending) add(a *attempt) (oldest *attempt) {
	for i := len(*p) - 1; i >= 0; i-- {
		if b := (*p)[i]; b.Session == a.Session && b.From == a.From && b.To == a.To {
			if b.merge(a) {
				return nil
			}
			break
		}
	}
	*p = append(*p, a)
	if len(*p) <= maxPending {
		return nil
	}
	oldest = (*p)[0]
	(*p)[0] = nil
	*p = (*p)[1:]
	return oldest
}

// merge adds another record of the same attempt. It returns false if b belongs to the next attempt.
func (a *attempt) merge(b *attempt) bool {
	if a.final && b.final || a.QueueID != "" && b.QueueID != "" && a.QueueID != b.QueueID {
		return false
	}
	a.final = a.final || b.final
	a.QueueID = cmp.Or(a.QueueID, b.QueueID)
	if b.Time.Before(a.Time) && !b.Time.IsZero() {
		a.Time = b.Time
	}
	return true
}
