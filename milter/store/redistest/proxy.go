package redistest

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Mode is how a proxy treats connections.
type Mode int

// Modes of a proxy. Each holds for connections there are and for those to come.
const (
	Pass  Mode = iota // all is forwarded
	Stall             // connections are taken, and nothing is forwarded
	Cut               // connections are closed
)

// Proxy is a TCP address in front of a server. It is safe for concurrent use.
type Proxy struct {
	Addr   string
	Chunks atomic.Int64 // of what clients sent, as read: a pipeline of commands is one

	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	turn  sync.Cond // the mode has changed
	mode  Mode
	conns map[net.Conn]bool
}

// NewProxy makes a proxy on a free port of the loopback interface, which lasts as long as the test. With a certificate it
// speaks TLS to clients.
func NewProxy(t testing.TB, s *Server, certs ...tls.Certificate) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: s.Socket, listener: l, conns: map[net.Conn]bool{}}
	if len(certs) > 0 {
		p.listener = tls.NewListener(l, &tls.Config{Certificates: certs})
	}
	p.turn.L = &p.mu
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Set(Cut)
		p.running.Wait()
	})
	return p
}

// Set changes the mode.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	if m == Cut {
		for c := range p.conns {
			c.Close()
		}
	}
	p.turn.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve connects a client with the server.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.keep(client) {
		return
	}
	defer p.forget(client)
	server, err := net.Dial("unix", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(server) {
		return
	}
	defer p.forget(server)
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		p.copy(client, server, nil)
	})
	p.copy(server, client, &p.Chunks)
	server.Close()
	back.Wait()
}

// copy forwards until one of the two is closed.
func (p *Proxy) copy(to, from net.Conn, chunks *atomic.Int64) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !p.await() {
			return
		}
		if chunks != nil {
			chunks.Add(1)
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// await returns when something may be forwarded; false: nothing may, ever.
func (p *Proxy) await() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mode == Stall {
		p.turn.Wait()
	}
	return p.mode == Pass
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == Cut {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
