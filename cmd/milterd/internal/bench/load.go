package main

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/milter/miltertest"
)

// load is a run of messages against a filter over several connections at a time. It sends what Postfix sends: one milter
// connection for each SMTP session, macros before every event, and an abort after each message. A message has 20 header fields,
// and one more if it is signed.
type load struct {
	socket      string
	conns       int           // connections at a time
	perConn     int           // messages on each connection
	hosts       int           // number of hosts that send in turn; 0 for a new one on each connection
	length      time.Duration // of the run
	minSessions int           // the run is longer until it has had so many
	newHost     *atomic.Int64 // number of the last new host
	turn        *atomic.Int64 // number of the next session; nil to begin with 0
	body        string
	signatures  map[int]string // by host: the value of a DKIM-Signature field; nil for unsigned messages
}

// replyTimeout is the time that the filter has for one reply.
const replyTimeout = 30 * time.Second

// stage is an event for whose reply the MTA may have to wait.
type stage int

const (
	negotiation stage = iota
	connect
	helo
	mail
	rcpt
	data
	field
	endOfHeader
	body
	endOfMessage
	message // all of it, from MAIL on; the first of a connection from its beginning on
	allStages
)

// events has the name of each stage in the table, and its codes in the protocol.
var events = [allStages]struct {
	name    string
	code    gomilter.Code
	noReply gomilter.OptProtocol
}{
	negotiation:  {name: "negotiation"},
	connect:      {"connect", gomilter.CodeConn, gomilter.OptNoConnReply},
	helo:         {"helo", gomilter.CodeHelo, gomilter.OptNoHeloReply},
	mail:         {"mail", gomilter.CodeMail, gomilter.OptNoMailReply},
	rcpt:         {"rcpt", gomilter.CodeRcpt, gomilter.OptNoRcptReply},
	data:         {"data", gomilter.CodeData, gomilter.OptNoDataReply},
	field:        {"header field", gomilter.CodeHeader, gomilter.OptNoHeaderReply},
	endOfHeader:  {"end of header", gomilter.CodeEOH, gomilter.OptNoEOHReply},
	body:         {"body", gomilter.CodeBody, gomilter.OptNoBodyReply | gomilter.OptNoBody},
	endOfMessage: {name: "end of message", code: gomilter.CodeEOB},
	message:      {name: "message"},
}

// tally has the counts of one run, or the sums of several.
type tally struct {
	messages int
	refused  int // messages with a 4yz or 5yz reply
	dkimPass int // messages to which the filter added an Authentication-Results field with dkim=pass
	errors   int
	firstErr error
	took     time.Duration
	latency  [allStages]histogram
}

func (t *tally) add(o *tally) {
	t.messages += o.messages
	t.refused += o.refused
	t.dkimPass += o.dkimPass
	t.errors += o.errors
	t.firstErr = cmp.Or(t.firstErr, o.firstErr)
	t.took += o.took
	for i := range t.latency {
		t.latency[i].merge(&o.latency[i])
	}
}

// run sends messages until the time is over, and waits for the end of those that have begun.
func (l load) run() *tally {
	var wg sync.WaitGroup
	turn := cmp.Or(l.turn, new(atomic.Int64))
	first := int(turn.Load())
	tallies := make([]tally, l.conns)
	began := time.Now()
	for i := range tallies {
		wg.Go(func() {
			c := client{load: l, tally: &tallies[i]}
			for {
				n := int(turn.Add(1) - 1)
				if n-first >= l.minSessions && time.Since(began) >= l.length {
					return
				}
				if err := c.session(l.host(n)); err != nil {
					c.errors++
					c.firstErr = err
				}
			}
		})
	}
	wg.Wait()
	sum := new(tally)
	for i := range tallies {
		sum.add(&tallies[i])
	}
	sum.took = time.Since(began)
	return sum
}

// host returns the number of the host that has session n.
func (l load) host(n int) int {
	if l.hosts == 0 {
		return int(l.newHost.Add(1))
	}
	return n % l.hosts
}

// client runs the sessions of a load on one connection at a time.
type client struct {
	load
	*tally
	m       *miltertest.Conn
	refused bool // the current message
	err     error
}

// session opens a connection and sends its messages.
func (c *client) session(host int) error {
	began := time.Now()
	c.open(host)
	if c.err != nil {
		return c.err
	}
	for i := range c.perConn {
		if i > 0 {
			began = time.Now()
		}
		c.message(host, i)
		if c.err != nil {
			c.m.Close()
			return c.err
		}
		c.latency[message].add(time.Since(began))
		c.messages++
		if c.refused {
			c.tally.refused++
		}
		c.m.Send(gomilter.CodeAbort, nil)
	}
	return c.m.Quit()
}

// open opens a connection and sends the events up to HELO.
func (c *client) open(host int) {
	began := time.Now()
	if c.m, c.err = miltertest.Dial("unix", c.socket, replyTimeout); c.err != nil {
		return
	}
	c.latency[negotiation].add(time.Since(began))
	name, addr := heloOf(host), addrOf(host)
	c.refused = false
	c.send(connect, func() (miltertest.Response, error) { return c.m.Connect(name, netip.AddrPortFrom(addr, 40000), nil) },
		"j", "mx.site.example", "_", name+" ["+addr.String()+"]", "{client_addr}", addr.String(), "{client_name}", name,
		"{client_port}", "40000", "{client_ptr}", name, "{daemon_name}", "smtpd", "v", "Postfix 3.7.11")
	c.send(helo, func() (miltertest.Response, error) { return c.m.Helo(name, nil) },
		"{tls_version}", "TLSv1.3", "{cipher}", "TLS_AES_256_GCM_SHA384", "{cipher_bits}", "256")
}

// queue is the queue identifier of all messages.
const queue = "4dDk2p1xQz"

// message sends one message, until the filter refuses it.
func (c *client) message(host, i int) {
	c.begin(host, i)
	c.send(endOfMessage, func() (miltertest.Response, error) {
		r, err := c.m.EndOfMessage(nil)
		if slices.ContainsFunc(r.Changes, isDKIMPass) {
			c.dkimPass++
		}
		return r, err
	}, "i", queue)
}

// begin sends a message without its end.
func (c *client) begin(host, i int) {
	sender := senderOf(host)
	to := fmt.Sprintf("user%d@site.example", (host+i)%500)
	c.refused = false
	c.send(mail, func() (miltertest.Response, error) { return c.m.Mail("<"+sender+">", nil) },
		"i", queue, "{mail_addr}", sender, "{mail_host}", domainOf(host), "{mail_mailer}", "smtp")
	c.send(rcpt, func() (miltertest.Response, error) { return c.m.Rcpt("<"+to+">", nil) },
		"i", queue, "{rcpt_addr}", to, "{rcpt_host}", "site.example", "{rcpt_mailer}", "local")
	if c.refused {
		return
	}
	if c.m.Sends(gomilter.CodeData) {
		c.send(data, func() (miltertest.Response, error) { return c.m.Data(nil) }, "i", queue)
	}
	for _, f := range c.fields(host) {
		c.send(field, func() (miltertest.Response, error) { return c.m.Header(f[0], f[1]) }, "i", queue)
	}
	c.send(endOfHeader, func() (miltertest.Response, error) { return c.m.EndOfHeader(nil) }, "i", queue)
	if c.m.Protocol&gomilter.OptNoBody == 0 {
		c.send(body, func() (miltertest.Response, error) { return c.m.WholeBody(c.load.body) }, "i", queue)
	}
}

// isDKIMPass reports whether a change adds the result dkim=pass.
func isDKIMPass(c miltertest.Change) bool {
	return c.Name == "Authentication-Results" && strings.Contains(c.Value, "dkim=pass")
}

// send sends an event with its macros, which are names and values in turn, and adds the time of the reply to the tally. It does
// nothing after an error or a refusal.
func (c *client) send(st stage, event func() (miltertest.Response, error), macros ...string) {
	if c.err != nil || c.refused {
		return
	}
	began := time.Now()
	c.m.Send(gomilter.CodeMacro, append([]byte{byte(events[st].code)}, strings.Join(macros, "\x00")+"\x00"...))
	r, err := event()
	c.refused, c.err = r.Refused(), err
	if c.m.Protocol&events[st].noReply == 0 {
		c.latency[st].add(time.Since(began))
	}
}

// histogram counts durations in classes of 2 %, from a microsecond to some minutes.
type histogram [1024]uint32

const classesPerE = 50 // the bounds of class i+50 are e times those of class i

func (h *histogram) add(d time.Duration) {
	class := classesPerE * math.Log(max(1, float64(d)/float64(time.Microsecond)))
	h[min(int(class), len(h)-1)]++
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// count returns the number of durations.
func (h *histogram) count() (n int) {
	for _, k := range h {
		n += int(k)
	}
	return n
}

// quantile returns the duration in milliseconds that a share of all does not exceed, or 0 if there are none.
func (h *histogram) quantile(share float64) float64 {
	want, n := share*float64(h.count()), 0.0
	for i, k := range h {
		if n += float64(k); k > 0 && n >= want {
			return math.Exp((float64(i)+0.5)/classesPerE) / 1000
		}
	}
	return 0
}
