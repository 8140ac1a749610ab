package milter

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"net/textproto"
	"runtime/debug"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/headers"
)

// What an MTA never sends but garbage may: beyond these the connection is closed, or what is too much forgotten.
const (
	maxMacros       = 256
	maxMacroLength  = 4096
	maxRecipients   = 10_000
	maxRcptOctets   = 4 << 20 // of all recipients, each counted with what it takes to keep
	maxHeaderOctets = 4 << 20 // of all fields, likewise
	overhead        = 64

	// maxForged is how many Authentication-Results fields that bear our name are taken out of a message. Postfix looks for each from
	// the beginning of the message: some ten thousand keep it busy for longer than it waits, and make its cleanup daemon panic.
	// A message that went through us before has one each time, and MTAs let it come 50 times at most.
	maxForged = 100
)

// What a usual session has, to make room for at once.
const (
	usualMacros = 14
	usualFields = 32
)

// session is the milter of one connection. go-milter calls it from one goroutine.
type session struct {
	checks.Session
	srv      *Server
	conn     *conn
	pipeline *checks.Pipeline
	judge    *checks.Run
	protocol gomilter.OptProtocol // as negotiated

	macros checks.Macros // of the command that comes next, or came last

	header []headers.Field // of the open transaction, handed over at its end
	traces bool            // trace fields are wanted, and the MTA takes them
	fields uint32          // Authentication-Results fields so far
	forged []uint32        // those among them, from 1 on, that bear our name
	octets int             // of all its fields, those too that found no room
	rcpts  int             // octets of all recipients, those too that found no room
	tls    bool            // STARTTLS was seen
	last   gomilter.Code   // the last event of interest to the difference between RSET and other aborts
	given  checks.Envelope // the transaction that the last ABORT ended, if that may have been a RSET
	ahead  []byte          // packets that go out before the next response
	buf    []byte          // of send
}

func newSession(srv *Server, c *conn, p *checks.Pipeline) *session {
	s := &session{
		Session:  checks.Session{ID: srv.NewID(), Macros: make(checks.Macros, 0, usualMacros)},
		srv:      srv,
		conn:     c,
		pipeline: p,
	}
	s.judge = p.NewRun(&s.Session)
	return s
}

// answer lets f judge an event and answers it, unless the MTA was told not to wait for an answer: it would take one as
// that to the next command. A nil reply is "continue". A panic becomes a 4yz reply: go-milter would close the connection,
// and the MTA do without the filter for the rest of the SMTP session.
//
// The answer goes out from here: go-milter allocates a buffer of 4 KiB for each.
func (s *session) answer(noReply gomilter.OptProtocol, f func() *checks.Reply) (gomilter.Response, error) {
	reply := s.protect(f)
	switch {
	case s.protocol&noReply != 0:
		return nil, nil
	case reply == nil:
		return nil, s.send(byte(gomilter.ActContinue), "")
	default:
		return nil, s.send(byte(gomilter.ActReplyCode), wire(*reply))
	}
}

func (s *session) protect(f func() *checks.Reply) (reply *checks.Reply) {
	defer func() {
		if r := recover(); r != nil {
			s.srv.Log.WithFields(s.LogFields()).WithField("stack", string(debug.Stack())).Errorf("panic: %v", r)
			reply = &checks.Reply{Code: 451, Enhanced: "4.3.0", Text: "internal error of the mail filter, please try again later"}
		}
	}()
	return f()
}

// send writes a response packet.
func (s *session) send(code byte, data string) error {
	s.buf = append(s.buf[:0], s.ahead...)
	s.ahead = nil
	s.buf = binary.BigEndian.AppendUint32(s.buf, uint32(1+len(data)))
	s.buf = append(append(s.buf, code), data...)
	_, err := s.conn.Write(s.buf)
	return err
}

// negotiate answers the MTA's offer with the actions that we may take and with what was agreed on.
func (s *session) negotiate(actions gomilter.OptAction) error {
	var data []byte
	for _, v := range []uint32{protocolVersion, uint32(actions), uint32(s.protocol)} {
		data = binary.BigEndian.AppendUint32(data, v)
	}
	if actions&gomilter.OptSetSymList != 0 {
		for _, list := range symbols {
			data = binary.BigEndian.AppendUint32(data, uint32(list.stage))
			data = append(append(data, list.names...), 0)
		}
	}
	return s.send(byte(gomilter.CodeOptNeg), string(data))
}

// takeMacros notes the macros of the next command: names and values, with a NUL behind each.
func (s *session) takeMacros(text string) {
	s.macros = s.macros[:0]
	size := len(text)
	for text != "" && len(s.macros) < maxMacros {
		var m checks.Macro
		m.Name, text, _ = strings.Cut(text, "\x00")
		m.Value, text, _ = strings.Cut(text, "\x00")
		if len(m.Name)+len(m.Value) <= maxMacroLength {
			if size > maxMacroLength { // not to keep all of it
				m.Name, m.Value = strings.Clone(m.Name), strings.Clone(m.Value)
			}
			s.macros = append(s.macros, m)
		}
	}
}

// merge keeps the macros of the current command beside those of others.
func (s *session) merge() {
	for _, m := range s.macros {
		if len(s.Macros) < maxMacros || s.Macros.Get(m.Name) != "" {
			s.Macros.Set(m.Name, m.Value)
		}
	}
	s.Envelope.QueueID = s.Macros.Get("i")
}

// run lets the pipeline judge the stage that has just begun.
func (s *session) run(st checks.Stage) checks.Decision { return s.runWithin(s.conn.ctx, st) }

func (s *session) runWithin(ctx context.Context, st checks.Stage) checks.Decision {
	s.Time = s.srv.now()
	d := s.judge.Judge(ctx, st)
	if st >= checks.MailFrom { // nothing is decided before
		s.srv.Journal.Decided(s.judge.Request(), d)
	}
	return d
}

// observe tells the checks of an event.
func (s *session) observe(e checks.Event) {
	ctx, cancel := s.pipeline.Within(s.conn.ctx)
	defer cancel()
	s.observeWithin(ctx, e)
}

func (s *session) observeWithin(ctx context.Context, e checks.Event) {
	s.Time = s.srv.now()
	s.judge.Observe(ctx, e)
}

// closed is the end of the connection.
func (s *session) closed() {
	s.protect(func() *checks.Reply {
		s.observe(checks.Event{Kind: checks.Disconnected})
		return nil
	})
}

// reset forgets the mail transaction, RFC 5321 section 4.1.1.5. The HELO name stays: Postfix tells of a new one before
// it aborts.
func (s *session) reset() {
	s.Envelope = checks.Envelope{}
	s.header, s.octets, s.rcpts = nil, 0, 0
	s.fields, s.forged = 0, nil
	s.Macros.Delete("i")
	s.conn.busy.Store(false)
}

// Connect implements gomilter.Milter.
func (s *session) Connect(host, family string, _ uint16, addr net.IP, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(gomilter.OptNoConnReply, func() *checks.Reply { return s.connect(host, family, addr) })
}

func (s *session) connect(host, family string, addr net.IP) *checks.Reply {
	s.merge()
	if s.conn.full {
		return &checks.Reply{Code: 451, Enhanced: "4.3.2", Text: "the mail filter has too many connections, please try again later"}
	}
	s.ClientName = host
	s.Client = clientAddr(addr, s.Macros)
	s.Local = !s.Client.IsValid() && (family == "unknown" || family == "unix") && host == "localhost"
	if !s.Client.IsValid() && !s.Local {
		s.srv.Log.WithFields(s.LogFields()).Warn("the MTA did not tell the client's address")
	}
	s.run(checks.Connect)
	return nil
}

// clientAddr is the client's address. Sendmail writes IPv6 ones in a form that go-milter cannot read, but repeats them
// in macros.
func clientAddr(ip net.IP, macros checks.Macros) netip.Addr {
	if a, ok := netip.AddrFromSlice(ip); ok {
		return a.Unmap()
	}
	texts := []string{macros.Get("{client_addr}")}
	if _, rest, ok := strings.Cut(macros.Get("_"), "["); ok {
		in, _, _ := strings.Cut(rest, "]")
		texts = append(texts, in)
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(strings.TrimPrefix(text, "IPv6:")); err == nil {
			return a.Unmap().WithZone("")
		}
	}
	return netip.Addr{}
}

// Helo implements gomilter.Milter.
func (s *session) Helo(name string, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(gomilter.OptNoHeloReply, func() *checks.Reply { return s.helo(name) })
}

func (s *session) helo(name string) *checks.Reply {
	s.merge()
	// The MTAs tell the TLS version at the HELO after STARTTLS alone.
	tls := s.macros.Get("{tls_version}") != ""
	s.SetHelo(name, tls && !s.tls)
	s.tls = s.tls || tls
	s.last, s.given = gomilter.CodeHelo, checks.Envelope{}
	s.run(checks.Helo)
	return nil
}

// MailFrom implements gomilter.Milter.
func (s *session) MailFrom(from string, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(gomilter.OptNoMailReply, func() *checks.Reply { return s.mail(from) })
}

func (s *session) mail(from string) *checks.Reply {
	// Sendmail tells nothing of a RSET if it need not wait for an answer to MAIL: the transaction is still open then.
	if s.conn.busy.Load() && s.last == gomilter.CodeMail {
		s.last, s.given = gomilter.CodeAbort, s.Envelope
	}
	s.reset() // nor of the end of a message
	s.merge()
	if s.last == gomilter.CodeAbort && s.given.Rcpts != nil {
		s.observe(checks.Event{Kind: checks.Reset, Reset: s.given})
	}
	s.last, s.given = gomilter.CodeMail, checks.Envelope{}
	s.conn.busy.Store(true)
	s.AuthUser = s.macros.Get("{auth_authen}")
	s.Envelope.MailFrom = checks.ParseAddress(from)
	d := s.run(checks.MailFrom)
	if d.Reply != nil {
		s.reset()
	}
	return d.Reply
}

// RcptTo implements gomilter.Milter.
func (s *session) RcptTo(to string, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(0, func() *checks.Reply { return s.rcpt(to) })
}

func (s *session) rcpt(to string) *checks.Reply {
	s.merge()
	s.rcpts += len(to) + overhead
	if len(s.Envelope.Rcpts) >= maxRecipients || s.rcpts > maxRcptOctets {
		return &checks.Reply{Code: 452, Enhanced: "4.5.3", Text: "too many recipients"}
	}
	rcpt := checks.Recipient{Address: checks.ParseAddress(to)}
	if s.macros.Get("{rcpt_mailer}") == "error" {
		rcpt.Refused = s.macros.Get("{rcpt_host}")
		if rcpt.Refused == "" {
			rcpt.Refused = "5.0.0"
		}
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
		s.observe(checks.Event{Kind: checks.BadRecipient})
		return nil
	}
	s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
	return s.run(checks.RcptTo).Reply
}

// Header implements gomilter.Milter. It gets those fields that the connection has not handed to keep.
func (s *session) Header(name, value string, _ *gomilter.Modifier) (gomilter.Response, error) {
	s.keep(name, value)
	return s.answer(gomilter.OptNoHeaderReply, pass)
}

// keep notes a header field.
func (s *session) keep(name, value string) {
	s.octets += len(name) + len(value) + overhead
	if s.octets <= maxHeaderOctets {
		if s.header == nil {
			s.header = make([]headers.Field, 0, usualFields)
		}
		s.header = append(s.header, headers.Field{Name: name, Value: value})
	}
	if s.traces && strings.EqualFold(name, resultsField) {
		s.fields++
		if want := s.pipeline.TraceFields(); want.AuthenticationResults && len(s.forged) <= maxForged && ownResults(value, want.AuthServID) {
			s.forged = append(s.forged, s.fields)
		}
	}
}

// pass lets an event pass.
func pass() *checks.Reply { return nil }

// Headers implements gomilter.Milter. Its argument may still hold fields of the message before: it is not used.
func (s *session) Headers(_ textproto.MIMEHeader, _ *gomilter.Modifier) (gomilter.Response, error) {
	if s.protocol&gomilter.OptNoEOHReply != 0 {
		s.merge()
		return nil, nil // the end of the message has the answer
	}
	return s.answer(0, func() *checks.Reply {
		s.merge()
		return s.judgeHeader(s.conn.ctx)
	})
}

func (s *session) judgeHeader(ctx context.Context) *checks.Reply {
	if s.octets > maxHeaderOctets {
		// No MTA lets so much through by default. What was kept is judged: skipping the checks would invite padding.
		s.srv.Log.WithFields(s.LogFields()).Warn("header section too large to be checked as a whole")
	}
	s.Envelope.Header = s.header
	d := s.runWithin(ctx, checks.EndOfHeader)
	if d.Reply != nil {
		s.reset()
	}
	return d.Reply
}

// BodyChunk implements gomilter.Milter. The MTA is told to send no body, but an old one may not offer that.
func (s *session) BodyChunk([]byte, *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(0, pass)
}

// Body implements gomilter.Milter: the end of the message.
func (s *session) Body(_ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(0, func() *checks.Reply {
		s.merge()
		if !s.conn.busy.Load() {
			return nil // of what, no MTA could tell
		}
		ctx, cancel := s.pipeline.Within(s.conn.ctx) // for all that follows
		defer cancel()
		if len(s.forged) > maxForged {
			s.srv.Log.WithFields(s.LogFields()).Warn("too many Authentication-Results fields that bear our name: deferred")
			s.reset()
			return &checks.Reply{Code: 451, Enhanced: "4.6.0", Text: "too many Authentication-Results fields that claim to be this host's"}
		}
		if s.protocol&gomilter.OptNoEOHReply != 0 {
			if reply := s.judgeHeader(ctx); reply != nil {
				return reply
			}
		}
		if s.traces {
			s.ahead = s.trace(ctx, nil, s.forged)
		}
		s.srv.Journal.Accepted(s.judge.Request())
		s.observeWithin(ctx, checks.Event{Kind: checks.Accepted})
		s.reset()
		return nil
	})
}

// Abort implements gomilter.Milter. It is a RSET if it ends an open transaction, does not come with a HELO, which Postfix
// sends before it, and is followed by MAIL: at the end of a session, after STARTTLS and after each message Postfix
// aborts too.
func (s *session) Abort(*gomilter.Modifier) error {
	s.given = checks.Envelope{}
	if s.conn.busy.Load() && s.last == gomilter.CodeMail {
		s.given = s.Envelope
	}
	s.last = gomilter.CodeAbort
	s.macros = s.macros[:0]
	s.reset()
	return nil
}

// wire is a reply as the MTAs take it: lines joined by CRLF, the percent sign doubled (Sendmail formats the text, Postfix
// undoes it), a NUL at the end.
func wire(r checks.Reply) string {
	return strings.ReplaceAll(strings.Join(r.Lines(), "\r\n"), "%", "%%") + "\x00"
}

var _ gomilter.Milter = (*session)(nil)
