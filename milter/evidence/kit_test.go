package evidence

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/headers"
	"milterd/milter"
)

var _ milter.Journal = (*Collector)(nil)

// The reasons of the tests.
var (
	judged     = &checks.Reason{ID: "helo-judged", Safe: checks.Watch, Strict: checks.Reject}
	fault      = &checks.Reason{ID: "rdns-fault", Safe: checks.Greylist, Strict: checks.Reject}
	listed     = &checks.Reason{ID: "dnsbl-listed", Safe: checks.Reject, Strict: checks.Reject, Accuses: true}
	unusual    = &checks.Reason{ID: "spf-unusual", Safe: checks.Off, Strict: checks.Watch}
	showOnly   = &checks.Reason{ID: "field-shown", Safe: checks.Watch, Strict: checks.Watch, Most: checks.Watch}
	unanswered = &checks.Reason{ID: "spf-unanswered", Safe: checks.Watch, Strict: checks.Tempfail, Unanswered: true}
	waiting    = &checks.Reason{ID: "greylisted", Safe: checks.Tempfail, Strict: checks.Tempfail, Greylisting: true}
)

// start is the beginning of a week.
var start = time.Unix(week(checktest.Now)*weekSeconds, 0).UTC()

// site is a Collector with a clock that the test sets. The HELO name of a session is its client, which is verified if
// the name begins with "own.".
type site struct {
	*Collector
	t       *testing.T
	store   *checktest.Store
	clock   checktest.Clock
	mu      sync.Mutex
	written map[string]bool // addresses that users have written to
	n       int             // sessions
}

func newSite(t *testing.T) *site {
	s := &site{t: t, written: map[string]bool{}}
	s.setTime(start)
	s.store = checktest.NewStore(s.now)
	s.Collector = s.open(s.store)
	return s
}

// open starts another Collector of the site, and waits for its first reading, however long the machine takes.
func (s *site) open(store checks.Store) *Collector {
	c := Open(store, Options{
		Origin: func(_ context.Context, r *checks.Request) Origin {
			if r.Helo == "panic" {
				panic("malformed answer")
			}
			from := r.Envelope.MailFrom
			verified := strings.HasPrefix(r.Helo, "own.")
			return Origin{Client: r.Helo, Sender: from.Domain, Verified: verified, SPF: verified, Pairs: []string{from.Text}}
		},
		Known: func(_ context.Context, pair string, _ time.Time) (bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.written[pair], nil
		},
		Authors: func(r *checks.Request) []string {
			if len(r.Envelope.Header) == 0 {
				return nil
			}
			return strings.Fields(r.Envelope.Header[0].Value)
		},
		Now: s.now,
	})
	s.t.Cleanup(func() { c.Close(time.Minute) })
	<-c.tried
	return c
}

func (s *site) now() time.Time { return s.clock.Now() }

func (s *site) setTime(now time.Time) { s.clock.Set(now) }

// did is a reason that applied, and its action.
type did struct {
	*checks.Reason
	checks.Action
}

var (
	watched    = did{judged, checks.Watch}
	rejected   = did{judged, checks.Reject}
	suspicious = did{judged, checks.Greylist}
	deferred   = did{waiting, checks.Tempfail}

	tagging      = did{judged, checks.Tag}
	quarantining = did{judged, checks.Quarantine}
)

// session returns a session on a day after the start.
func session(day int, client, from string) *checks.Session {
	s := &checks.Session{ID: "test", Time: start.AddDate(0, 0, day), Helo: client}
	s.Envelope.MailFrom = checks.ParseAddress(from)
	return s
}

func requestOf(s *checks.Session) *checks.Request { return checks.NewRequest(s, checks.RcptTo) }

// mail has one transaction on a day after the start, each a second later than the one before. The reasons apply; the
// last one refuses the mail if its action is enforced.
func (s *site) mail(day int, client, from string, reasons ...did) {
	s.n++
	session := session(day, client, from)
	session.Time = session.Time.Add(time.Duration(s.n) * time.Second)
	s.decide(requestOf(session), checks.Decision{}, reasons...)
}

func (s *site) decide(req *checks.Request, d checks.Decision, reasons ...did) {
	for _, r := range reasons {
		check, _, _ := strings.Cut(r.ID, "-")
		d.Outcomes = append(d.Outcomes, checks.Outcome{Check: check, Reason: r.Reason, Action: r.Action})
		if r.Enforced() {
			d.Reason, d.Action, d.Reply = r.Reason, r.Action, &checks.Reply{}
		}
	}
	s.Decided(req, d)
	if d.Reply == nil {
		s.Accepted(req)
	}
}

// judging is a check whose reason judged applies to each recipient.
type judging struct{}

func (judging) Check(context.Context, *checks.Request) ([]checks.Verdict, error) {
	return []checks.Verdict{{Reason: judged}}, nil
}

// quarantine has one message to recipients on a day after the start. It is quarantined for judged.
func (s *site) quarantine(day int, client, from string, rcpts ...string) {
	s.t.Helper()
	info := checks.Info{Name: "helo", Stages: []checks.Stage{checks.RcptTo}, Reasons: []*checks.Reason{judged}}
	p, err := checks.New([]checks.Instance{{Check: judging{}, Info: info}}, checks.Options{
		Actions: map[string]checks.Action{judged.ID: checks.Quarantine}, ReplyAt: checks.RcptTo, Budget: time.Minute,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	session := session(day, client, from)
	run := p.NewRun(session)
	for _, rcpt := range rcpts {
		session.Envelope.Rcpts = append(session.Envelope.Rcpts, checks.Recipient{Address: checks.ParseAddress(rcpt)})
		s.Decided(run.Request(), run.Judge(s.t.Context(), checks.RcptTo))
	}
	s.Decided(run.Request(), run.Judge(s.t.Context(), checks.EndOfMessage))
	s.Accepted(run.Request())
}

// spam has occasions of judged from several clients over some days. Their domains pass SPF, and each is used for some
// days.
func (s *site) spam(occasions, clients, days int) {
	for i := range occasions {
		day := i * days / max(occasions-1, 1)
		name := fmt.Sprintf("spam%d.example", i*clients/occasions)
		s.mail(day, "own."+name, "x@"+name, watched)
	}
}

// relayed has one message with author domains on a day after the start.
func (s *site) relayed(day int, client, from, authors string, reasons ...did) {
	session := session(day, client, from)
	session.Envelope.Header = []headers.Field{{Name: "From", Value: authors}}
	s.decide(requestOf(session), checks.Decision{}, reasons...)
}

// clean has one clean message on each of the days.
func (s *site) clean(client, from string, days ...int) {
	for _, day := range days {
		s.mail(day, client, from)
	}
}

// write has a user write to an address.
func (s *site) write(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[to] = true
}

func (s *site) flush() {
	s.t.Helper()
	const attempts = 10 // a loaded machine may need more than flushTimeout for much; what it has not written stays pending
	for i := range attempts {
		if err := s.Flush(s.t.Context()); err == nil {
			return
		} else if !errors.Is(err, context.DeadlineExceeded) || i == attempts-1 {
			s.t.Fatal(err)
		}
	}
}

// settings returns the setting of judged.
func settings(a checks.Action) []Setting {
	return []Setting{{Check: "helo", Reason: judged, Actions: []checks.Action{a}}}
}

// watch returns the evidence on judged.
func (s *site) watch() Watched {
	s.t.Helper()
	r, _, err := s.Reports(s.t.Context(), settings(checks.Watch))
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Reasons[0]
}

// goodNames returns the names of good senders, and why they are good.
func goodNames(list []Sender) (names []string) {
	for _, s := range list {
		if s.Good != "" {
			names = append(names, s.Name()+" "+s.Good)
		}
	}
	return names
}
