package miltertest

import (
	"fmt"
	"net/netip"
	"time"

	gomilter "github.com/emersion/go-milter"
)

// Session is an SMTP session with one message without a body, as an MTA reports it to a filter.
type Session struct {
	Client       string      // IP address
	ClientName   string      // reverse DNS name, as the MTA found it
	Helo         []string    // HELO names, in order
	AuthUser     string      // empty if the client has not authenticated
	Resets       int         // how many transactions the client gives up by RSET before the last one
	MailFrom     string      // without angle brackets; empty is the null reverse-path
	UnknownRcpts []string    // recipients that the MTA refuses; they come before Rcpts
	Rcpts        []string    // without angle brackets
	Header       [][2]string // name and value; the value without the space after the colon
}

// Outcome is the result of Session.Run. The zero Event means that the filter let the message pass.
type Outcome struct {
	Event    gomilter.Code // the event that the filter refused
	Response Response      // the response to that event
	Slowest  time.Duration // longest time that the MTA waited for a response
}

// Run plays the session over a connection that has negotiated, up to the first refusal. A response that is neither
// "continue" nor a refusal is an error.
func (s Session) Run(c *Conn) (Outcome, error) {
	p := player{conn: c}
	p.connect(s)
	for _, name := range s.Helo {
		p.event(gomilter.CodeHelo, func() (Response, error) { return c.Helo(name, map[string]string{}) })
	}
	for range s.Resets {
		p.envelope(s)
		p.event(gomilter.CodeAbort, func() (Response, error) { return Response{}, c.Abort() })
	}
	p.envelope(s)
	p.event(gomilter.CodeData, func() (Response, error) { return c.Data(nil) })
	for _, f := range s.Header {
		p.event(gomilter.CodeHeader, func() (Response, error) { return c.Header(f[0], " "+f[1]) })
	}
	p.event(gomilter.CodeEOH, func() (Response, error) { return c.EndOfHeader(nil) })
	p.event(gomilter.CodeEOB, func() (Response, error) { return c.EndOfMessage(nil) })
	return p.outcome, p.err
}

// player sends events until one is refused or fails.
type player struct {
	conn    *Conn
	outcome Outcome
	err     error
}

// event sends an event, unless one was refused or failed.
func (p *player) event(code gomilter.Code, send func() (Response, error)) {
	if p.err != nil || p.outcome.Event != 0 {
		return
	}
	began := time.Now()
	r, err := send()
	p.outcome.Slowest = max(p.outcome.Slowest, time.Since(began))
	switch {
	case err != nil:
		p.err = err
	case r.Refused():
		p.outcome.Event, p.outcome.Response = code, r
	case r.Action != 0:
		p.err = fmt.Errorf("unexpected response %q to the event %q", rune(r.Action), rune(code))
	}
}

func (p *player) connect(s Session) {
	client, err := netip.ParseAddr(s.Client)
	if err != nil {
		p.err = err
		return
	}
	addr := s.Client
	if client.Is6() {
		addr = "IPv6:" + addr
	}
	macros := map[string]string{"j": "mx.test", "{client_addr}": addr, "{client_name}": s.ClientName, "{client_ptr}": s.ClientName}
	const port = 12345
	p.event(gomilter.CodeConn, func() (Response, error) {
		return p.conn.Connect(s.ClientName, netip.AddrPortFrom(client, port), macros)
	})
}

// envelope sends the MAIL and RCPT commands.
func (p *player) envelope(s Session) {
	macros := map[string]string{"i": "Q1"}
	if s.AuthUser != "" {
		macros["{auth_type}"], macros["{auth_authen}"] = "PLAIN", s.AuthUser
	}
	p.event(gomilter.CodeMail, func() (Response, error) { return p.conn.Mail("<"+s.MailFrom+">", macros) })
	for _, rcpt := range s.UnknownRcpts {
		p.event(gomilter.CodeRcpt, func() (Response, error) { return p.conn.Rcpt("<"+rcpt+">", UnknownRcptMacros("Q1")) })
	}
	for _, rcpt := range s.Rcpts {
		p.event(gomilter.CodeRcpt, func() (Response, error) { return p.conn.Rcpt("<"+rcpt+">", RcptMacros("Q1", rcpt)) })
	}
}

// RcptMacros returns the macros that an MTA sends with a recipient that it accepts.
func RcptMacros(queueID, rcpt string) map[string]string {
	return map[string]string{"i": queueID, "{rcpt_mailer}": "local", "{rcpt_host}": "", "{rcpt_addr}": rcpt}
}

// UnknownRcptMacros returns the macros that an MTA sends with a recipient that it refuses as unknown.
func UnknownRcptMacros(queueID string) map[string]string {
	return map[string]string{
		"i": queueID, "{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1", "{rcpt_addr}": "550 5.1.1 User unknown",
	}
}
