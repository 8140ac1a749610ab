package main

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/milter/miltertest"
)

// load is one run of messages against a filter, which comes from many connections at once as from Postfix: macros before
// every event, 20 header fields, 4 KiB of body, an abort after each message, one connection for each SMTP session.
type load struct {
	socket  string
	conns   int
	perConn int           // messages on each connection
	hosts   int           // that send, in turn; 0: each connection comes from one never seen before
	rate    float64       // messages a second, however long they take; 0: each connection as fast as it goes
	length  time.Duration // of the run
	first   int           // sessions that are to be run before its end, however long that takes
	next    *atomic.Int64 // number of the next host never seen before
}

// patience is how long the filter may take for one answer.
const patience = 30 * time.Second

// stage is a moment at which the filter may make the MTA wait.
type stage int

const (
	negotiation stage = iota
	connect
	helo
	mail
	rcpt
	field
	endOfHeader
	body
	endOfMessage
	message // all of it, from the dial or, on a connection that is open, from MAIL on; in an open loop from when it was due
	allStages
)

// events are the stages as the protocol and the table know them.
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
	field:        {"header field", gomilter.CodeHeader, gomilter.OptNoHeaderReply},
	endOfHeader:  {"end of header", gomilter.CodeEOH, gomilter.OptNoEOHReply},
	body:         {"body", gomilter.CodeBody, gomilter.OptNoBodyReply | gomilter.OptNoBody},
	endOfMessage: {name: "end of message", code: gomilter.CodeEOB},
	message:      {name: "message"},
}

// tally is what a run has counted.
type tally struct {
	Messages int
	Refused  int // of them, with a 4yz or 5yz
	Errors   int
	FirstErr error
	Took     time.Duration
	latency  [allStages]histogram
}

func (t *tally) add(o *tally) {
	t.Messages += o.Messages
	t.Refused += o.Refused
	t.Errors += o.Errors
	if t.FirstErr == nil {
		t.FirstErr = o.FirstErr
	}
	t.Took += o.Took
	for i := range t.latency {
		t.latency[i].merge(&o.latency[i])
	}
}

// run loads the filter until the time is over and the messages then in flight have ended.
func (l load) run() *tally {
	var wg sync.WaitGroup
	var turn atomic.Int64
	tallies := make([]tally, l.conns)
	began := time.Now()
	for i := range tallies {
		wg.Go(func() {
			c := client{load: l, tally: &tallies[i]}
			for {
				n := turn.Add(1) - 1
				due := time.Now()
				if l.rate > 0 {
					due = began.Add(time.Duration(float64(n) * float64(l.perConn) / l.rate * float64(time.Second)))
				}
				if n >= int64(l.first) && due.Sub(began) >= l.length {
					return
				}
				time.Sleep(time.Until(due))
				if err := c.session(l.host(n), due); err != nil {
					c.Errors++
					c.FirstErr = err
				}
			}
		})
	}
	wg.Wait()
	sum := new(tally)
	for i := range tallies {
		sum.add(&tallies[i])
	}
	sum.Took = time.Since(began)
	return sum
}

func (l load) host(n int64) int {
	if l.hosts == 0 {
		return int(l.next.Add(1))
	}
	return int(n) % l.hosts
}

// client is one of the connections of a load, one after the other.
type client struct {
	load
	*tally
	m       *miltertest.Conn
	refused bool // the message that is being sent
	err     error
}

// session is one connection with its messages, the first of which was due at a time.
func (c *client) session(host int, due time.Time) error {
	if c.open(host); c.err != nil {
		return c.err
	}
	for i := range c.perConn {
		if i > 0 {
			due = time.Now()
		}
		c.message(host, i)
		if c.err != nil {
			c.m.Close()
			return c.err
		}
		c.latency[message].note(time.Since(due))
		c.Messages++
		if c.refused {
			c.Refused++
		}
		c.m.Send(gomilter.CodeAbort, nil)
	}
	return c.m.Quit()
}

// open begins a session, as far as HELO.
func (c *client) open(host int) {
	began := time.Now()
	if c.m, c.err = miltertest.Dial("unix", c.socket, patience); c.err != nil {
		return
	}
	c.latency[negotiation].note(time.Since(began))
	name, addr := heloOf(host), addrOf(host)
	c.refused = false
	c.tell(connect, func() (miltertest.Response, error) { return c.m.Connect(name, netip.AddrPortFrom(addr, 40000), nil) },
		"j", "mx.site.example", "_", name+" ["+addr.String()+"]", "{client_addr}", addr.String(), "{client_name}", name,
		"{client_port}", "40000", "{client_ptr}", name, "{daemon_name}", "smtpd", "v", "Postfix 3.7.11")
	c.tell(helo, func() (miltertest.Response, error) { return c.m.Helo(name, nil) },
		"{tls_version}", "TLSv1.3", "{cipher}", "TLS_AES_256_GCM_SHA384", "{cipher_bits}", "256")
}

// message sends one message, or as much of it as the filter takes.
func (c *client) message(host, i int) {
	const queue = "4dDk2p1xQz"
	sender := fmt.Sprintf("user%d@%s", host%7, domainOf(host))
	to := fmt.Sprintf("user%d@site.example", (host+i)%500)
	c.refused = false
	c.tell(mail, func() (miltertest.Response, error) { return c.m.Mail("<"+sender+">", nil) },
		"i", queue, "{mail_addr}", sender, "{mail_host}", domainOf(host), "{mail_mailer}", "smtp")
	c.tell(rcpt, func() (miltertest.Response, error) { return c.m.Rcpt("<"+to+">", nil) },
		"i", queue, "{rcpt_addr}", to, "{rcpt_host}", "site.example", "{rcpt_mailer}", "local")
	if c.refused {
		return
	}
	for _, f := range fields(sender, to) {
		c.tell(field, func() (miltertest.Response, error) { return c.m.Header(f[0], f[1]) }, "i", queue)
	}
	c.tell(endOfHeader, func() (miltertest.Response, error) { return c.m.EndOfHeader(nil) }, "i", queue)
	if c.m.Protocol&gomilter.OptNoBody == 0 {
		c.tell(body, func() (miltertest.Response, error) { return c.m.Body(bodyText) }, "i", queue)
	}
	c.tell(endOfMessage, func() (miltertest.Response, error) { return c.m.EndOfMessage(nil) }, "i", queue)
}

// tell sends an event with its macros (names and values in turn), unless the message has ended, and notes how long the answer
// took, if there is one.
func (c *client) tell(st stage, event func() (miltertest.Response, error), macros ...string) {
	if c.err != nil || c.refused {
		return
	}
	began := time.Now()
	c.m.Send(gomilter.CodeMacro, append([]byte{byte(events[st].code)}, strings.Join(macros, "\x00")+"\x00"...))
	r, err := event()
	c.refused, c.err = r.Refused(), err
	if c.m.Protocol&events[st].noReply == 0 {
		c.latency[st].note(time.Since(began))
	}
}

var (
	bodyText = []byte(strings.Repeat("A line of text as it stands in a letter, with a line end behind it.\r\n", 59))[:4096]
	date     = time.Now().Format(time.RFC1123Z)
)

// fields are the header fields of a message.
func fields(sender, to string) [][2]string {
	_, domain, _ := strings.Cut(sender, "@")
	list := [][2]string{
		{"Received", " from mail." + domain + " by relay." + domain + " with ESMTPS id 4Q\n\tfor <" + to + ">; " + date},
		{"From", " A User <" + sender + ">"}, {"To", " " + to}, {"Subject", " the figures of this quarter"}, {"Date", " " + date},
		{"Message-ID", " <20261121.4Q@" + domain + ">"}, {"MIME-Version", " 1.0"}, {"Content-Type", " text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", " 7bit"}, {"User-Agent", " Mozilla Thunderbird"},
	}
	for range 10 {
		list = append(list, [2]string{"X-Filler", " the quick brown fox jumps over the lazy dog, as it always did"})
	}
	return list
}

// histogram counts times in classes that are 2 % wide, from a microsecond to some minutes.
type histogram [1024]uint32

const perFactor = 50 // classes for each factor of e

func (h *histogram) note(d time.Duration) {
	class := perFactor * math.Log(max(1, float64(d)/float64(time.Microsecond)))
	h[min(int(class), len(h)-1)]++
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// count is how many times were noted.
func (h *histogram) count() (n int) {
	for _, k := range h {
		n += int(k)
	}
	return n
}

// quantile is the time in milliseconds that a share of all does not exceed; 0 if there is none.
func (h *histogram) quantile(share float64) float64 {
	want, n := share*float64(h.count()), 0.0
	for i, k := range h {
		if n += float64(k); k > 0 && n >= want {
			return math.Exp((float64(i)+0.5)/perFactor) / 1000
		}
	}
	return 0
}
