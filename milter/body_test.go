package milter

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/milter/miltertest"
)

// bodyCheck is a check that judges the bodies of messages with the field X-Signed.
type bodyCheck struct {
	write func(piece []byte) // may be nil

	writers int // asked for
	body    []byte
}

func (c *bodyCheck) Check(_ context.Context, r *checks.Request) ([]checks.Verdict, error) {
	if r.Stage == checks.EndOfMessage && strings.Contains(string(c.body), "bad") {
		return say("a body of " + fmt.Sprint(len(c.body)) + " bytes")
	}
	return nil, nil
}

// writer implements checks.Options.Body.
func (c *bodyCheck) writer(r *checks.Request) io.Writer {
	c.writers++
	c.body = nil
	for _, f := range r.Envelope.Header {
		if f.Is("X-Signed") {
			return c
		}
	}
	return nil
}

func (c *bodyCheck) Write(piece []byte) (int, error) {
	if c.write != nil {
		c.write(piece)
	}
	c.body = append(c.body, piece...)
	return len(piece), nil
}

// startBody starts a server with a check of bodies.
func startBody(t testing.TB, c *bodyCheck) (address string, journal *record) {
	t.Helper()
	address, _, journal = startPipeline(t, checks.Info{Stages: []checks.Stage{checks.EndOfMessage}, Body: true}, c, c.writer)
	return address, journal
}

// deliver sends a message and returns the reply to it.
func (d dialer) deliver(field string, chunks ...string) string {
	d.t.Helper()
	d.must(d.Mail("<a@example.net>", map[string]string{}))
	d.rcpt("<u@example.org>")
	d.must(d.Header(field, " x"))
	d.must(d.EndOfHeader(nil))
	for _, chunk := range chunks {
		d.Macros(gomilter.CodeBody, map[string]string{"i": "Q1"})
		d.must(d.Body([]byte(chunk)))
	}
	return strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|")
}

// TestBody sends bodies in chunks of several sizes, to MTAs that await a response to each chunk and to those that do not.
func TestBody(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789abcde\r\n", 65_535/17)
	for _, protocol := range []gomilter.OptProtocol{miltertest.AllProtocol, miltertest.AllProtocol &^ gomilter.OptNoBodyReply, 0} {
		for _, chunks := range [][]string{nil, {"text\r\n"}, {"a", "", "b\r", "\nc"}, {long[:readBuffer-5], long[:readBuffer]}, {long, long, "end", long}} {
			c := &bodyCheck{}
			address, journal := startBody(t, c)
			d := dialOffering(t, address, protocol)
			d.hello()
			for range 2 {
				want(t, "a good body", d.deliver("X-Signed", chunks...), "")
				if got, want := string(c.body), strings.Join(chunks, ""); got != want {
					t.Errorf("protocol %#x: got %d bytes, want %d", uint32(protocol), len(got), len(want))
				}
				text := strings.Join(chunks, "") + "bad"
				want(t, "a bad body", d.deliver("X-Signed", append(chunks, "bad")...), fmt.Sprintf("550 5.7.1 no: a body of %d bytes", len(text)))
				want(t, "a body that is not needed", d.deliver("X-Plain", append(chunks, "bad")...), "")
			}
			if len(journal.accepted) != 4 {
				t.Errorf("%d messages accepted, want 4", len(journal.accepted))
			}
		}
	}
}

// TestAbortInTheBody shows that the next message has nothing of an aborted one.
func TestAbortInTheBody(t *testing.T) {
	t.Parallel()
	c := &bodyCheck{}
	address, _ := startBody(t, c)
	d := dial(t, address)
	d.hello()
	d.must(d.Mail("<a@example.net>", nil))
	d.rcpt("<u@example.org>")
	d.must(d.Header("X-Signed", " x"))
	d.must(d.EndOfHeader(nil))
	d.must(d.Body([]byte("bad")))
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	want(t, "the next message", d.deliver("X-Signed", "good"), "")
	d.must(d.Mail("<a@example.net>", nil))
	d.rcpt("<u@example.org>")
	d.must(d.Header("X-Signed", " x"))
	d.must(d.EndOfHeader(nil))
	d.must(d.Body([]byte("bad")))
	want(t, "Sendmail: no ABORT for RSET", d.deliver("X-Signed", "good"), "")
	if string(c.body) != "good" || c.writers != 4 {
		t.Errorf("body %q, %d writers", c.body, c.writers)
	}
}

// TestPanicInTheBody shows that a message is deferred whose body was not received as a whole, and the next one is not.
func TestPanicInTheBody(t *testing.T) {
	t.Parallel()
	for _, protocol := range []gomilter.OptProtocol{miltertest.AllProtocol, 0} {
		c := &bodyCheck{write: func(piece []byte) {
			if string(piece) == "panic" {
				panic("bug")
			}
		}}
		address, _ := startBody(t, c)
		d := dialOffering(t, address, protocol)
		d.hello()
		for range 2 {
			want(t, "reply", d.deliver("X-Signed", "a", "panic", "b"), "451 4.3.0 internal error of the mail filter, please try again later")
			if string(c.body) != "a" {
				t.Errorf("body %q", c.body)
			}
			want(t, "next", d.deliver("X-Signed", "a", "b"), "")
		}
	}
}

// TestNoBodyIsAskedFor shows that the MTA is asked for bodies only if a check needs them.
func TestNoBodyIsAskedFor(t *testing.T) {
	t.Parallel()
	c := &bodyCheck{}
	for _, tt := range []struct {
		name  string
		info  checks.Info
		body  func(*checks.Request) io.Writer
		asked bool
	}{
		{"a check needs it", checks.Info{Stages: []checks.Stage{checks.EndOfMessage}, Body: true}, c.writer, true},
		{"no check needs it", checks.Info{Stages: []checks.Stage{checks.EndOfMessage}}, c.writer, false},
		{"it is switched off", checks.Info{Stages: []checks.Stage{checks.EndOfMessage}, Body: true}, nil, false},
	} {
		address, _, _ := startPipeline(t, tt.info, c, tt.body)
		d := dial(t, address)
		if got := d.Protocol&gomilter.OptNoBody == 0; got != tt.asked {
			t.Errorf("%s: asked for bodies: %t", tt.name, got)
		}
		if got := d.Protocol&gomilter.OptNoBodyReply != 0; got != tt.asked {
			t.Errorf("%s: no response to bodies: %t", tt.name, got)
		}
	}
}

// counter counts the bytes written to it.
type counter struct{ n int }

func (c *counter) Write(piece []byte) (int, error) {
	c.n += len(piece)
	return len(piece), nil
}

// TestBodiesAreNotKept shows that the memory for a message does not depend on the size of its body.
func TestBodiesAreNotKept(t *testing.T) { // not parallel: others allocate too
	const chunks = 256
	chunk := make([]byte, 65_535)
	var c counter
	address, _, _ := startPipeline(t, checks.Info{Stages: []checks.Stage{checks.EndOfMessage}, Body: true}, scripted(accept),
		func(*checks.Request) io.Writer { return &c })
	d := dial(t, address)
	d.hello()
	var before, after runtime.MemStats
	for range 2 { // the first one warms up
		runtime.ReadMemStats(&before)
		d.must(d.Mail("<a@example.net>", nil))
		d.rcpt("<u@example.org>")
		d.must(d.EndOfHeader(nil))
		for range chunks {
			d.must(d.Body(chunk))
		}
		d.must(d.EndOfMessage(nil))
		runtime.ReadMemStats(&after)
	}
	if c.n != 2*chunks*len(chunk) {
		t.Errorf("%d bytes were written", c.n)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > chunks*uint64(len(chunk))/4 { // the race detector makes a sync.Pool forget buffers
		t.Errorf("%d bytes allocated for a body of %d", grown, chunks*len(chunk))
	}
}

// BenchmarkBody receives bodies of 4 KiB and 1 MiB, as a writer that counts does, and as a message without a writer does.
func BenchmarkBody(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, needed := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d KiB, needed=%t", size>>10, needed), func(b *testing.B) {
				var c counter
				address, _, _ := startPipeline(b, checks.Info{Stages: []checks.Stage{checks.EndOfMessage}, Body: true}, scripted(accept),
					func(*checks.Request) io.Writer {
						if !needed {
							return nil
						}
						return &c
					})
				d := dial(b, address)
				d.hello()
				body := strings.Repeat("x", size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					d.must(d.Mail("<a@example.net>", nil))
					d.must(d.Rcpt("<u@example.org>", nil))
					d.must(d.EndOfHeader(nil))
					d.must(d.WholeBody(body))
					d.must(d.EndOfMessage(nil))
				}
			})
		}
	}
}
