package checks

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"milterd/headers"
)

// Stage names the SMTP moment at which something about a session becomes known, and the scope for which a verdict on
// it holds: what a check finds out at Connect holds for the connection, at Helo until the next HELO, at MailFrom and
// EndOfHeader for the transaction, at RcptTo for one recipient.
type Stage uint8

// The stages, in the order of a session.
const (
	Connect     Stage = iota // client address known
	Helo                     // HELO or EHLO given, RFC 5321 section 4.1.1.1
	MailFrom                 // reverse-path known
	RcptTo                   // one forward-path known, once per recipient
	EndOfHeader              // whole header section known
	numStages
)

// String returns the word that logs, metrics and JSON use: connect, helo, mail, rcpt or header.
func (st Stage) String() string {
	return [...]string{"connect", "helo", "mail", "rcpt", "header", "?"}[min(st, numStages)]
}

// Session is all that the MTA has told us about one SMTP connection. A driver fills it and one goroutine owns it, so it
// has no lock. Checks read it and never keep it.
type Session struct {
	ID           string     // tells sessions apart in the log
	Time         time.Time  // when the current stage began; a driver may set the past
	Stage        Stage      // what the check that reads this is asked about
	Client       netip.Addr // never an IPv4-mapped IPv6 address; zero if the MTA could not tell
	Local        bool       // submitted on the mail host itself, not over the network
	ClientName   string     // reverse name as the MTA reports it: for show, never for a verdict
	Helo         string     // current HELO name; empty before the first HELO
	PreviousHelo string     // the last different HELO name under the same TLS state; empty if none
	AuthUser     string     // empty: not authenticated
	Macros       Macros     // merged over the whole connection
	Envelope     Envelope   // the open mail transaction
	Trusted      bool       // never checked; set by the Pipeline

	// Hurried: the MTA has told already what comes next. Nothing is asked ahead of it until a check misses something, which
	// the checks' resolver must tell (see Traced). false: it is asked ahead at once.
	Hurried bool

	table    *table                  // for the recipient in question, see Suspects
	memory   [numStages][]remembered // see Remember; few in each
	findings [numStages][]finding    // by the check's place, see Pipeline
	running  *running                // of the findings being made
	steps    []step                  // of the last decision
	behind   [numStages]bool         // stages at which nothing was asked ahead, as the session was in a hurry
}

// Envelope is one mail transaction, RFC 5321 section 3.3. The zero value is a transaction that has not begun.
type Envelope struct {
	QueueID  string
	MailFrom Address
	Rcpts    []Recipient     // in the order of the RCPT commands, refused ones too
	Header   []headers.Field // in order, as received; filled when EndOfHeader begins
}

// Recipient is one forward-path, RFC 5321 section 4.1.1.3.
type Recipient struct {
	Address
	Refused string // enhanced status code it was refused with, by the MTA or by us; empty if accepted

	// What the Pipeline found for this recipient before the check that reads it, in the order of the checks.
	Suspicions []*Reason // reasons whose action for this recipient is greylist
	Vouch      Vouch     // the strongest
	MayPass    bool      // there may be a SkipAll: that could not be found out
	Forwarded  bool      // the client is a forwarder of this recipient, see Policy
}

// Rcpt is the recipient in question at RcptTo: the last one given. It is the zero value before the first.
func (s *Session) Rcpt() Recipient {
	if n := len(s.Envelope.Rcpts); n > 0 {
		return s.Envelope.Rcpts[n-1]
	}
	return Recipient{}
}

// SetHelo notes a HELO name. A name that follows STARTTLS begins anew: RFC 3207 section 4.2 has both sides forget what
// was said before.
func (s *Session) SetHelo(name string, afterStartTLS bool) {
	switch {
	case afterStartTLS:
		s.PreviousHelo = ""
	case s.Helo != "" && !SameName(s.Helo, name):
		s.PreviousHelo = s.Helo
	}
	s.Helo = name
}

// Suspects tells whether a reason is a suspicion for the recipient in question: whether its action is greylist. It is for a
// check that holds mail back itself.
func (s *Session) Suspects(r *Reason) bool { return s.table != nil && s.table.action(r) == Greylist }

// Enforces tells whether a reason refuses mail to the recipient in question. It is for a check with a reason that follows from
// another one's refusals.
func (s *Session) Enforces(r *Reason) bool { return s.table != nil && s.table.action(r).Enforced() }

// Ignores tells whether a reason is off for the recipient in question. It is for a check for which it costs others something to
// find out whether the reason applies.
func (s *Session) Ignores(r *Reason) bool { return s.table != nil && s.table.action(r) == Off }

// Unused tells whether a reason is off for every recipient of the site. It is for a check that would have to remember something
// for a reason that nobody wants.
func (s *Session) Unused(r *Reason) bool { return s.table != nil && !s.table.used[r] }

// Address is the mailbox of a reverse-path or forward-path, RFC 5321 section 4.1.2. The zero value is the null
// reverse-path.
type Address struct {
	Text    string     // as the client typed it, without angle brackets
	Local   string     // local part without its quotes, all of Text if there is no domain; empty if Text could not be parsed
	Domain  string     // lower case, A-labels, no trailing dot; empty if there is none or it could not be parsed
	Literal netip.Addr // the address, if the domain is an address literal; Domain is empty then
}

// ParseAddress reads an address as the client typed it, with or without angle brackets. What cannot be parsed keeps its
// Text alone: whether that is a fault is for a check to say.
func ParseAddress(text string) Address {
	a := Address{Text: strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")}
	if a.Text == "" {
		return a
	}
	if !strings.Contains(a.Text, "@") {
		a.Local = a.Text // "postmaster", RFC 5321 section 4.1.1.3; some sites take others too
		return a
	}
	// A path with faults that real senders commit comes back filled, so that the other checks can judge its domain.
	p, _ := headers.ParsePath(a.Text)
	a.Local, a.Literal = p.Local, p.Literal
	if !p.Literal.IsValid() {
		a.Domain = asciiDomain(p.Domain)
	}
	return a
}

// IsNull tells whether this is the null reverse-path, RFC 5321 section 4.5.5.
func (a Address) IsNull() bool { return a.Text == "" }

// String is Text.
func (a Address) String() string { return a.Text }

// asciiDomain brings a domain into the form that the DNS compares: A-labels (RFC 5891), lower case, no trailing dot.
func asciiDomain(d string) string {
	d = strings.ToLower(strings.TrimSuffix(d, "."))
	for i := range len(d) {
		if d[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(d)
			if err != nil {
				return ""
			}
			return a
		}
	}
	return d
}

// SameName tells whether two domain names are equal in the DNS: without regard to case (RFC 4343) and one trailing dot.
func SameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// Under tells whether name is domain or a name below it.
func Under(name, domain string) bool {
	name, domain = strings.TrimSuffix(name, "."), strings.TrimSuffix(domain, ".")
	if len(name) == len(domain) {
		return strings.EqualFold(name, domain)
	}
	cut := len(name) - len(domain)
	return cut > 0 && domain != "" && name[cut-1] == '.' && strings.EqualFold(name[cut:], domain)
}

// remembered is what Remember keeps: a value, or why it could not be had.
type remembered struct {
	key, value any
	err        error
}

// Remember returns what find returns, calling it once while scope lasts, however many checks ask. key must be of a type
// of the caller's own. Failures are remembered too, but only until the next transaction: an hour-long connection must
// not suffer from one lost DNS answer at its beginning.
func Remember[T any](s *Session, scope Stage, key any, find func() (T, error)) (T, error) {
	for _, m := range s.memory[scope] {
		if m.key == key {
			v, _ := m.value.(T)
			return v, m.err
		}
	}
	v, err := find()
	s.memory[scope] = append(s.memory[scope], remembered{key, v, err})
	return v, err
}

// Aside is what is known of the session now, so many recipients at most and what was remembered up to MailFrom with it, but
// neither its header nor its macros: for work that goes on beside the session, in one other goroutine. Nothing is decided about it.
func (s *Session) Aside(rcpts int) *Session {
	c := s.told()
	c.Stage = MailFrom
	c.Envelope.QueueID, c.Envelope.Rcpts = s.Envelope.QueueID, slices.Clone(s.Envelope.Rcpts[:min(len(s.Envelope.Rcpts), rcpts)])
	for st := Connect; st <= MailFrom; st++ {
		c.memory[st] = slices.Clone(s.memory[st])
	}
	return c
}

// told is what the MTA has told of the client and the sender.
func (s *Session) told() *Session {
	return &Session{
		ID: s.ID, Time: s.Time, Client: s.Client, Local: s.Local, ClientName: s.ClientName, Helo: s.Helo,
		PreviousHelo: s.PreviousHelo, AuthUser: s.AuthUser, Trusted: s.Trusted, Envelope: Envelope{MailFrom: s.Envelope.MailFrom},
	}
}

// begin forgets what was found out for the scopes that end when st begins.
func (s *Session) begin(st Stage) {
	forget := func(st Stage) {
		clear(s.memory[st])
		s.memory[st] = s.memory[st][:0]
		clear(s.findings[st])
	}
	switch st {
	case Connect:
		for st := range numStages {
			forget(st)
		}
	case Helo:
		forget(Helo)
	case MailFrom:
		forget(MailFrom)
		forget(RcptTo)
		forget(EndOfHeader)
		for _, st := range []Stage{Connect, Helo} {
			s.memory[st] = slices.DeleteFunc(s.memory[st], func(m remembered) bool { return m.err != nil })
			for i, f := range s.findings[st] {
				if f.err != nil {
					s.findings[st][i] = finding{}
				}
			}
		}
	case RcptTo, EndOfHeader:
		forget(st)
	}
}
