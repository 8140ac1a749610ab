package milter

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
)

// Limits above what MTAs send. What exceeds them is refused or dropped.
const (
	maxRecipients  = 10_000  // of a transaction
	maxRcptBytes   = 8 << 20 // of all recipients
	maxHeaderBytes = 4 << 20 // of all header fields
	entryOverhead  = 64      // bytes of memory that a field takes besides its text

	// rcptOverhead is the memory that a recipient takes besides its text, in bytes: the parsed address, twice, and its triplet
	// of greylisting.
	rcptOverhead = 640

	// maxForged is the number of forged fields of one name that are removed from a message. For each
	// of them Postfix searches the message from its beginning: ten thousand make its cleanup daemon panic. A message that
	// passed this host before has one for each time, and MTAs stop a loop at 50.
	maxForged = 100
)

// session has the milter callbacks of one connection. go-milter calls them from one goroutine.
type session struct {
	gomilter.NoOpMilter // has Header and BodyChunk, which are not called: see conn.take
	checks.Session

	srv      *Server
	conn     *conn
	pipeline *checks.Pipeline
	run      *checks.Run

	negotiated bool                 // the MTA has begun to speak the milter protocol
	protocol   gomilter.OptProtocol // as negotiated
	edits      bool                 // the MTA lets us change the header section

	commandMacros []macro // of the current command
	macroBytes    int     // of memory that the macros of the Session take
	tls           bool    // STARTTLS was seen

	// Of the current mail transaction.
	headerBytes   int           // of the header fields in the Envelope
	truncated     bool          // the header section was too long, and its end was dropped
	lost          string        // name of a field in that end that readers are shown
	rcptBytes     int           // of the recipients in the Envelope
	body          io.Writer     // for the body; nil if it is not needed
	failure       *checks.Reply // to the message, after a panic in its body
	noMemory      bool          // there was no memory left for the message
	afterData     bool          // DATA or a part of the message has arrived
	forgedResults forgeries     // Authentication-Results fields with our authserv-id
	forgedMarks   forgeries     // X-Milterd fields

	afterMail      bool            // MAIL came after the last HELO and ABORT
	abandoned      checks.Envelope // transaction that a RSET may have ended, without its header section
	abandonedBytes int             // of the recipients of abandoned

	accounted     int    // bytes of the session in Server.held
	modifications []byte // packets that change the message, to send before the next response
}

func newSession(srv *Server, c *conn, p *checks.Pipeline) *session {
	s := &session{
		Session:  checks.Session{ID: srv.NewID(), Macros: map[string]string{}},
		srv:      srv,
		conn:     c,
		pipeline: p,
	}
	s.run = p.NewRun(&s.Session)
	return s
}

// answer sends the reply of f to an event; nil is "continue". If noReply was negotiated, the MTA does not wait for a
// response and answer sends none: the MTA would take it for the response to the next event. A panic of f becomes a 4yz
// reply: go-milter would close the connection, and the MTA would go on without the filter.
//
// It bypasses go-milter, which allocates 4 KiB for each response.
func (s *session) answer(noReply gomilter.OptProtocol, f func() *checks.Reply) (gomilter.Response, error) {
	var reply *checks.Reply
	if failure := s.protect(func() { reply = f() }); failure != nil {
		reply = failure
	}
	s.dropCommandMacros()
	s.account()
	if reply == nil || s.protocol&noReply != 0 {
		return nil, s.proceed(noReply)
	}
	return nil, s.send(byte(gomilter.ActReplyCode), wire(*reply))
}

// proceed sends the response "continue", unless noReply was negotiated.
func (s *session) proceed(noReply gomilter.OptProtocol) error {
	if s.protocol&noReply != 0 {
		return nil
	}
	return s.send(byte(gomilter.ActContinue), "")
}

// protect runs f. If f panics, it logs that and returns a 4yz reply.
func (s *session) protect(f func()) (failure *checks.Reply) {
	defer func() {
		if r := recover(); r != nil {
			s.srv.Log.WithFields(s.LogFields()).WithField("stack", string(debug.Stack())).Errorf("panic: %v", r)
			failure = &checks.Reply{Code: 451, Enhanced: "4.3.0", Text: "internal error of the mail filter, please try again later"}
		}
	}()
	f()
	return nil
}

// send writes a response packet, after those that change the message.
func (s *session) send(code byte, data string) error {
	packets := appendPacket(s.modifications, code, data)
	s.modifications = nil
	_, err := s.conn.Write(packets)
	return err
}

// judge has the Pipeline judge a stage, within its budget.
func (s *session) judge(ctx context.Context, st checks.Stage) checks.Decision {
	s.Time = s.srv.now()
	d := s.run.Judge(ctx, st)
	if st >= checks.MailFrom { // earlier stages decide nothing
		_ = s.protect(func() { s.srv.Journal.Decided(s.run.Request(), d) }) // a bug in a journal must not defer mail
	}
	return d
}

// observe passes an event that follows no judgement to the checks, within a budget of its own.
func (s *session) observe(e checks.Event) {
	ctx, cancel := s.pipeline.Within(s.conn.ctx)
	defer cancel()
	s.Time = s.srv.now()
	s.run.Observe(ctx, e)
}

// closed is called at the end of the connection.
func (s *session) closed() {
	if !s.negotiated {
		return
	}
	s.protect(func() { s.observe(checks.Event{Kind: checks.Disconnected}) })
	s.srv.held.Add(int64(-s.accounted))
}

// reset ends the mail transaction, RFC 5321 section 4.1.1.5. The HELO name stays: Postfix sends a new one before the abort.
func (s *session) reset() {
	s.Envelope = checks.Envelope{}
	s.headerBytes, s.truncated, s.lost = 0, false, ""
	s.rcptBytes, s.noMemory, s.afterData = 0, false, false
	s.forgedResults, s.forgedMarks = forgeries{}, forgeries{}
	s.body, s.failure = nil, nil
	s.run.EndTransaction()
	s.forgetMacro("i")
	s.conn.inTransaction.Store(false)
}

// Abort implements gomilter.Milter. An MTA sends it for RSET, but see mail, and for a message that it or another filter refused after
// DATA. Postfix also sends it at the end of a session, after HELO, after STARTTLS and after each message. It counts as a RSET if
// a transaction is open, no HELO came just before, DATA did not come, and MAIL follows.
//
// Two others are taken for a RSET: one after DATA if the MTA does not send DATA, see withData, and a RSET after the MTA or an earlier
// filter refused DATA itself.
func (s *session) Abort(*gomilter.Modifier) error {
	s.abandoned = checks.Envelope{}
	if s.conn.inTransaction.Load() && s.afterMail && !s.afterData {
		s.abandoned, s.abandonedBytes = s.Envelope, s.rcptBytes
		s.abandoned.Header = nil // the event Reset does not need it
	}
	s.afterMail = false
	s.reset()
	s.account()
	return nil
}

// Connect implements gomilter.Milter.
func (s *session) Connect(host, family string, _ uint16, addr net.IP, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(gomilter.OptNoConnReply, func() *checks.Reply {
		s.mergeMacros()
		if s.conn.full {
			return &checks.Reply{Code: 451, Enhanced: "4.3.2", Text: "the mail filter has too many connections, please try again later"}
		}
		s.ClientName = host
		s.Client = clientAddr(addr, s.Macros)
		s.Local = !s.Client.IsValid() && (family == "unknown" || family == "unix") && host == "localhost"
		if !s.Client.IsValid() && !s.Local {
			s.srv.Log.WithFields(s.LogFields()).Warn("the MTA did not send the client's address")
		}
		s.judge(s.conn.ctx, checks.Connect)
		if s.Client.IsValid() && !s.run.Request().Trusted() {
			if warning := s.srv.proxy.add(s.Client, s.Time); warning != "" {
				s.srv.Log.WithField("client", s.Client.String()).Warn(warning)
			}
		}
		return nil
	})
}

// clientAddr returns the client's address. Sendmail sends IPv6 addresses in a form that go-milter cannot parse, and again in
// macros.
func clientAddr(ip net.IP, macros map[string]string) netip.Addr {
	if a, ok := netip.AddrFromSlice(ip); ok {
		return a.Unmap()
	}
	texts := []string{macros["{client_addr}"]}
	if _, rest, ok := strings.Cut(macros["_"], "["); ok {
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
	return s.answer(gomilter.OptNoHeloReply, func() *checks.Reply {
		s.mergeMacros()
		// The MTAs send the TLS version only with the first HELO after STARTTLS.
		tls := s.commandMacro("{tls_version}") != ""
		s.SetHelo(name, tls && !s.tls)
		s.tls = s.tls || tls
		s.afterMail, s.abandoned = false, checks.Envelope{}
		s.judge(s.conn.ctx, checks.Helo)
		return nil
	})
}

// MailFrom implements gomilter.Milter.
func (s *session) MailFrom(from string, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(gomilter.OptNoMailReply, func() *checks.Reply { return s.mail(from) })
}

func (s *session) mail(from string) *checks.Reply {
	growStack()
	if s.conn.inTransaction.Load() && s.afterMail {
		_ = s.Abort(nil) // Sendmail sends none for RSET if it does not wait for a response to MAIL
	}
	s.reset()
	s.mergeMacros()
	if s.abandoned.Rcpts != nil {
		s.observe(checks.Event{Kind: checks.Reset, Reset: s.abandoned})
	}
	s.afterMail, s.abandoned = true, checks.Envelope{}
	s.noMemory = s.srv.memoryFull()
	s.conn.inTransaction.Store(true)
	s.AuthUser = s.commandMacro("{auth_authen}")
	s.Envelope.MailFrom = checks.ParseAddress(from)
	s.run.LackMemory(s.noMemory)
	d := s.judge(s.conn.ctx, checks.MailFrom)
	if d.Reply != nil {
		s.reset()
	}
	return d.Reply
}

// growStack makes the stack of the goroutine large enough for the checks. Without it the stack doubles three times while they
// run, and each time all frames are copied: a tenth of the CPU time of the benchmark hot1. A connection that is idle before
// its first message keeps a small stack.
//
//go:noinline
func growStack() {
	var room [8 << 10]byte
	runtime.KeepAlive(&room)
}

// RcptTo implements gomilter.Milter.
func (s *session) RcptTo(to string, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(0, func() *checks.Reply { return s.rcpt(to) })
}

func (s *session) rcpt(to string) *checks.Reply {
	s.mergeMacros()
	size := len(to) + rcptOverhead
	if len(s.Envelope.Rcpts) >= maxRecipients || s.rcptBytes+size > maxRcptBytes {
		if s.srv.tooManyRcpts.allows(s.srv.now()) {
			s.srv.Log.WithFields(s.LogFields()).Warn("too many recipients: deferring further ones")
		}
		return &checks.Reply{Code: 452, Enhanced: "4.5.3", Text: "too many recipients"}
	}
	rcpt := checks.Recipient{Address: checks.ParseAddress(to)}
	if s.noMemory || !s.reserve(size) {
		return s.deferRcpt(rcpt)
	}
	s.rcptBytes += size
	if s.commandMacro("{rcpt_mailer}") == "error" {
		rcpt.Refused = cmp.Or(s.commandMacro("{rcpt_host}"), "5.0.0")
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
		s.observe(checks.Event{Kind: checks.BadRecipient})
		return nil
	}
	s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
	return s.judge(s.conn.ctx, checks.RcptTo).Reply
}

// deferRcpt defers a recipient for lack of memory, and does not keep it.
func (s *session) deferRcpt(rcpt checks.Recipient) *checks.Reply {
	before := len(s.Envelope.Rcpts)
	s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
	s.run.LackMemory(true)
	d := s.judge(s.conn.ctx, checks.RcptTo)
	s.run.LackMemory(false)
	s.Envelope.Rcpts[before] = checks.Recipient{}
	s.Envelope.Rcpts = s.Envelope.Rcpts[:before]
	return d.Reply
}

// wire returns a reply as MTAs expect it: lines joined by CRLF, percent signs doubled (Sendmail uses the text as a format,
// Postfix undoes the doubling), a NUL at the end.
func wire(r checks.Reply) string {
	return strings.ReplaceAll(strings.Join(r.Lines(), "\r\n"), "%", "%%") + "\x00"
}

var _ gomilter.Milter = (*session)(nil)
