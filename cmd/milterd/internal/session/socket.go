package session

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"milterd/headers"
	"milterd/milter/miltertest"
)

// Socket is a Player for a running filter, over the milter protocol. The filter has its own clock.
type Socket struct {
	Network, Address string        // of package net
	Timeout          time.Duration // for each response

	conn  *miltertest.Conn
	tls   bool
	mails int // begun so far
}

// port is the port of the client. No check needs it.
const port = 40025

// Connect implements Player.
func (s *Socket) Connect(c Client) error {
	if err := s.Close(); err != nil {
		return err
	}
	conn, err := miltertest.Dial(s.Network, s.Address, s.Timeout)
	if err != nil {
		return err
	}
	s.conn, s.tls = conn, false
	name := c.Name
	switch {
	case !c.Addr.IsValid():
		name = "localhost"
	case name == "":
		name = "[" + c.Addr.String() + "]"
	}
	macros := map[string]string{"j": "mail filter test", "{client_name}": name}
	if c.Addr.IsValid() {
		macros["{client_addr}"] = c.Addr.String()
	}
	r, err := conn.Connect(name, netip.AddrPortFrom(c.Addr, port), macros)
	if err == nil && r.Refused() {
		err = fmt.Errorf("refused the connection: %q", r.Lines)
	}
	return err
}

// Time implements Player. It does nothing.
func (s *Socket) Time(time.Time) {}

// Helo implements Player.
func (s *Socket) Helo(name string, tls bool) error {
	s.tls = s.tls || tls
	macros := map[string]string{}
	if s.tls {
		macros["{tls_version}"] = "TLSv1.3"
	}
	_, err := s.conn.Helo(name, macros)
	return err
}

// Mail implements Player.
func (s *Socket) Mail(path, user string) ([]string, error) {
	s.mails++
	macros := map[string]string{"i": s.queueID()}
	if user != "" {
		macros["{auth_authen}"] = user
	}
	return lines(s.conn.Mail(path, macros))
}

// queueID returns the queue id of the message. Each message has its own, as from a mail server.
func (s *Socket) queueID() string { return fmt.Sprintf("TEST%d", s.mails) }

// Rcpt implements Player.
func (s *Socket) Rcpt(path string) ([]string, error) {
	return lines(s.conn.Rcpt(path, map[string]string{"i": s.queueID(), "{rcpt_mailer}": "local"}))
}

// Message implements Player.
func (s *Socket) Message(header []headers.Field, body string) ([]string, error) {
	if r, err := s.conn.Data(nil); err != nil || r.Refused() {
		return lines(r, err)
	}
	for _, f := range header {
		if r, err := s.conn.Header(f.Name, f.Value); err != nil || r.Refused() {
			return lines(r, err)
		}
	}
	if r, err := s.conn.EndOfHeader(nil); err != nil || r.Refused() {
		return lines(r, err)
	}
	if r, err := s.conn.WholeBody(body); err != nil || r.Refused() {
		return lines(r, err)
	}
	return lines(s.conn.EndOfMessage(nil))
}

// Reset implements Player.
func (s *Socket) Reset() error { return s.conn.Abort() }

// Close implements Player.
func (s *Socket) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Quit()
	s.conn = nil
	return err
}

// lines returns the reply of a response.
func lines(r miltertest.Response, err error) ([]string, error) {
	switch {
	case err != nil:
		return nil, err
	case !r.Refused():
		return nil, nil
	case len(r.Lines) == 0:
		return nil, errors.New("refused without a reply")
	default:
		return r.Lines, nil
	}
}
