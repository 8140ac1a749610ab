package milter

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// scripted is a check made from a function.
type scripted func(*checks.Request) ([]checks.Verdict, error)

func (f scripted) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) { return f(r) }

var refuse = &checks.Reason{ID: "refused", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no: {said}"}}

func say(what string) ([]checks.Verdict, error) {
	return []checks.Verdict{{Reason: refuse, Detail: map[string]string{"said": what}}}, nil
}

// record is a Journal that keeps what it receives.
type record struct {
	mu       sync.Mutex
	accepted []checks.Envelope
	sessions []checks.Session // copies at each decision
}

func (r *record) Decided(s *checks.Request, _ checks.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := *s.Session
	c.Envelope.Rcpts = append([]checks.Recipient(nil), s.Envelope.Rcpts...)
	r.sessions = append(r.sessions, c)
}

func (r *record) Accepted(s *checks.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepted = append(r.accepted, s.Envelope)
}

func (r *record) last() checks.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[len(r.sessions)-1]
}

// start starts a server with one check that runs at RcptTo and EndOfHeader.
func start(t testing.TB, change func(*Server), check scripted) (address string, srv *Server, journal *record) {
	t.Helper()
	return startWith(t, change, check)
}

func startWith(t testing.TB, change func(*Server), check checks.Check) (address string, srv *Server, journal *record) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, journal = startOn(t, ln, change, check)
	return ln.Addr().String(), srv, journal
}

func startOn(t testing.TB, ln net.Listener, change func(*Server), check checks.Check) (srv *Server, journal *record) {
	t.Helper()
	return serveOn(t, ln, change, newPipeline(t, checks.Info{Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}}, check, nil))
}

// startPipeline starts a server with a pipeline that newPipeline returns.
func startPipeline(t testing.TB, info checks.Info, check checks.Check, body func(*checks.Request) io.Writer) (address string, srv *Server, journal *record) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, journal = serveOn(t, ln, nil, newPipeline(t, info, check, body))
	return ln.Addr().String(), srv, journal
}

// newPipeline returns a pipeline of one check with the reason refuse.
func newPipeline(t testing.TB, info checks.Info, check checks.Check, body func(*checks.Request) io.Writer) *checks.Pipeline {
	t.Helper()
	info.Name, info.Reasons = "scripted", []*checks.Reason{refuse}
	p, err := checks.New([]checks.Instance{{Info: info, Check: check}}, checks.Options{
		Actions: map[string]checks.Action{"refused": checks.Reject}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second, Body: body,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func serveOn(t testing.TB, ln net.Listener, change func(*Server), p *checks.Pipeline) (srv *Server, journal *record) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	journal = &record{}
	srv = &Server{
		Pipeline: func() *checks.Pipeline { return p }, Journal: journal, Log: logrus.NewEntry(log),
		NewID: func() string { return "id" },
	}
	if change != nil {
		change(srv)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		srv.Shutdown(ctx)
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return srv, journal
}

func accept(*checks.Request) ([]checks.Verdict, error) { return nil, nil }

// dialer is a connection of an MTA. It fails the test at the first error.
type dialer struct {
	*miltertest.Conn
	t testing.TB
}

func dial(t testing.TB, address string) dialer {
	t.Helper()
	return dialOffering(t, address, miltertest.AllProtocol)
}

func dialOffering(t testing.TB, address string, protocol gomilter.OptProtocol) dialer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return dialOn(t, c, protocol)
}

func dialOn(t testing.TB, c net.Conn, protocol gomilter.OptProtocol) dialer {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	m := miltertest.NewConn(c, 10*time.Second)
	if err := m.Negotiate(miltertest.AllActions, protocol); err != nil {
		t.Fatal(err)
	}
	return dialer{m, t}
}

func (d dialer) must(r miltertest.Response, err error) miltertest.Response {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

var client = netip.MustParseAddrPort("192.0.2.9:4711")

func (d dialer) hello() {
	d.t.Helper()
	d.must(d.Connect("mail.example.net", client, map[string]string{"j": "mx"}))
	d.must(d.Helo("mail.example.net", map[string]string{}))
}

func (d dialer) rcpt(to string) string {
	d.t.Helper()
	r := d.must(d.Rcpt(to, map[string]string{"i": "Q1", "{rcpt_mailer}": "local"}))
	return strings.Join(r.Lines, "|")
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
