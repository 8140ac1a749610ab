package session

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"milterd/checks"
	"milterd/headers"
)

// InProcess is a Player that has a pipeline in this process judge the session. The session has no TLS until STARTTLS.
type InProcess struct {
	Pipeline *checks.Pipeline
	Decided  func(*checks.Request, checks.Decision) // called after each decision; may be nil
	Now      func() time.Time                       // the clock until Time sets it

	session   checks.Session
	run       *checks.Run
	abandoned checks.Envelope           // transaction that Reset ended, until the next MAIL, HELO or connection; MAIL alone observes it
	set       atomic.Pointer[time.Time] // the argument of Time; nil until it is called
}

// Clock returns the time of the session. It is safe for concurrent use.
func (p *InProcess) Clock() time.Time {
	if t := p.set.Load(); t != nil {
		return *t
	}
	return p.Now()
}

// Time implements Player.
func (p *InProcess) Time(t time.Time) { p.set.Store(&t) }

// Connect implements Player.
func (p *InProcess) Connect(c Client) error {
	if p.session.ID != "" {
		p.observe(checks.Event{Kind: checks.Disconnected})
	}
	p.abandoned = checks.Envelope{}
	p.session = checks.Session{
		ID: "simulate", Client: c.Addr, ClientName: c.Name, Local: !c.Addr.IsValid(),
		Macros: map[string]string{"{client_addr}": c.Addr.String()}, // else check tls takes the session for a replay
	}
	p.run = p.Pipeline.NewRun(&p.session)
	p.judge(checks.Connect)
	return nil
}

// Helo implements Player.
func (p *InProcess) Helo(name string, tls bool) error {
	p.abandoned, p.session.Envelope = checks.Envelope{}, checks.Envelope{}
	p.session.SetHelo(name, tls)
	if tls {
		p.session.Macros["{tls_version}"] = "TLSv1.3"
	}
	p.judge(checks.Helo)
	return nil
}

// Mail implements Player.
func (p *InProcess) Mail(path, user string) ([]string, error) {
	if p.abandoned.Rcpts != nil {
		p.observe(checks.Event{Kind: checks.Reset, Reset: p.abandoned})
		p.abandoned = checks.Envelope{}
	}
	p.session.AuthUser = user
	p.session.Envelope = checks.Envelope{MailFrom: checks.ParseAddress(path)}
	return p.judge(checks.MailFrom), nil
}

// Rcpt implements Player.
func (p *InProcess) Rcpt(path string) ([]string, error) {
	e := &p.session.Envelope
	e.Rcpts = append(e.Rcpts, checks.Recipient{Address: checks.ParseAddress(path)})
	return p.judge(checks.RcptTo), nil
}

// Message implements Player.
func (p *InProcess) Message(header []headers.Field, body string) ([]string, error) {
	p.session.Time, p.session.Envelope.Header = p.Clock(), header
	if w := p.run.BeginBody(); w != nil {
		if _, err := io.WriteString(w, body); err != nil {
			return nil, err
		}
	}
	reply := p.judge(checks.EndOfMessage)
	if reply == nil {
		p.observe(checks.Event{Kind: checks.Accepted})
	}
	return reply, nil
}

// Reset implements Player.
func (p *InProcess) Reset() error {
	p.abandoned, p.session.Envelope = p.session.Envelope, checks.Envelope{}
	return nil
}

// Close implements Player.
func (p *InProcess) Close() error { return nil }

// judge runs a stage and returns the reply.
func (p *InProcess) judge(st checks.Stage) []string {
	p.session.Time = p.Clock()
	d := p.run.Judge(context.Background(), st)
	if p.Decided != nil {
		p.Decided(p.run.Request(), d)
	}
	if d.Reply == nil {
		return nil
	}
	return d.Reply.Lines()
}

func (p *InProcess) observe(e checks.Event) {
	p.session.Time = p.Clock()
	p.run.Observe(context.Background(), e)
}
