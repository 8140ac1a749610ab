package mtacases

import (
	"net"
	"os"
	"testing"

	gomilter "github.com/emersion/go-milter"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// deferring is a filter that defers each message at its end.
type deferring struct{ gomilter.NoOpMilter }

func (deferring) Body(*gomilter.Modifier) (gomilter.Response, error) {
	return gomilter.RespTempFail, nil
}

// startDeferring runs a deferring filter as the first one of a mail server, until the end of the test.
func startDeferring(t *testing.T, m *miltertest.MTA) {
	t.Helper()
	network, addr := miltertest.SplitListener(m.First)
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if network == "unix" {
		if err := os.Chmod(addr, 0o666); err != nil { // for the user that Postfix runs as
			t.Fatal(err)
		}
	}
	server := &gomilter.Server{NewMilter: func() gomilter.Milter { return deferring{} }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln) // it ends with an error when the listener is closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

// testOtherFilter tests that messages that another filter defers do not count as transactions given up. The client never sends
// RSET.
func testOtherFilter(t *testing.T, m *daemontest.MailServer) {
	startDeferring(t, m.MTA)
	mark := m.Daemon.Mark()
	c := miltertest.DialSMTP(t, m.Second, daemontest.GoodClient)
	c.Must("2", "EHLO "+daemontest.GoodHelo)
	for range daemontest.Limit + 2 {
		daemontest.Envelope(c, daemontest.GoodSender, "alice@mx.test")
		_, msg := daemontest.UniqueMessage()
		if r := c.Data(msg); r.Code != "451" {
			t.Fatalf("deferred message: %s", r)
		}
	}
	m.Deliver(t, m.ConnectGood(t), daemontest.GoodSender, "alice")
	wantUncounted(t, m, mark)
}
