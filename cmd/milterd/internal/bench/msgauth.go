package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/textproto"
	"strings"
	"sync"

	gomilter "github.com/emersion/go-milter"
	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"
)

// serveMsgauth serves the least that a DKIM filter with the libraries go-milter and go-msgauth costs: it keeps the message in
// memory and verifies its signatures at the end. It keeps key records for ever, and does nothing else.
func serveMsgauth(ln net.Listener, dnsServer string) error {
	keys := &keys{server: dnsServer}
	srv := gomilter.Server{
		Actions: gomilter.OptAddHeader | gomilter.OptChangeHeader,
		Protocol: gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoHeaderReply | gomilter.OptNoEOHReply |
			gomilter.OptNoBodyReply,
		NewMilter: func() gomilter.Milter { return &verifier{keys: keys} },
	}
	return srv.Serve(buffered{ln})
}

// buffered is a listener of connections with a read buffer. go-milter reads each packet with two calls.
type buffered struct{ net.Listener }

// Accept implements net.Listener.
func (l buffered) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return bufferedConn{Conn: c, r: bufio.NewReaderSize(c, 2<<10)}, nil
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

// Read implements net.Conn.
func (c bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// verifier is the filter of one connection.
type verifier struct {
	gomilter.NoOpMilter
	keys    *keys
	message bytes.Buffer
}

// Connect implements gomilter.Milter. There is no response, as negotiated; likewise in Helo, Header, Headers and BodyChunk.
func (v *verifier) Connect(string, string, uint16, net.IP, *gomilter.Modifier) (gomilter.Response, error) {
	return nil, nil
}

// Helo implements gomilter.Milter.
func (v *verifier) Helo(string, *gomilter.Modifier) (gomilter.Response, error) { return nil, nil }

// Header implements gomilter.Milter.
func (v *verifier) Header(name, value string, _ *gomilter.Modifier) (gomilter.Response, error) {
	v.message.WriteString(name + ": " + strings.ReplaceAll(value, "\n", "\r\n") + "\r\n")
	return nil, nil
}

// Headers implements gomilter.Milter.
func (v *verifier) Headers(textproto.MIMEHeader, *gomilter.Modifier) (gomilter.Response, error) {
	v.message.WriteString("\r\n")
	return nil, nil
}

// BodyChunk implements gomilter.Milter.
func (v *verifier) BodyChunk(chunk []byte, _ *gomilter.Modifier) (gomilter.Response, error) {
	v.message.Write(chunk)
	return nil, nil
}

// Body implements gomilter.Milter. It adds the results to the message.
func (v *verifier) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	defer v.message.Reset()
	list, err := dkim.VerifyWithOptions(&v.message, &dkim.VerifyOptions{LookupTXT: v.keys.lookup, MaxVerifications: 5})
	if err != nil {
		return nil, err
	}
	var results []authres.Result
	for _, res := range list {
		value := authres.ResultValue(authres.ResultPass)
		if res.Err != nil {
			value = authres.ResultFail
		}
		results = append(results, &authres.DKIMResult{Value: value, Domain: res.Domain})
	}
	if err := m.InsertHeader(0, "Authentication-Results", authres.Format("mx.site.example", results)); err != nil {
		return nil, err
	}
	return gomilter.RespContinue, nil
}

// Abort implements gomilter.Milter.
func (v *verifier) Abort(*gomilter.Modifier) error {
	v.message.Reset()
	return nil
}

// keys has the key records found so far.
type keys struct {
	server string
	found  sync.Map
	idle   sync.Pool // of *dns.Conn
}

// lookup returns the TXT records of a name.
func (k *keys) lookup(name string) ([]string, error) {
	if list, ok := k.found.Load(name); ok {
		return list.([]string), nil
	}
	conn, _ := k.idle.Get().(*dns.Conn)
	if conn == nil {
		c, err := net.Dial("udp", k.server)
		if err != nil {
			return nil, err
		}
		conn = &dns.Conn{Conn: c}
	}
	answer, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	k.idle.Put(conn)
	var list []string
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			list = append(list, strings.Join(txt.Txt, ""))
		}
	}
	if list == nil {
		return nil, errors.New("no key record")
	}
	k.found.Store(name, list)
	return list, nil
}
