package mailbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"milterd/milter/records"
)

// Decided is what milterd's own log tells of an attempt to deliver a message to a recipient: the lines of syslog, of text or of
// JSON that it writes, and the records that `milterd log --json` prints. There is no header section in it.
type Decided struct {
	Session, QueueID string
	Time             time.Time // zero: not told
	Client           netip.Addr
	ClientName, Helo string
	From, To         string
	HasTo            bool // false: refused before there was a recipient
	Trusted          bool // the client was not checked
}

// ErrNoDecisions is that of a log in which milterd has written nothing of the kind.
var ErrNoDecisions = errors.New("a log without decisions of milterd")

// errBroken is that of a line of milterd that is cut off or damaged.
var errBroken = errors.New("a broken line of milterd's log")

// event is a line or a record of the log.
type event struct {
	Decided
	to       []string // recipients; none: there was none yet
	facts    []string // of what was decided, each of which an attempt has once
	accepted bool
	refused  bool
}

// isLog tells whether a file that begins like this is a log, and whether it is one of records.
func isLog(start []byte) (log, ofRecords bool) {
	line, _, _ := bytes.Cut(start, []byte("\n"))
	switch trimmed := bytes.TrimLeft(start, " \t\r\n"); {
	case bytes.HasPrefix(trimmed, []byte("[")):
		return true, true
	case bytes.HasPrefix(line, []byte("-- ")): // journalctl begins so
		return true, false
	}
	_, _, ok := prefix(string(line), time.Time{})
	return ok || isOurs(string(line)), false
}

// isOurs tells whether a text begins like one that milterd's logger has written.
func isOurs(text string) bool {
	for _, begin := range [...]string{`time="`, "level=", `{"`} {
		if strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}

// prefix takes the time and the host that syslog puts before a line apart from the program and its text. The old form of the time
// (RFC 3164) has no year: it is before the file was written. What only looks like a line of milterd in the text of another
// program is none, because strangers write much of that.
func prefix(line string, written time.Time) (at time.Time, rest string, ok bool) {
	const old = "Jan _2 15:04:05"
	if first, after, _ := strings.Cut(line, " "); first != "" {
		if strings.HasPrefix(first, "<") && strings.HasSuffix(first, ">1") { // RFC 5424
			first, after, _ = strings.Cut(after, " ")
		}
		if t, err := time.Parse(time.RFC3339, first); err == nil {
			_, rest, ok = strings.Cut(after, " ")
			return t, rest, ok
		}
	}
	if len(line) <= len(old) {
		return at, "", false
	}
	t, err := time.ParseInLocation(old, line[:len(old)], time.Local)
	if err != nil {
		return at, "", false
	}
	at = time.Date(written.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.Local)
	const slow = 24 * time.Hour // what clocks and zones may differ by
	if at.After(written.Add(slow)) {
		at = at.AddDate(-1, 0, 0)
	}
	_, rest, ok = strings.Cut(strings.TrimPrefix(line[len(old):], " "), " ") // the host
	return at, rest, ok
}

// program is the name under which milterd writes to syslog.
const program = "milterd"

// payload is what milterd has written, without what syslog puts before it. It is false for a line of another program.
func payload(line string, written time.Time) (at time.Time, text string, ok bool) {
	if isOurs(line) {
		return at, line, true
	}
	at, rest, ok := prefix(line, written)
	after, named := strings.CutPrefix(rest, program)
	if !ok || !named {
		return at, "", false
	}
	tag, text, ok := strings.Cut(after, " ")
	if ok && tag == "" { // RFC 5424: PROCID MSGID SD, none of which has a space
		for range 3 {
			_, text, ok = strings.Cut(text, " ")
		}
		return at, text, ok && isOurs(text)
	}
	pid := strings.TrimSuffix(tag, ":")
	ok = ok && strings.HasSuffix(tag, ":") && (pid == "" || strings.HasPrefix(pid, "[") && strings.HasSuffix(pid, "]"))
	return at, text, ok && isOurs(text)
}

// decision reads a line. It is false if the line is not about a decision.
func decision(line string, written time.Time) (e event, ok bool, err error) {
	at, text, ok := payload(strings.TrimRight(line, "\r\n"), written)
	if !ok {
		return e, false, nil
	}
	fields := map[string]string{}
	if strings.HasPrefix(text, "{") {
		err = jsonFields(text, fields)
	} else {
		err = textFields(text, fields)
	}
	action := fields["msg"]
	switch action {
	case "accept", "watch", "greylist", "tempfail", "reject":
	default:
		// What else is logged is not missed. A line that begins like a decision and breaks off is.
		return e, false, nil
	}
	if err == nil && (fields["session"] == "" || action != "accept" && fields["reason"] == "") {
		err = errBroken
	}
	if err != nil {
		return e, false, errBroken
	}
	e.Session, e.QueueID, e.ClientName, e.Helo, e.From = fields["session"], fields["queue_id"], fields["client_name"], fields["helo"], fields["mail_from"]
	e.Time = at
	if t, err := time.Parse(time.RFC3339, fields["time"]); err == nil {
		e.Time = t
	}
	if e.Client, err = client(fields["client"]); err != nil {
		return e, false, errBroken
	}
	e.accepted, e.refused = action == "accept", action == "tempfail" || action == "reject"
	e.Trusted = fields["trusted"] == "true"
	if e.accepted {
		e.to = split(fields["rcpt"])
	} else {
		e.facts = []string{fields["stage"] + " " + fields["reason"]}
		if to := fields["rcpt"]; to != "" {
			e.to = []string{to}
		}
	}
	return e, true, nil
}

// client reads an address; none stands for a program on the host itself.
func client(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(text)
}

// textFields reads the form of logrus: key=value, the value quoted as in Go where it needs that.
func textFields(text string, into map[string]string) error {
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		key, rest, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(key, " \"") {
			return errBroken
		}
		value := rest
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return errBroken
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return errBroken
			}
			text = rest[len(quoted):]
		} else {
			value, text, _ = strings.Cut(rest, " ")
		}
		into[key] = value
	}
	return nil
}

// jsonFields reads the members of an object that are no objects themselves.
func jsonFields(text string, into map[string]string) error {
	var members map[string]any
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return errBroken
	}
	for key, v := range members {
		switch v := v.(type) {
		case string:
			into[key] = v
		case bool:
			into[key] = strconv.FormatBool(v)
		}
	}
	return nil
}

// split splits a list of addresses at its commas, but not at those of a quoted local part.
func split(list string) []string {
	var out []string
	quoted, begin := false, 0
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ',' && !quoted:
			if i > begin {
				out = append(out, list[begin:i])
			}
			begin = i + 1
		case list[i] == '\\' && quoted:
			i++
		case list[i] == '"':
			quoted = !quoted
		}
	}
	return out
}

// ofRecord is what a record of `milterd log --json` tells.
func ofRecord(r records.Record) event {
	e := event{Decided: Decided{
		Session: r.Session, QueueID: r.QueueID, Time: r.Time, Client: r.Client, ClientName: r.ClientName, Helo: r.Helo, From: r.MailFrom,
	}, to: r.Rcpts}
	e.accepted, e.refused = r.Action == records.Accept, r.Reply != ""
	for _, o := range r.Outcomes {
		e.facts = append(e.facts, o.Stage+" "+o.Reason)
	}
	return e
}

// attempt is an attempt that may have more events.
type attempt struct {
	Decided
	number            int
	facts             map[string]bool
	accepted, refused bool
	key               string
}

// attempts put events together: what was watched, what decided, and that the message was accepted in the end stand in lines of
// their own. An attempt ends when many others have begun.
type attempts struct {
	open  map[string]*attempt // by session, sender and recipient
	queue []*attempt          // in the order in which they began
	emit  func(*attempt) bool // false: no more
}

// maxOpen is how many attempts are kept for more of their events, and maxText how much of a value from outside: more than
// RFC 5321 section 4.5.3.1 allows.
const (
	maxOpen = 2048
	maxText = 1024
)

// add takes an event. It is false if no more are wanted.
func (a *attempts) add(e event, number int) bool {
	to := e.to
	if len(to) == 0 {
		if !e.refused {
			return true // there is more to come, or the client gave up
		}
		to = []string{""}
	}
	for _, rcpt := range to {
		d := e.Decided
		d.To, d.HasTo = rcpt, rcpt != ""
		if !a.one(d, e, number) {
			return false
		}
	}
	return true
}

func (a *attempts) one(d Decided, e event, number int) bool {
	for _, text := range []*string{&d.Session, &d.QueueID, &d.ClientName, &d.Helo, &d.From, &d.To} {
		*text = strings.Clone((*text)[:min(len(*text), maxText)])
	}
	key := d.Session + "\x00" + d.From + "\x00" + d.To
	at := a.open[key]
	if at == nil || !at.takes(d, e) {
		at = &attempt{Decided: d, number: number, facts: map[string]bool{}, key: key}
		a.open[key] = at
		a.queue = append(a.queue, at)
	}
	for _, f := range e.facts {
		at.facts[strings.Clone(f)] = true
	}
	at.accepted, at.refused = at.accepted || e.accepted, at.refused || e.refused
	if at.QueueID == "" {
		at.QueueID = d.QueueID
	}
	at.Trusted = at.Trusted || d.Trusted
	if d.Time.Before(at.Time) && !d.Time.IsZero() {
		at.Time = d.Time
	}
	return len(a.queue) < maxOpen || a.end()
}

// takes tells whether an event is about this attempt, not about the next one of the same kind in the session.
func (at *attempt) takes(d Decided, e event) bool {
	if d.QueueID != "" && at.QueueID != "" && d.QueueID != at.QueueID || at.accepted && (e.accepted || e.refused) || at.refused && e.accepted {
		return false
	}
	for _, f := range e.facts {
		if at.facts[f] {
			return false
		}
	}
	return true
}

// end ends the attempt that began first.
func (a *attempts) end() bool {
	at := a.queue[0]
	a.queue[0] = nil
	a.queue = a.queue[1:]
	if a.open[at.key] == at {
		delete(a.open, at.key)
	}
	return a.emit(at)
}

// log reads a log. events adds what is in it, and is false if no more is wanted.
func (r *reader) log(unit string, yield func(Message) bool, events func(a *attempts, tell func(Message) bool) bool) {
	began, some := r.at, false
	tell := func(m Message) bool {
		m.File, m.Unit, some = r.file.Path, unit, true
		m.Size, began = r.at-began, r.at
		return yield(m)
	}
	a := &attempts{open: map[string]*attempt{}, emit: func(at *attempt) bool { return tell(Message{Number: at.number, Decided: &at.Decided}) }}
	if !events(a, tell) {
		return
	}
	for len(a.queue) > 0 {
		if !a.end() {
			return
		}
	}
	if !some {
		tell(Message{Err: ErrNoDecisions})
	}
}

// lines adds the lines of a log.
func (r *reader) lines(a *attempts, tell func(Message) bool) bool {
	for n := 0; ; {
		line, begins, err := r.piece()
		if begins {
			n++
		}
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return r.ctx.Err() == nil && tell(Message{Number: n, Err: cause(err)})
		case !begins:
			continue // the end of a line that is longer than any of milterd's
		}
		e, ok, err := decision(string(line), r.written)
		if err != nil && !tell(Message{Number: n, Err: err}) || ok && !a.add(e, n) {
			return false
		}
	}
}

// maxRecord is the longest record that is read, in octets.
const maxRecord = 1 << 20

// records adds the records of a list, or of several.
func (r *reader) records(a *attempts, tell func(Message) bool) bool {
	begin := r.at
	bounded := &io.LimitedReader{R: r.buf}
	dec := json.NewDecoder(bounded)
	n := 0
	// next reads something of the list. What is wrong ends it: nobody knows where the next record begins.
	next := func(read func() error) bool {
		bounded.N = maxRecord
		err := cmp.Or(r.ctx.Err(), read())
		r.at = begin + dec.InputOffset()
		if err == nil {
			return true
		}
		r.at = max(r.at, r.file.Size) // the rest counts to what is told last
		if bounded.N == 0 {
			err = fmt.Errorf("over %d KiB", maxRecord>>10)
		}
		if err != io.EOF {
			tell(Message{Number: n, Err: fmt.Errorf("a list of records that is broken here: %w", err)})
		}
		return false
	}
	token := func() error { _, err := dec.Token(); return err }
	for next(token) {
		for dec.More() {
			n++
			var rec records.Record
			if !next(func() error { return dec.Decode(&rec) }) {
				return r.ctx.Err() == nil
			}
			if rec.Session != "" && !a.add(ofRecord(rec), n) {
				return false
			}
		}
		if !next(token) {
			break
		}
	}
	return r.ctx.Err() == nil
}
