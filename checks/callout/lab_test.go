package callout

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/headers"
)

// server is a mail host with a script. Its users exist, other addresses do not.
type server struct {
	users []string
	// says has its replies, by "greeting" or the beginning of a command: the longest that matches. Lines are separated by
	// "\n". "!" and a word are something else than a reply, see act.
	says map[string]string
	// pause is the time before each reply.
	pause time.Duration
	// cert makes the server offer STARTTLS.
	cert *tls.Certificate
}

// lab is a network of mail hosts with a check, on the clock of a synctest bubble.
type lab struct {
	t       testing.TB
	env     checks.Env
	store   *checktest.Store
	c       *check
	servers map[string]*server // by address

	mu     sync.Mutex
	dialed []string // addresses
	heard  []string // commands that the servers received
	open   int      // connections
}

func defaults() Settings {
	return Info.Default.(Settings)
}

// newLab returns a lab whose connections lead to the servers. An address without a server refuses connections.
func newLab(t testing.TB, zone string, servers map[string]*server, change func(*Settings)) *lab {
	t.Helper()
	l := &lab{t: t, env: checktest.Env(t, zone), servers: servers, store: checktest.NewStore(time.Now)}
	l.env.Store = l.store
	s := defaults()
	if change != nil {
		change(&s)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	l.c = l.daemon(s)
	return l
}

// daemon returns another check with the same network and store.
func (l *lab) daemon(s Settings) *check {
	l.t.Helper()
	c := build(s, l.env)
	c.env.Dial = l.dial
	c.random = func() string { return randomPrefix + "x" }
	return c
}

// set puts another server at an address.
func (l *lab) set(addr string, s *server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.servers[addr] = s
}

func (l *lab) dial(ctx context.Context, _, address string) (net.Conn, error) {
	to := netip.MustParseAddrPort(address)
	l.mu.Lock()
	l.dialed = append(l.dialed, to.String())
	s := l.servers[to.Addr().String()]
	l.mu.Unlock()
	if s == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if s.says["connect"] == "!silent" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	go l.serve(s, theirs)
	return ours, nil
}

func (l *lab) serve(s *server, conn net.Conn) {
	l.count(1)
	defer func() { conn.Close(); l.count(-1) }()
	in := bufio.NewReader(conn)
	say, secured := "greeting", false
	for {
		time.Sleep(s.pause)
		reply := s.reply(say, secured)
		if word, special := strings.CutPrefix(reply, "!"); special {
			act(word, conn, in)
			return
		}
		if _, err := io.WriteString(conn, strings.ReplaceAll(reply, "\n", "\r\n")+"\r\n"); err != nil || strings.HasPrefix(reply, "221") || strings.HasPrefix(reply, "421") {
			return
		}
		if say == "STARTTLS" && strings.HasPrefix(reply, "220") {
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
			in, secured = bufio.NewReader(conn), true
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		say = strings.TrimSuffix(line, "\r\n")
		l.mu.Lock()
		l.heard = append(l.heard, say)
		l.mu.Unlock()
	}
}

// act does something other than a reply.
func act(word string, conn net.Conn, in *bufio.Reader) {
	repeat := func(text string, every time.Duration) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
			time.Sleep(every)
		}
	}
	switch word {
	case "silent":
		_, _ = io.Copy(io.Discard, in)
	case "endless":
		repeat(strings.Repeat("2", 100), 0)
	case "lines":
		repeat("250-more\r\n", 0)
	case "drip":
		repeat("2", 5*time.Second)
	case "half":
		_, _ = io.WriteString(conn, "250 half a li")
	case "hang":
		_, _ = io.WriteString(conn, "220 go ahead\r\n")
		_, _ = io.Copy(io.Discard, in)
	case "early":
		_, _ = io.WriteString(conn, "220 go ahead\r\n250 injected\r\n")
		_, _ = io.Copy(io.Discard, in)
	}
}

func (s *server) reply(say string, secured bool) string {
	best, reply := "", ""
	if secured {
		say = strings.Replace(say, "MAIL", "TLS MAIL", 1)
	}
	for prefix, r := range s.says {
		if strings.HasPrefix(say, prefix) && len(prefix) > len(best) {
			best, reply = prefix, r
		}
	}
	verb, _, _ := strings.Cut(say, " ")
	switch {
	case best != "":
		return reply
	case verb == "greeting":
		return "220 mx.example.net ESMTP"
	case verb == "EHLO" && s.cert != nil && !secured:
		return "250-mx.example.net\n250-SIZE 1000\n250 STARTTLS"
	case verb == "EHLO", verb == "HELO", verb == "MAIL", verb == "TLS", verb == "RSET":
		return "250 2.0.0 OK"
	case verb == "STARTTLS" && s.cert != nil:
		return "220 2.0.0 go ahead"
	case verb == "QUIT":
		return "221 2.0.0 bye"
	case verb == "RCPT":
		path := strings.TrimSuffix(strings.TrimPrefix(say, "RCPT TO:<"), ">")
		if slices.Contains(s.users, path) {
			return "250 2.1.5 OK"
		}
		return "550 5.1.1 <" + path + ">: Recipient address rejected: User unknown"
	}
	return "502 5.5.1 what?"
}

// outcome is the result of the check.
type outcome struct {
	ids    string // of reasons
	detail map[string]string
	err    error
	took   time.Duration
}

// mail runs the check at RCPT, with the budget of a milter.
func (l *lab) mail(from string) outcome { return l.at(l.c, checks.RcptTo, l.session(from)) }

func (l *lab) session(from string) *checks.Request {
	l.t.Helper()
	return checktest.Session{Client: "192.31.196.99", Helo: "out.example.net", MailFrom: from, Time: time.Now()}.Request(l.t)
}

// at runs a check at a stage.
func (l *lab) at(c *check, st checks.Stage, r *checks.Request) outcome {
	l.t.Helper()
	r.Stage = st
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	began := time.Now()
	vs, err := c.Check(ctx, r)
	o := outcome{ids: strings.Join(checktest.IDs(vs), " "), err: err, took: time.Since(began)}
	for _, v := range vs {
		o.detail = v.Detail
		if !slices.Contains(Info.Reasons, v.Reason) {
			l.t.Errorf("undeclared reason %s", v.Reason.ID)
		}
		for _, name := range checktest.Placeholders(v.Reason.Reply.Text) {
			if v.Detail[name] == "" {
				l.t.Errorf("%s: nothing fills {%s}", v.Reason.ID, name)
			}
		}
	}
	return o
}

func (l *lab) want(what string, o outcome, ids string) {
	l.t.Helper()
	if o.ids != ids || o.err != nil {
		l.t.Errorf("%s: got %q %v, error %v; want %q", what, o.ids, o.detail, o.err, ids)
	}
}

// dials returns the number of connections so far.
func (l *lab) dials() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.dialed)
}

func (l *lab) wantDials(what string, n int) {
	l.t.Helper()
	if got := l.dials(); got != n {
		l.t.Errorf("%s: %d connections, want %d: %q", what, got, n, l.dialed)
	}
}

func (l *lab) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open += n
}

// said returns the commands that the servers received.
func (l *lab) said() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.heard, "; ")
}

// bubble runs a test in a synctest bubble. Background work must end within two minutes after the test on the clock of the bubble.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * maxFlight)
		test(t)
	})
}

func field(name, value string) headers.Field { return headers.Field{Name: name, Value: " " + value} }

var certificate = sync.OnceValue(func() *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})
