package redistest

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Mode is how a proxy handles connections.
type Mode int

// Modes of a proxy, for existing and new connections.
const (
	Pass  Mode = iota // forward
	Stall             // accept connections, but forward nothing
	Cut               // close connections
)

// Proxy forwards TCP connections to a server. It is safe for concurrent use.
type Proxy struct {
	Addr   string
	Chunks atomic.Int64 // reads of data from clients; a pipeline of commands is one

	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond // of mode
	mode    Mode
	conns   map[net.Conn]bool
}

// NewProxy starts a proxy on a free port of the loopback interface. It is closed at the end of the test. With a
// certificate it uses TLS for clients.
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
	p.changed.L = &p.mu
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
	p.changed.Broadcast()
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

// serve forwards between a client and the server.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.add(client) {
		return
	}
	defer p.remove(client)
	server, err := net.Dial("unix", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.add(server) {
		return
	}
	defer p.remove(server)
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		p.copy(client, server, nil)
	})
	p.copy(server, client, &p.Chunks)
	server.Close()
	back.Wait()
}

// copy forwards data from one connection to another until one of them is closed.
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

// await waits while the mode is Stall. It returns false if the connection must be closed.
func (p *Proxy) await() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mode == Stall {
		p.changed.Wait()
	}
	return p.mode == Pass
}

// add adds a connection for Set to close. It returns false if the connection must be closed now.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == Cut {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
