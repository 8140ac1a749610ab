package milter

import (
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/headers"
	"milterd/milter/miltertest"
)

func TestFieldsAreUnchanged(t *testing.T) {
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

func TestMTAWithoutOptions(t *testing.T) {
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

func TestNegotiatedOptions(t *testing.T) {
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

// TestData tests that milterd asks for DATA only if it need not respond, and that it responds if the MTA waits nevertheless.
func TestData(t *testing.T) {
	t.Parallel()
	const all = miltertest.AllProtocol
	address, _, _ := start(t, nil, accept)
	for _, c := range []struct {
		name    string
		offer   gomilter.OptProtocol
		version uint32
		chosen  gomilter.OptProtocol // of the flags about DATA
	}{
		{"all flags", all, 4, gomilter.OptNoDataReply},
		{"the MTA waits for a response to DATA", all &^ gomilter.OptNoDataReply, 2, gomilter.OptNoData},
		{"the MTA sends unknown commands", all &^ gomilter.OptNoUnknown, 2, gomilter.OptNoData},
		{"no flags", 0, 2, 0},
	} {
		d := dialOffering(t, address, c.offer)
		if chosen := d.Protocol & (gomilter.OptNoData | gomilter.OptNoDataReply); d.Version != c.version || chosen != c.chosen {
			t.Errorf("%s: version %d, flags %#x, want %d, %#x", c.name, d.Version, uint32(chosen), c.version, uint32(c.chosen))
		}
		d.hello()
		d.must(d.Mail("<a@example.net>", nil))
		d.rcpt("<u@example.org>")
		d.Send(gomilter.CodeData, nil)
		if c.chosen != gomilter.OptNoDataReply {
			if code, _, err := d.Receive(); code != byte(gomilter.ActContinue) || err != nil {
				t.Errorf("%s: response %q to DATA, error %v", c.name, code, err)
			}
		}
		d.must(d.EndOfHeader(nil))
		want(t, c.name+": the next response", strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), "")
		d.event('Q')
	}
}

// TestVersion tests that milterd does not choose a later version than the MTA offers.
func TestVersion(t *testing.T) {
	t.Parallel()
	address, _, _ := start(t, nil, accept)
	for offered, want := range map[uint32]uint32{2: 2, 3: 2, 4: 4, 6: 4} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		m := miltertest.NewConn(c, 5*time.Second)
		offer := miltertest.Offer(miltertest.AllActions, miltertest.AllProtocol)
		binary.BigEndian.PutUint32(offer, offered)
		m.Send(gomilter.CodeOptNeg, offer)
		_, data, err := m.Receive()
		if err != nil {
			t.Fatal(err)
		}
		noData := gomilter.OptProtocol(binary.BigEndian.Uint32(data[8:]))&gomilter.OptNoData != 0
		if got := binary.BigEndian.Uint32(data); got != want || noData != (want == 2) {
			t.Errorf("offered version %d: got %d, without DATA: %t", offered, got, noData)
		}
		m.Close()
	}
}

// TestLeadingSpace tests that fields have the space after the colon, also those of an MTA that drops it.
func TestLeadingSpace(t *testing.T) {
	t.Parallel()
	values := []string{" x", "  x", "\tx", " \n x", " "}
	for _, protocol := range []gomilter.OptProtocol{miltertest.AllProtocol, miltertest.AllProtocol &^ gomilter.OptHeaderLeadingSpace, 0} {
		address, _, journal := start(t, nil, accept)
		d := dialOffering(t, address, protocol)
		d.hello()
		d.must(d.Mail("<a@example.net>", nil))
		d.rcpt("<u@example.org>")
		for _, v := range values {
			d.must(d.Header("Subject", v))
		}
		d.must(d.EndOfHeader(nil))
		d.must(d.EndOfMessage(nil))
		var got []string
		for _, f := range journal.accepted[0].Header {
			got = append(got, f.Value)
		}
		if !slices.Equal(got, values) {
			t.Errorf("protocol %#x: got %q, want %q", uint32(protocol), got, values)
		}
	}
}

func TestPanicDefers(t *testing.T) {
	t.Parallel()
	address, _, _ := start(t, func(s *Server) { s.Now = func() time.Time { panic("bug") } }, accept)
	d := dial(t, address)
	d.must(d.Mail("<a@example.net>", nil))
	want(t, "reply", d.rcpt("<u@example.org>"), "451 4.3.0 internal error of the mail filter, please try again later")
}

// panicking is a Journal with a bug.
type panicking struct{}

func (panicking) Decided(*checks.Request, checks.Decision) { panic("bug") }
func (panicking) Accepted(*checks.Request)                 { panic("bug") }

// TestPanicInTheJournal tests that a bug in a journal defers no mail, and keeps no event from the checks.
func TestPanicInTheJournal(t *testing.T) {
	t.Parallel()
	w := &watcher{}
	address, srv, _ := startWith(t, func(srv *Server) { srv.Journal = panicking{} }, w)
	d := dial(t, address)
	d.hello()
	d.must(d.Mail("<a@example.net>", nil))
	want(t, "recipient", d.rcpt("<u@example.org>"), "")
	d.must(d.EndOfHeader(nil))
	want(t, "message", strings.Join(d.must(d.EndOfMessage(nil)).Lines, "|"), "")
	d.Close()
	miltertest.Eventually(t, "the connection ends", func() bool { return srv.Connections() == 0 })
	if got, want := w.kinds(), []checks.EventKind{checks.Accepted, checks.Disconnected}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestPanicAtTheEndIsNoReset tests that a panic at the end of a message ends the transaction, so that the next one is
// not taken for a RSET of the client.
func TestPanicAtTheEndIsNoReset(t *testing.T) {
	t.Parallel()
	w := &watcher{}
	var atTheEnd atomic.Bool
	now := func() time.Time {
		if atTheEnd.Load() {
			panic("bug")
		}
		return time.Now()
	}
	address, srv, _ := startWith(t, func(s *Server) { s.Now = now }, w)
	d := dial(t, address)
	d.hello()
	for _, after := range []string{"", "A"} { // Sendmail sends no ABORT after a message
		d.must(d.Mail("<a@example.net>", nil))
		d.rcpt("<u@example.org>")
		atTheEnd.Store(true)
		r := d.must(d.EndOfMessage(nil))
		atTheEnd.Store(false)
		want(t, "reply", strings.Join(r.Lines, "|"), "451 4.3.0 internal error of the mail filter, please try again later")
		for _, event := range after {
			d.event(event)
		}
	}
	d.event('M')
	d.Close()
	miltertest.Eventually(t, "the connection ends", func() bool { return srv.Connections() == 0 })
	if kinds := w.kinds(); slices.Contains(kinds, checks.Reset) {
		t.Errorf("events %v", kinds)
	}
}
