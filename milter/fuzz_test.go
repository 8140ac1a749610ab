package milter

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/milter/miltertest"
)

func packet(code gomilter.Code, data string) []byte { return miltertest.Packet(code, []byte(data)) }

var negotiation = miltertest.Packet(gomilter.CodeOptNeg, miltertest.Offer(miltertest.AllActions, miltertest.AllProtocol))

// FuzzPackets sends arbitrary bytes to the server. It must end the connection, and send only packets that an MTA understands.
func FuzzPackets(f *testing.F) {
	good := bytes.Join([][]byte{
		packet('D', "Cj\x00mx\x00{client_addr}\x00192.0.2.9\x00"), packet('C', "host\x004\x12\x34192.0.2.9\x00"),
		packet('H', "mail.example.net\x00"), packet('M', "<a@example.net>\x00SIZE=1\x00"), packet('R', "<u@example.org>\x00"),
		packet('L', "Date\x00 today\x00"), packet('N', ""), packet('B', "text\r\n"), packet('B', ""), packet('E', ""), packet('A', ""), packet('Q', ""),
	}, nil)
	f.Add(good)
	f.Add(packet('R', "<u@example.org>\x00"))
	f.Add(append(packet('L', "a\x00b\x00c\x00d\x00"), packet('N', "")...))
	f.Add([]byte("\x00\x10\x00\x01Lxxxx"))
	f.Add([]byte("\x00\x01\x00\x01Bxxxx"))
	f.Add(packet('B', strings.Repeat("x", 3*readBuffer)))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add(packet('C', "h\x004"))
	f.Add(packet('D', ""))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, theirs := net.Pipe()
		// The reply has the bytes of the client.
		_, srv, _ := startPipeline(t, checks.Info{Stages: []checks.Stage{checks.RcptTo, checks.EndOfMessage}, Body: true},
			scripted(func(s *checks.Request) ([]checks.Verdict, error) { return say(s.Helo + s.Rcpt().Text) }),
			func(*checks.Request) io.Writer { return io.Discard })
		srv.open(theirs)
		go func() {
			ours.SetWriteDeadline(time.Now().Add(5 * time.Second))
			ours.Write(negotiation)
			ours.Write(input)
			ours.Close()
		}()
		for {
			var head [4]byte
			if _, err := io.ReadFull(ours, head[:]); err != nil {
				break
			}
			body := make([]byte, binary.BigEndian.Uint32(head[:]))
			if _, err := io.ReadFull(ours, body); err != nil {
				break
			}
			checkResponse(t, body)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("the connection goes on: %v", err)
		}
	})
}

func checkResponse(t *testing.T, body []byte) {
	t.Helper()
	switch code, data := body[0], body[1:]; code {
	case byte(gomilter.CodeOptNeg), byte(gomilter.ActContinue), byte(gomilter.ActTempFail):
	case byte(gomilter.ActReplyCode):
		if n := bytes.IndexByte(data, 0); n != len(data)-1 {
			t.Errorf("NUL at %d of %d: %q", n, len(data), data)
		}
		for _, line := range bytes.Split(bytes.TrimSuffix(data, []byte{0}), []byte("\r\n")) {
			for _, c := range line {
				if c < ' ' || c > '~' {
					t.Errorf("byte %#x in %q", c, line)
				}
			}
			if bytes.Count(line, []byte("%"))%2 != 0 {
				t.Errorf("a percent sign alone in %q", line)
			}
		}
	default:
		t.Errorf("response %q", code)
	}
}

// BenchmarkSession is one SMTP session with one message, through a socket, beside the same with go-milter's own server.
func BenchmarkSession(b *testing.B) {
	b.Run("milterd", func(b *testing.B) {
		address, _, _ := start(b, nil, accept)
		play(b, address)
	})
	b.Run("go-milter", func(b *testing.B) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		srv := &gomilter.Server{NewMilter: func() gomilter.Milter { return gomilter.NoOpMilter{} }}
		go srv.Serve(ln)
		defer srv.Close()
		play(b, ln.Addr().String())
	})
}

func play(b *testing.B, address string) {
	b.ReportAllocs()
	body := bytes.Repeat([]byte("x"), 4096)
	for b.Loop() {
		m, err := miltertest.Dial("tcp", address, 10*time.Second)
		if err != nil {
			b.Fatal(err)
		}
		d := dialer{m, b}
		d.hello()
		d.must(d.Mail("<a@example.net>", map[string]string{"i": "Q"}))
		d.must(d.Rcpt("<u@example.org>", map[string]string{"i": "Q"}))
		d.must(d.Data(map[string]string{"i": "Q"}))
		for range 20 {
			d.must(d.Header("X-Header-Field", " some value of a usual length, more or less"))
		}
		d.must(d.EndOfHeader(nil))
		d.must(d.Body(body))
		d.must(d.EndOfMessage(nil))
		d.Quit()
	}
}
