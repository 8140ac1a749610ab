package session

import (
	"context"
	"sync/atomic"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// Pipeline plays through a pipeline in this process.
type Pipeline struct {
	Pipeline *checks.Pipeline
	Decided  func(*checks.Request, checks.Decision) // told of every decision; may be nil
	Now      func() time.Time                       // until a script sets the time

	session checks.Session
	judge   *checks.Run
	given   checks.Envelope           // the transaction that RSET ended just now
	set     atomic.Pointer[time.Time] // nil: go by Now
}

// Clock is the time that the script has set, or that of Now. It is safe for concurrent use: a store may go by it.
func (p *Pipeline) Clock() time.Time {
	if t := p.set.Load(); t != nil {
		return *t
	}
	return p.Now()
}

func (p *Pipeline) observe(e checks.Event) {
	p.session.Time = p.Clock()
	p.judge.Observe(context.Background(), e)
}

func (p *Pipeline) run(st checks.Stage) []string {
	p.session.Time = p.Clock()
	d := p.judge.Judge(context.Background(), st)
	if p.Decided != nil {
		p.Decided(p.judge.Request(), d)
	}
	if d.Reply == nil {
		return nil
	}
	return d.Reply.Lines()
}

// Connect implements Player.
func (p *Pipeline) Connect(c Client) error {
	if p.session.ID != "" {
		p.observe(checks.Event{Kind: checks.Disconnected})
	}
	p.given = checks.Envelope{}
	p.session = checks.Session{ID: "simulate", Client: c.Addr, ClientName: c.Name, Local: !c.Addr.IsValid()}
	p.judge = p.Pipeline.NewRun(&p.session)
	p.run(checks.Connect)
	return nil
}

// Time implements Player.
func (p *Pipeline) Time(t time.Time) { p.set.Store(&t) }

// Helo implements Player.
func (p *Pipeline) Helo(name string, tls bool) error {
	p.given, p.session.Envelope = checks.Envelope{}, checks.Envelope{}
	p.session.SetHelo(name, tls)
	p.run(checks.Helo)
	return nil
}

// Mail implements Player.
func (p *Pipeline) Mail(path, user string) ([]string, error) {
	if p.given.Rcpts != nil {
		p.observe(checks.Event{Kind: checks.Reset, Reset: p.given})
		p.given = checks.Envelope{}
	}
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
	reply := p.run(checks.EndOfHeader)
	if reply == nil {
		p.observe(checks.Event{Kind: checks.Accepted})
	}
	return reply, nil
}

// Reset implements Player.
func (p *Pipeline) Reset() error {
	p.given, p.session.Envelope = p.session.Envelope, checks.Envelope{}
	return nil
}

// Close implements Player.
func (p *Pipeline) Close() error { return nil }
