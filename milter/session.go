package milter

import (
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
	maxHeaderFields = 10_000
	maxHeaderOctets = 1 << 20
)

// session is the milter of one connection. go-milter calls it from one goroutine.
type session struct {
	checks.Session
	srv      *Server
	conn     *conn
	pipeline *checks.Pipeline
	protocol gomilter.OptProtocol // as negotiated

	header   []headers.Field // of the open transaction, handed over at its end
	octets   int             // in header
	overflow bool            // the header section was too large to keep
	tls      bool            // STARTTLS was seen
	last     gomilter.Code   // the last event of interest to the difference between RSET and other aborts
	given    checks.Envelope // the transaction that the last ABORT ended, if that may have been a RSET
}

func newSession(srv *Server, c *conn, p *checks.Pipeline) *session {
	return &session{
		Session:  checks.Session{ID: srv.NewID(), Macros: make(map[string]string)},
		srv:      srv,
		conn:     c,
		pipeline: p,
	}
}

// quiet is the answer to an event: none if the MTA was told not to wait for one. Answering nevertheless would be taken
// as the answer to the next command.
func (s *session) quiet(noReply gomilter.OptProtocol) gomilter.Response {
	if s.protocol&noReply != 0 {
		return nil
	}
	return gomilter.RespContinue
}

// guard turns a panic into a 4yz reply, where the MTA waits for one: go-milter would close the connection, and the MTA
// do without the filter for the rest of the SMTP session.
func (s *session) guard(noReply gomilter.OptProtocol, resp *gomilter.Response) {
	if r := recover(); r != nil {
		s.srv.Log.WithFields(s.LogFields()).WithField("stack", string(debug.Stack())).Errorf("panic: %v", r)
		*resp = nil
		if s.protocol&noReply == 0 {
			*resp = response(checks.Reply{Code: 451, Enhanced: "4.3.0", Text: "internal error of the mail filter, please try again later"})
		}
	}
}

// merge keeps the macros: go-milter forgets all when the next packet of them comes.
func (s *session) merge(m *gomilter.Modifier) {
	for k, v := range m.Macros {
		if _, known := s.Macros[k]; (known || len(s.Macros) < maxMacros) && len(k)+len(v) <= maxMacroLength {
			s.Macros[k] = v
		}
	}
	s.Envelope.QueueID = s.Macros["i"]
}

// run lets the pipeline judge the stage that has just begun.
func (s *session) run(st checks.Stage) checks.Decision {
	s.Time = s.srv.now()
	d := s.pipeline.Run(s.conn.ctx, &s.Session, st)
	s.srv.Journal.Decided(&s.Session, d)
	return d
}

// observe tells the checks of an event.
func (s *session) observe(e checks.Event) {
	s.Time = s.srv.now()
	s.pipeline.Observe(s.conn.ctx, &s.Session, e)
}

// closed is the end of the connection.
func (s *session) closed() {
	defer s.guard(0, new(gomilter.Response))
	s.observe(checks.Event{Kind: checks.Disconnected})
}

// reset forgets the mail transaction, RFC 5321 section 4.1.1.5. The HELO name stays: Postfix tells of a new one before
// it aborts.
func (s *session) reset() {
	s.Envelope = checks.Envelope{}
	s.header, s.octets, s.overflow = nil, 0, false
	delete(s.Macros, "i")
	s.conn.busy.Store(false)
}

// Connect implements gomilter.Milter.
func (s *session) Connect(host, family string, _ uint16, addr net.IP, m *gomilter.Modifier) (resp gomilter.Response, err error) {
	defer s.guard(gomilter.OptNoConnReply, &resp)
	s.merge(m)
	if s.conn.full {
		return response(checks.Reply{Code: 451, Enhanced: "4.3.2", Text: "the mail filter has too many connections, please try again later"}), nil
	}
	s.ClientName = host
	s.Client = clientAddr(addr, s.Macros)
	s.Local = !s.Client.IsValid() && (family == "unknown" || family == "unix") && host == "localhost"
	if !s.Client.IsValid() && !s.Local {
		s.srv.Log.WithFields(s.LogFields()).Warn("the MTA did not tell the client's address")
	}
	s.run(checks.Connect)
	return s.quiet(gomilter.OptNoConnReply), nil
}

// clientAddr is the client's address. Sendmail writes IPv6 ones in a form that go-milter cannot read, but repeats them
// in macros.
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
func (s *session) Helo(name string, m *gomilter.Modifier) (resp gomilter.Response, err error) {
	defer s.guard(gomilter.OptNoHeloReply, &resp)
	s.merge(m)
	// The MTAs tell the TLS version at the HELO after STARTTLS alone.
	tls := m.Macros["{tls_version}"] != ""
	s.SetHelo(name, tls && !s.tls)
	s.tls = s.tls || tls
	s.last, s.given = gomilter.CodeHelo, checks.Envelope{}
	s.run(checks.Helo)
	return s.quiet(gomilter.OptNoHeloReply), nil
}

// MailFrom implements gomilter.Milter.
func (s *session) MailFrom(from string, m *gomilter.Modifier) (resp gomilter.Response, err error) {
	defer s.guard(gomilter.OptNoMailReply, &resp)
	s.reset() // Sendmail does not tell of the end of a message
	s.merge(m)
	if s.last == gomilter.CodeAbort && s.given.Rcpts != nil {
		s.observe(checks.Event{Kind: checks.Reset, Reset: s.given})
	}
	s.last, s.given = gomilter.CodeMail, checks.Envelope{}
	s.conn.busy.Store(true)
	s.AuthUser = m.Macros["{auth_authen}"]
	s.Envelope.MailFrom = checks.ParseAddress(from)
	if d := s.run(checks.MailFrom); d.Reply != nil {
		s.reset()
		return response(*d.Reply), nil
	}
	return s.quiet(gomilter.OptNoMailReply), nil
}

// RcptTo implements gomilter.Milter.
func (s *session) RcptTo(to string, m *gomilter.Modifier) (resp gomilter.Response, err error) {
	defer s.guard(0, &resp)
	s.merge(m)
	if len(s.Envelope.Rcpts) >= maxRecipients {
		return response(checks.Reply{Code: 452, Enhanced: "4.5.3", Text: "too many recipients"}), nil
	}
	rcpt := checks.Recipient{Address: checks.ParseAddress(to)}
	if m.Macros["{rcpt_mailer}"] == "error" {
		rcpt.Refused = m.Macros["{rcpt_host}"]
		if rcpt.Refused == "" {
			rcpt.Refused = "5.0.0"
		}
		s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
		s.observe(checks.Event{Kind: checks.BadRecipient})
		return gomilter.RespContinue, nil
	}
	s.Envelope.Rcpts = append(s.Envelope.Rcpts, rcpt)
	if d := s.run(checks.RcptTo); d.Reply != nil {
		return response(*d.Reply), nil
	}
	return gomilter.RespContinue, nil
}

// Header implements gomilter.Milter.
func (s *session) Header(name, value string, m *gomilter.Modifier) (gomilter.Response, error) {
	s.octets += len(name) + len(value)
	if s.octets > maxHeaderOctets || len(s.header) >= maxHeaderFields {
		s.overflow = true
	}
	if !s.overflow {
		s.header = append(s.header, headers.Field{Name: name, Value: value})
	}
	return s.quiet(gomilter.OptNoHeaderReply), nil
}

// Headers implements gomilter.Milter. Its argument may still hold fields of the message before: it is not used.
func (s *session) Headers(_ textproto.MIMEHeader, m *gomilter.Modifier) (resp gomilter.Response, err error) {
	defer s.guard(0, &resp)
	s.merge(m)
	if s.overflow {
		s.srv.Log.WithFields(s.LogFields()).Warn("header section too large to be checked")
		return gomilter.RespContinue, nil
	}
	s.Envelope.Header = s.header
	if d := s.run(checks.EndOfHeader); d.Reply != nil {
		s.reset()
		return response(*d.Reply), nil
	}
	return gomilter.RespContinue, nil
}

// BodyChunk implements gomilter.Milter. The MTA is told to send no body, but an old one may not offer that.
func (s *session) BodyChunk([]byte, *gomilter.Modifier) (gomilter.Response, error) {
	return gomilter.RespContinue, nil
}

// Body implements gomilter.Milter: the end of the message.
func (s *session) Body(m *gomilter.Modifier) (resp gomilter.Response, err error) {
	defer s.guard(0, &resp)
	s.merge(m)
	s.srv.Journal.Accepted(&s.Session)
	s.observe(checks.Event{Kind: checks.Accepted})
	s.reset()
	return gomilter.RespContinue, nil
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
	s.reset()
	return nil
}

// response is a reply as the MTAs take it: lines joined by CRLF, the percent sign doubled (Sendmail formats the text,
// Postfix undoes it), a NUL at the end.
func response(r checks.Reply) gomilter.Response {
	return gomilter.NewResponseStr(byte(gomilter.ActReplyCode),
		strings.ReplaceAll(strings.Join(r.Lines(), "\r\n"), "%", "%%"))
}

var _ gomilter.Milter = (*session)(nil)
