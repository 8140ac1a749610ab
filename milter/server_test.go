package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/headers"
	"milterd/milter/miltertest"
)

// scripted is a check that asks a function.
type scripted func(*checks.Request) ([]checks.Verdict, error)

func (f scripted) Check(_ context.Context, s *checks.Request) ([]checks.Verdict, error) { return f(s) }

var refuse = &checks.Reason{ID: "refused", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no: {said}"}}

func say(what string) ([]checks.Verdict, error) {
	return []checks.Verdict{{Reason: refuse, Detail: map[string]string{"said": what}}}, nil
}

// record is a Journal that remembers.
type record struct {
	mu       sync.Mutex
	accepted []checks.Envelope
	sessions []checks.Session // as they were at each decision
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

// start runs a server with one check that runs at RCPT and at the end of the header.
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
	inst := checks.Instance{Info: checks.Info{Name: "scripted", Stages: []checks.Stage{checks.RcptTo, checks.EndOfHeader}, Reasons: []*checks.Reason{refuse}}, Check: check}
	p, err := checks.New([]checks.Instance{inst}, checks.Options{
		Actions: map[string]checks.Action{"refused": checks.Reject}, ReplyAt: checks.RcptTo, Budget: 8 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
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

// dialer is one MTA that fails the test on the first error.
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

func TestSessionOutlivesRefusals(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, func(s *checks.Request) ([]checks.Verdict, error) {
		if s.Stage == checks.RcptTo && strings.HasPrefix(s.Rcpt().Text, "bad") {
			return say(s.Helo + " from " + s.Client.String())
		}
		return nil, nil
	})
	d := dial(t, address)
	d.hello()
	for range 2 {
		d.must(d.Mail("<a@example.net>", map[string]string{}))
		want(t, "bad", d.rcpt("<bad@example.org>"), "550 5.7.1 no: mail.example.net from 192.0.2.9")
		want(t, "good", d.rcpt("<good@example.org>"), "")
		want(t, "bad again", d.rcpt("<bad2@example.org>"), "550 5.7.1 no: mail.example.net from 192.0.2.9")
		d.must(d.Header("Subject", " hi"))
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(map[string]string{"i": "Q1"}))
	}
	if len(journal.accepted) != 2 {
		t.Fatalf("%d messages accepted", len(journal.accepted))
	}
	for _, e := range journal.accepted {
		if len(e.Rcpts) != 3 || len(e.Header) != 1 || e.QueueID != "Q1" {
			t.Errorf("got %+v: fields or recipients of another message, or lost", e)
		}
	}
}

// TestTooManyForgedResults: more fields that claim to be ours than the MTA could be rid of defer the message, and no more is kept
// of them; the next message has nothing to do with that.
func TestTooManyForgedResults(t *testing.T) {
	t.Parallel()
	p, err := checks.New(nil, checks.Options{
		ReplyAt: checks.RcptTo, Budget: 8 * time.Second,
		TraceFields: checks.TraceFields{AuthServID: "mx.example.org", AuthenticationResults: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	address, _, journal := start(t, func(srv *Server) { srv.Pipeline = func() *checks.Pipeline { return p } }, accept)
	d := dial(t, address)
	d.hello()
	for _, c := range []struct {
		forged int
		want   string
	}{
		{maxForged, ""},
		{maxForged + 1, "451 4.6.0 too many Authentication-Results fields that claim to be this host's"},
		{100 * maxForged, "451 4.6.0 too many Authentication-Results fields that claim to be this host's"},
		{1, ""},
	} {
		d.must(d.Mail("<a@example.net>", map[string]string{}))
		d.rcpt("<good@example.org>")
		for range c.forged {
			d.must(d.Header("Authentication-Results", " mx.example.org; spf=pass"))
			d.must(d.Header("Authentication-Results", " other.example; spf=pass"))
		}
		d.must(d.EndOfHeader(nil))
		r := d.must(d.EndOfMessage(map[string]string{"i": "Q1"}))
		want(t, fmt.Sprint(c.forged, " forged"), strings.Join(r.Lines, "|"), c.want)
	}
	if len(journal.accepted) != 2 {
		t.Errorf("%d messages accepted, want 2", len(journal.accepted))
	}
}

// TestMacrosEndWithTheTransaction: Postfix sends no packet of macros where it knows of none, as for MAIL before there is a queue file.
// Those of the transaction before it, which it has aborted, would be taken for the new one's.
func TestMacrosEndWithTheTransaction(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	for _, c := range []struct {
		name       string
		mail, rcpt map[string]string // macros; nil: no such command
	}{
		{"after MAIL", map[string]string{"i": "Q1", "{auth_authen}": "bob"}, nil},
		{"after RCPT", map[string]string{}, map[string]string{"i": "Q1", "{rcpt_mailer}": "local"}},
		{"after a recipient that the MTA refused", map[string]string{}, map[string]string{"i": "Q1", "{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}},
	} {
		d := dial(t, address)
		d.hello()
		d.must(d.Mail("<a@example.net>", c.mail))
		if c.rcpt != nil {
			d.must(d.Rcpt("<u@example.org>", c.rcpt))
		}
		if err := d.Abort(); err != nil {
			t.Fatal(err)
		}
		d.must(d.Mail("<b@example.net>", nil))
		d.must(d.Rcpt("<v@example.org>", nil))
		s := journal.last()
		if e := s.Envelope; s.AuthUser != "" || e.QueueID != "" || len(e.Rcpts) != 1 || e.Rcpts[0].Refused != "" {
			t.Errorf("%s: user %q, queue id %q, recipients %+v", c.name, s.AuthUser, e.QueueID, e.Rcpts)
		}
	}
}

// TestMacrosKeepNoPackets has macros in packets as long as they may be.
func TestMacrosKeepNoPackets(t *testing.T) { // not parallel: it looks at all of the heap
	s := &session{Session: checks.Session{}}
	inUse := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	for i := range maxMacros / 2 {
		s.takeMacros(fmt.Sprintf("m%d\x00value\x00long\x00%s\x00", i, strings.Repeat("x", maxPacket-100)))
		s.merge()
	}
	if grown := inUse() - before; grown > 10<<20 || s.Macros.Get("m7") != "value" || s.Macros.Get("long") != "" {
		t.Errorf("%d octets kept, m7=%q", grown, s.Macros.Get("m7"))
	}
}

func TestAMessageWithoutATransactionIsNone(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	for _, protocol := range []gomilter.OptProtocol{miltertest.AllProtocol, miltertest.AllProtocol &^ gomilter.OptNoEOHReply} {
		d := dialOffering(t, address, protocol)
		d.must(d.Header("X-A", " b"))
		d.must(d.EndOfHeader(nil))
		want(t, "message", strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), "")
	}
	if n := len(journal.accepted); n > 0 {
		t.Errorf("%d messages were accepted", n)
	}
}

// TestLongFields has fields that do not fit into the buffer, and one that no MTA sends.
func TestLongFields(t *testing.T) {
	t.Parallel()
	for _, length := range []int{10, readBuffer - 10, readBuffer, readBuffer + 10, 100_000} {
		for name, value := range map[string]string{"plain": strings.Repeat("x", length), "with a NUL": "a\x00" + strings.Repeat("x", length)} {
			t.Run(fmt.Sprint(name, " ", length), func(t *testing.T) {
				t.Parallel()
				address, _, journal := start(t, nil, accept)
				d := dial(t, address)
				d.hello()
				d.must(d.Mail("<>", nil))
				d.rcpt("<u@example.org>")
				d.must(d.Header("X-A", value))
				d.must(d.Header("X-B", "b"))
				d.must(d.EndOfHeader(nil))
				want(t, "message", strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), "")
				if h := journal.last().Envelope.Header; len(h) != 2 || h[0].Value != value || h[1].Value != "b" {
					t.Errorf("%d fields, the first of %d octets", len(h), len(h[0].Value))
				}
			})
		}
	}
}

func TestHeaderRefusalEndsTheTransaction(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, func(s *checks.Request) ([]checks.Verdict, error) {
		if s.Stage == checks.EndOfHeader {
			return say(s.Envelope.Header[0].Name + s.Envelope.Header[0].Value)
		}
		return nil, nil
	})
	for _, c := range []struct {
		name            string
		offer           gomilter.OptProtocol
		header, message string // replies at their ends
	}{
		{"told at the end of the message", miltertest.AllProtocol, "", "550 5.7.1 no: X-A 100% b"},
		{"an MTA that waits at the end of the header", miltertest.AllProtocol &^ gomilter.OptNoEOHReply, "550 5.7.1 no: X-A 100% b", ""},
	} {
		d := dialOffering(t, address, c.offer)
		d.hello()
		for range 2 { // as Sendmail: no ABORT after a refused message
			d.must(d.Mail("<>", nil))
			d.rcpt("<u@example.org>")
			d.must(d.Header("X-A", " 100%\n\tb"))
			r := d.must(d.EndOfHeader(nil))
			want(t, c.name, strings.Join(r.Lines, "|"), c.header)
			if c.message != "" {
				r := d.must(d.EndOfMessage(nil))
				want(t, c.name, strings.Join(r.Lines, "|"), c.message)
			}
		}
		if s := journal.last(); len(s.Envelope.Header) != 1 {
			t.Errorf("%s: the second message has %d fields", c.name, len(s.Envelope.Header))
		}
	}
}

func TestWhatTheMTATells(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	for _, c := range []struct {
		name    string
		connect map[string]string
		client  netip.AddrPort
		host    string
		check   func(s checks.Session) bool
	}{
		{"IPv6 as Postfix writes it", nil, netip.MustParseAddrPort("[2001:db8::7]:25"), "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("2001:db8::7") }},
		{"a mapped address is an IPv4 one", nil, netip.MustParseAddrPort("[::ffff:192.0.2.1]:25"), "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("192.0.2.1") }},
		{"a local submission", nil, netip.AddrPort{}, "localhost", func(s checks.Session) bool { return s.Local }},
		{"an unknown client is not local", nil, netip.AddrPort{}, "unknown", func(s checks.Session) bool { return !s.Local && !s.Client.IsValid() }},
		{"an address in macros alone, as IPv6 in Sendmail", map[string]string{"{client_addr}": "IPv6:2001:db8:0:0:0:0:0:7"}, netip.AddrPort{}, "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("2001:db8::7") }},
		{"in the underscore macro alone", map[string]string{"_": "x [192.0.2.77] (may be forged)"}, netip.AddrPort{}, "x", func(s checks.Session) bool { return s.Client == netip.MustParseAddr("192.0.2.77") }},
	} {
		d := dial(t, address)
		d.must(d.Connect(c.host, c.client, c.connect))
		d.must(d.Helo("h", nil))
		d.must(d.Mail("<a@example.net>", map[string]string{"{auth_authen}": "bob"}))
		d.rcpt("<u@example.org>")
		if s := journal.last(); !c.check(s) || s.AuthUser != "bob" {
			t.Errorf("%s: got client %v, local %v, user %q", c.name, s.Client, s.Local, s.AuthUser)
		}
		d.must(d.Mail("<a@example.net>", map[string]string{"{x}": "y"}))
		d.rcpt("<u@example.org>")
		if s := journal.last(); s.AuthUser != "" {
			t.Errorf("%s: the user of the message before", c.name)
		}
	}
}

func TestHeloAfterStartTLS(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	d := dial(t, address)
	d.must(d.Connect("x", client, map[string]string{}))
	tls := map[string]string{"{tls_version}": "TLSv1.3"}
	for _, st := range []struct {
		name     string
		macros   map[string]string
		previous string
	}{
		{"a.example", map[string]string{}, ""},
		{"b.example", tls, ""},
		{"c.example", tls, "b.example"},
	} {
		d.must(d.Helo(st.name, st.macros))
		d.Abort()
		d.must(d.Mail("<>", nil))
		d.rcpt("<u@example.org>")
		if s := journal.last(); s.Helo != st.name || s.PreviousHelo != st.previous {
			t.Errorf("got %q after %q, want %q after %q", s.Helo, s.PreviousHelo, st.name, st.previous)
		}
	}
}

func TestRecipientsTheMTARefused(t *testing.T) {
	t.Parallel()
	asked := 0
	address, _, journal := start(t, nil, func(s *checks.Request) ([]checks.Verdict, error) { asked++; return say("x") })
	d := dial(t, address)
	d.hello()
	d.must(d.Mail("<a@example.net>", nil))
	r := d.must(d.Rcpt("<nobody@example.org>", map[string]string{"{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}))
	if r.Refused() || asked != 0 {
		t.Errorf("got %v, %d questions", r, asked)
	}
	d.rcpt("<u@example.org>")
	if s := journal.last(); s.Envelope.Rcpts[0].Refused != "5.1.1" {
		t.Errorf("got %+v", s.Envelope.Rcpts)
	}
}

func TestFieldsComeAsTheyWere(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*readBuffer)
	want := []headers.Field{
		{Name: "Subject", Value: " short"}, {Name: "X-Long", Value: long}, {Name: "X-Empty"},
		{Name: "X-Almost", Value: long[:readBuffer-15]}, {Name: "X-Folded", Value: " a\n\tb"}, {Name: "", Value: "no name"},
	}
	address, _, journal := start(t, nil, accept)
	d := dial(t, address)
	d.hello()
	for i := range 2 {
		d.must(d.Mail("<a@example.net>", map[string]string{}))
		d.rcpt("<u@example.org>")
		for _, f := range want {
			d.Macros(gomilter.CodeHeader, map[string]string{"i": "Q"})
			d.must(d.Header(f.Name, f.Value))
		}
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(nil))
		if got := journal.accepted[i].Header; !slices.Equal(got, want) {
			t.Errorf("message %d: got %.80q, want %.80q", i, got, want)
		}
	}
}

func TestAnOldMTAGetsEveryAnswer(t *testing.T) {
	t.Parallel()
	address, _, journal := start(t, nil, accept)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	d := dialer{miltertest.NewConn(c, 5*time.Second), t}
	defer d.Close()
	if err := d.Negotiate(0, 0); err != nil {
		t.Fatal(err)
	}
	if d.Protocol != 0 {
		t.Fatalf("chose %#x of nothing", d.Protocol)
	}
	d.hello()
	d.must(d.Mail("<a@example.net>", map[string]string{}))
	d.rcpt("<u@example.org>")
	d.must(d.Header("Subject", " x"))
	d.must(d.EndOfHeader(nil))
	d.must(d.Body([]byte("text")))
	d.must(d.EndOfMessage(nil))
	if len(journal.accepted) != 1 {
		t.Error("not accepted")
	}
}

func TestOnlyWhatIsNeededIsAskedFor(t *testing.T) {
	t.Parallel()
	address, _, _ := start(t, nil, accept)
	d := dial(t, address)
	for _, opt := range []gomilter.OptProtocol{gomilter.OptNoBody, gomilter.OptNoConnReply, gomilter.OptNoHeloReply, gomilter.OptNoMailReply, gomilter.OptNoHeaderReply, gomilter.OptRcptRej, gomilter.OptHeaderLeadingSpace} {
		if d.Protocol&opt == 0 {
			t.Errorf("option %#x is not asked for", uint32(opt))
		}
	}
	if len(d.Symbols[gomilter.StageConnect]) == 0 {
		t.Error("no macros asked for")
	}
}

func TestPanicsBecomeATemporaryReply(t *testing.T) {
	t.Parallel()
	address, _, _ := start(t, func(s *Server) { s.Journal = panicking{} }, accept)
	d := dial(t, address)
	d.must(d.Mail("<a@example.net>", nil))
	want(t, "reply", d.rcpt("<u@example.org>"), "451 4.3.0 internal error of the mail filter, please try again later")
}

type panicking struct{}

func (panicking) Decided(*checks.Request, checks.Decision) { panic("bug") }
func (panicking) Accepted(*checks.Request)                 { panic("bug") }

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, func(s *Server) { s.MaxConnections = 2 }, accept)
	one, two := dial(t, address), dial(t, address)
	one.hello()
	two.hello()
	three := dial(t, address)
	r := three.must(three.Connect("x", client, nil))
	if len(r.Lines) != 1 || !strings.HasPrefix(r.Lines[0], "451 4.3.2 ") {
		t.Errorf("got %+v", r)
	}
	three.Quit()
	one.Quit()
	eventually(t, "the connections end", func() bool { return srv.Connections() == 1 })
	four := dial(t, address)
	if r := four.must(four.Connect("x", client, nil)); r.Refused() {
		t.Error("refused though there is room again")
	}
}

// TestFarTooManyConnections: what is closed at once gives its buffer back. A flood of such connections would else be one of memory to
// be cleaned up.
func TestFarTooManyConnections(t *testing.T) { // not parallel: it counts the buffers of all
	log := logrus.New()
	log.SetOutput(io.Discard)
	srv := &Server{MaxConnections: 1, Log: logrus.NewEntry(log)}
	for range MostConnections(srv.MaxConnections) {
		srv.admit(&conn{})
	}
	made := 0
	fresh := readers.New
	readers.New = func() any { made++; return fresh() }
	defer func() { readers.New = fresh }()
	runtime.GC() // twice, and nothing is left in the pool
	runtime.GC()
	const n = 400
	for range n {
		ours, theirs := net.Pipe()
		srv.open(theirs)
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("it is not closed: %v", err)
		}
	}
	// With the race detector a pool loses one of four on purpose.
	if made > n/2 {
		t.Errorf("%d connections took %d new buffers", n, made)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		runtime.Gosched()
	}
}

func TestShutdownLetsTheMessageInFlightEnd(t *testing.T) {
	t.Parallel()
	inCheck, goOn := make(chan struct{}), make(chan struct{})
	briefly := func(s *Server) { s.Linger = 10 * time.Millisecond }
	address, srv, journal := start(t, briefly, func(s *checks.Request) ([]checks.Verdict, error) {
		if s.Stage == checks.RcptTo {
			close(inCheck)
			<-goOn
		}
		return nil, nil
	})
	idle := dial(t, address)
	idle.hello()
	busy := dial(t, address)
	busy.hello()
	busy.must(busy.Mail("<a@example.net>", nil))
	result := make(chan miltertest.Response)
	go func() {
		r, _ := busy.Rcpt("<u@example.org>", nil)
		result <- r
	}()
	<-inCheck
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // else a connection that stays would hold the test for hours
	defer cancel()
	down := make(chan error)
	go func() { down <- srv.Shutdown(ctx) }()
	if _, _, err := idle.Receive(); err == nil {
		t.Error("the idle connection goes on")
	}
	if _, err := net.Dial("tcp", address); err == nil {
		eventually(t, "the listener closes", func() bool { _, err := net.Dial("tcp", address); return err != nil })
	}
	close(goOn)
	if r := <-result; r.Refused() {
		t.Errorf("got %v", r)
	}
	busy.must(busy.EndOfHeader(nil))
	busy.must(busy.EndOfMessage(nil))
	if err := <-down; err != nil {
		t.Error(err)
	}
	if len(journal.accepted) != 1 {
		t.Error("the message was lost")
	}
}

func TestShutdownLetsTheSessionInFlightEnd(t *testing.T) {
	t.Parallel()
	address, srv, journal := start(t, func(s *Server) { s.Linger = time.Minute }, accept)
	d := dial(t, address)
	d.hello()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	down := make(chan error)
	go func() { down <- srv.Shutdown(ctx) }()
	eventually(t, "the listener closes", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for range 2 {
		d.must(d.Mail("<a@example.net>", nil))
		d.rcpt("<u@example.org>")
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(nil))
	}
	if err := d.Quit(); err != nil {
		t.Error(err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if len(journal.accepted) != 2 {
		t.Errorf("%d messages were accepted", len(journal.accepted))
	}
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, nil, accept)
	d := dial(t, address)
	d.must(d.Mail("<a@example.net>", nil))
	d.rcpt("<u@example.org>")
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestSlowPacketsEnd(t *testing.T) {
	t.Parallel()
	address, srv, _ := start(t, func(s *Server) { s.PacketTimeout = 20 * time.Millisecond }, accept)
	for _, start := range []string{"\x00\x00", "\x00\x00\x00\x0dO"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte(start))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%q was answered", start)
		}
	}
	d := dial(t, address)
	d.Send(gomilter.CodeHelo, []byte("x\x00"))
	eventually(t, "the server has only the good connection", func() bool { return srv.Connections() == 1 })
}
