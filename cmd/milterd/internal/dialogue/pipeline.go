package dialogue

import (
	"context"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Pipeline plays through a pipeline in this process.
type Pipeline struct {
	Pipeline *checks.Pipeline
	Decided  func(*checks.Session, checks.Decision) // told of every decision; may be nil
	Now      func() time.Time                       // until a script sets the time

	session checks.Session
	set     time.Time
}

func (p *Pipeline) run(st checks.Stage) []string {
	p.session.Time = p.set
	if p.set.IsZero() {
		p.session.Time = p.Now()
	}
	d := p.Pipeline.Run(context.Background(), &p.session, st)
	if p.Decided != nil {
		p.Decided(&p.session, d)
	}
	if d.Reply == nil {
		return nil
	}
	return d.Reply.Lines()
}

// Connect implements Player.
func (p *Pipeline) Connect(c Client) error {
	p.session = checks.Session{ID: "simulate", Client: c.Addr, ClientName: c.Name, Local: !c.Addr.IsValid(), Macros: map[string]string{}}
	p.run(checks.Connect)
	return nil
}

// Time implements Player.
func (p *Pipeline) Time(t time.Time) { p.set = t }

// Helo implements Player.
func (p *Pipeline) Helo(name string, tls bool) error {
	p.session.Envelope = checks.Envelope{}
	p.session.SetHelo(name, tls)
	p.run(checks.Helo)
	return nil
}

// Mail implements Player.
func (p *Pipeline) Mail(path, user string) ([]string, error) {
	p.session.AuthUser = user
	p.session.Envelope = checks.Envelope{MailFrom: checks.ParseAddress(path)}
	return p.run(checks.MailFrom), nil
}

// Rcpt implements Player.
func (p *Pipeline) Rcpt(path string) ([]string, error) {
	e := &p.session.Envelope
	e.Rcpts = append(e.Rcpts, checks.Recipient{Address: checks.ParseAddress(path)})
	return p.run(checks.RcptTo), nil
}

// Message implements Player.
func (p *Pipeline) Message(header []headers.Field) ([]string, error) {
	p.session.Envelope.Header = header
	return p.run(checks.EndOfHeader), nil
}

// Reset implements Player.
func (p *Pipeline) Reset() error {
	p.session.Envelope = checks.Envelope{}
	return nil
}

// Close implements Player.
func (p *Pipeline) Close() error { return nil }
