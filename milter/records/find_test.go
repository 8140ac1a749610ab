package records

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"milterd/checks"
	"milterd/checks/checktest"
)

func TestFind(t *testing.T) {
	t.Parallel()
	l := open(t, checktest.NewStore(nil), 100)
	add := func(hour int, action func(*checks.Session), client, helo, from, to string) {
		s := mail(client, helo, from, to)
		s.Time = noon.Add(time.Duration(hour) * time.Hour)
		s.ID = fmt.Sprint("s", hour)
		action(s)
		flush(t, l)
	}
	reject := func(s *checks.Session) { l.Decided(checks.NewRequest(s, checks.RcptTo), refused("")) }
	watch := func(s *checks.Session) {
		l.Decided(checks.NewRequest(s, checks.RcptTo), checks.Decision{Outcomes: []checks.Outcome{outcomeOf(mismatch, checks.Watch)}})
	}
	add(1, reject, "192.0.2.1", "mail.example.com", "Ann@Example.com", "bob@example.org")
	add(2, watch, "192.0.2.200", "h2", "x@sub.example.com", "carl@example.org")
	accept := func(s *checks.Session) { l.Accepted(checks.NewRequest(s, checks.EndOfHeader)) }
	add(3, accept, "2001:db8::1", "h3", "", "Bob@example.org")
	add(4, reject, "198.51.100.1", "mx.xn--bcher-kva.example", "ann@other.xn--bcher-kva.example", "bob@sub.example.org")
	for _, c := range []struct {
		name string
		q    Query
		want string // hours, the newest first
	}{
		{"everything", Query{}, "4 3 2 1"},
		{"some", Query{Max: 2}, "4 3"},
		{"sender in other case", Query{Sender: "ann@example.com"}, "1"},
		{"sender in brackets", Query{Sender: "<ann@example.com>"}, "1"},
		{"domain of the sender and its subdomains", Query{Sender: "example.com"}, "2 1"},
		{"domain with @", Query{Sender: "@other.xn--bcher-kva.example"}, "4"},
		{"domain with U-labels", Query{Sender: "bücher.example"}, "4"},
		{"null reverse-path", Query{Sender: "<>"}, "3"},
		{"recipient", Query{Rcpt: "bob@example.org"}, "3 1"},
		{"domain of the recipient", Query{Rcpt: "example.org"}, "4 3 2 1"},
		{"part of a label", Query{Rcpt: "ample.org"}, ""},
		{"client", Query{Client: "192.0.2.1"}, "1"},
		{"client IPv6", Query{Client: "2001:DB8:0::1"}, "3"},
		{"network", Query{Client: "192.0.2.0/24"}, "2 1"},
		{"client name", Query{Client: "example.com"}, "4 3 2 1"},
		{"HELO name", Query{Client: "h2"}, "2"},
		{"HELO name with U-labels", Query{Client: "Bücher.example"}, "4"},
		{"no domain", Query{Client: "\u00a0ü"}, ""},
		{"no domain of a sender", Query{Sender: "\u00a0ü"}, ""},
		{"reason", Query{Reason: "rdns-missing"}, "4 1"},
		{"watched reason", Query{Reason: "helo-mismatch"}, "4 2 1"},
		{"action", Query{Action: "accept"}, "3"},
		{"refused", Query{Action: Refused}, "4 1"},
		{"session", Query{Session: "s2"}, "2"},
		{"since", Query{Since: noon.Add(3 * time.Hour)}, "4 3"},
		{"until", Query{Until: noon.Add(2 * time.Hour)}, "2 1"},
		{"all fields match", Query{Sender: "ann@example.com", Rcpt: "bob@example.org", Client: "192.0.2.1", Reason: "rdns-missing"}, "1"},
		{"one field does not match", Query{Sender: "ann@example.com", Rcpt: "carl@example.org"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list, err := l.Find(context.Background(), c.q)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range list {
				got = append(got, strings.TrimPrefix(r.Session, "s"))
				if r.Checks != nil {
					t.Error("the record has checks without Query.Trace")
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	list, err := l.Find(context.Background(), Query{Trace: true, Max: 1})
	if err != nil || len(list) != 1 || len(list[0].Checks) != 1 {
		t.Errorf("with Query.Trace: %+v, %v", list, err)
	}
}

// TestFindOfMessage tests which records of a session are of a message.
func TestFindOfMessage(t *testing.T) {
	t.Parallel()
	l := open(t, checktest.NewStore(nil), 100)
	for i, c := range []struct{ session, queueID, from string }{
		{"s1", "", "ann@example.com"},
		{"s1", "Q1", "ann@example.com"},
		{"s1", "", "eve@example.com"},
		{"s2", "Q9", "ann@example.com"},
		{"s1", "", "ann@example.com"},
		{"s1", "Q2", "ann@example.com"},
		{"s1", "Q3", "ann@example.com"},
	} {
		s := mail("192.0.2.1", "h", c.from, fmt.Sprint(i))
		s.ID, s.Envelope.QueueID = c.session, c.queueID
		l.Decided(checks.NewRequest(s, checks.RcptTo), refused(""))
		flush(t, l)
	}
	for _, c := range []struct {
		name string
		q    Query
		want string
	}{
		{"queue id", Query{QueueID: "Q2"}, "5"},
		{"with the session", Query{QueueID: "Q2", Session: "s1"}, "5 4 2"},
		{"and the sender", Query{QueueID: "Q2", Session: "s1", Sender: "ann@example.com"}, "5 4"},
		{"no record of the message", Query{QueueID: "Q4", Session: "s1", Sender: "<>"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			list, err := l.Find(t.Context(), c.q)
			var got []string
			for _, r := range list {
				got = append(got, r.Rcpts...)
			}
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// TestFindSkipsLostRecords searches more records than a page, of which the store has lost six blocks and damaged one.
func TestFindSkipsLostRecords(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	l := open(t, store, 2000)
	const n = 700
	for range n {
		l.Accepted(checks.NewRequest(mail("192.0.2.1", "h", "a@example.com", "b@example.org"), checks.EndOfHeader))
		flush(t, l)
	}
	const lost = 6 * blockSize
	for block := range int64(lost / blockSize) {
		if err := store.Delete(t.Context(), keyOfPart((2+block)*blockSize+1)); err != nil {
			t.Fatal(err)
		}
	}
	value, _, err := store.Get(t.Context(), keyOfPart(9*blockSize+1))
	if err != nil {
		t.Fatal(err)
	}
	value = value[:len(value)/2]
	if err := store.Put(t.Context(), keyOfPart(9*blockSize+1), value, day); err != nil {
		t.Fatal(err)
	}
	list, err := l.Find(context.Background(), Query{})
	if err != nil || len(list) != n-lost-blockSize || list[0].Number != n || list[len(list)-1].Number != 1 {
		t.Errorf("%d records, %v", len(list), err)
	}
	for i := 1; i < len(list); i++ {
		if list[i].Number >= list[i-1].Number {
			t.Fatalf("%d after %d", list[i].Number, list[i-1].Number)
		}
	}
}

// TestFindSkipsImpossibleNumbers tests a damaged part with numbers below 1, which no record has.
func TestFindSkipsImpossibleNumbers(t *testing.T) {
	t.Parallel()
	store := checktest.NewStore(nil)
	l := open(t, store, 2000)
	l.Accepted(checks.NewRequest(mail("192.0.2.1", "h", "a@example.com", "b@example.org"), checks.EndOfHeader))
	flush(t, l)
	list, err := l.Find(t.Context(), Query{})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d records, %v", len(list), err)
	}
	text, err := encode(list[0])
	if err != nil {
		t.Fatal(err)
	}
	var part []byte
	for _, number := range []int64{0, -5, 1} {
		part = appendRecord(part, number, text)
	}
	if err := store.Put(t.Context(), keyOfPart(1), s2.Encode(nil, part), day); err != nil {
		t.Fatal(err)
	}
	if list, err = l.Find(t.Context(), Query{}); err != nil || len(list) != 1 || list[0].Number != 1 {
		t.Errorf("%d records, %v; want the one with the number 1", len(list), err)
	}
}

// TestPages shows that the pages together have what Find returns.
func TestPages(t *testing.T) {
	t.Parallel()
	l := open(t, checktest.NewStore(nil), 10)
	for i := range 14 {
		s := mail("192.0.2.1", "h", "a@example.com", "b@example.org")
		s.Time, s.ID = noon.Add(time.Duration(i)*time.Minute), fmt.Sprint(i%4)
		l.Accepted(checks.NewRequest(s, checks.EndOfHeader))
		flush(t, l)
	}
	for _, c := range []struct {
		name  string
		q     Query
		look  int
		pages string // numbers of the records and, after the colon, of the last one that was looked at
	}{
		{"all at once", Query{}, 0, "14 13 12 11 10 9 8 7 6 5:5"},
		{"four a page", Query{Max: 4}, 0, "14 13 12 11:11|10 9 8 7:7|6 5:5"},
		{"five a page", Query{Max: 5}, 0, "14 13 12 11 10:10|9 8 7 6 5:5"},
		{"four looked at", Query{Session: "0"}, 4, "13:11|9:7|5:5"},
		{"four looked at, one a page", Query{Session: "1", Max: 1}, 4, "14:14|10:10|6:6|:5"},
		{"no match", Query{Session: "9"}, 6, ":9|:5"},
		{"since", Query{Since: noon.Add(9 * time.Minute), Max: 3}, 0, "14 13 12:12|11 10:9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pages []string
			c.q.Look = c.look
			for {
				p, err := l.Page(t.Context(), c.q)
				if err != nil {
					t.Fatal(err)
				}
				var numbers []string
				for _, r := range p.Records {
					numbers = append(numbers, fmt.Sprint(r.Number))
				}
				reached := int(p.Reached.Sub(noon)/time.Minute) + 1
				pages = append(pages, fmt.Sprintf("%s:%d", strings.Join(numbers, " "), reached))
				if p.Next == 0 {
					break
				}
				c.q.Before = p.Next
			}
			if got := strings.Join(pages, "|"); got != c.pages {
				t.Errorf("got %s, want %s", got, c.pages)
			}
		})
	}
}

// TestFindAfterAClockJump shows that records with a wrong time do not hide older ones.
func TestFindAfterAClockJump(t *testing.T) {
	t.Parallel()
	for name, jump := range checktest.Jumps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, checktest.NewStore(nil), 2000)
			const before, wrong, after = 100, 60, 40
			for i := range before + wrong + after {
				s := mail("192.0.2.1", "h", "a@example.com", "b@example.org")
				s.Time = noon.Add(time.Duration(i) * time.Second)
				if s.ID = "right"; i >= before && i < before+wrong {
					s.Time, s.ID = s.Time.Add(jump), "wrong"
				}
				l.Accepted(checks.NewRequest(s, checks.EndOfHeader))
				flush(t, l)
			}
			for what, q := range map[string]Query{"everything": {}, "the last hour": {Since: noon.Add(-time.Hour)}} {
				q.Session = "right"
				if list, err := l.Find(t.Context(), q); err != nil || len(list) != before+after {
					t.Errorf("%s: %d records, %v", what, len(list), err)
				}
			}
			if list, err := l.Find(t.Context(), Query{Since: noon.Add(time.Hour), Session: "right"}); err != nil || len(list) != 0 {
				t.Errorf("since a time in the future: %d records, %v", len(list), err)
			}
		})
	}
}

// TestQuarantinedMessageIsFoundOnce tests that of a quarantined message, the record of its acceptance matches alone: those of its
// recipients may lack the queue id by which it is released.
func TestQuarantinedMessageIsFoundOnce(t *testing.T) {
	t.Parallel()
	match := Query{Action: "quarantine"}.matches
	if !match(Record{Action: Accept, Quarantined: []string{"spf-fail"}}) {
		t.Error("the accepted message does not match")
	}
	byReason := Query{Action: "quarantine", Reason: "spf-fail"}.matches
	if !byReason(Record{Action: Accept, Quarantined: []string{"msgid-lax", "spf-fail"}}) || byReason(Record{Action: Accept, Quarantined: []string{"msgid-lax"}}) {
		t.Error("a quarantined message is not found by its reasons")
	}
	if match(Record{Action: "quarantine"}) || match(Record{Action: Accept}) {
		t.Error("a decision about a recipient matches, or a message that was not quarantined")
	}
	if accepted := (Query{Action: Accept}.matches); accepted(Record{Action: Accept, Quarantined: []string{"spf-fail"}}) || !accepted(Record{Action: Accept}) {
		t.Error("a quarantined message is found as accepted, or an accepted one is not")
	}
}
