package mtacases

import (
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"milterd/cmd/milterd/e2e/daemontest"
)

// testBodies tests that bodies arrive unchanged: their signatures pass, and one does not after a change of one byte.
func testBodies(t *testing.T, m *daemontest.MailServer) {
	conn := m.ConnectGood(t)
	for _, c := range []struct {
		name, body string
		change     func(message string) string // after signing
		result     string
	}{
		{"empty", "", nil, "dkim=pass"},
		{"short", "Hello.\r\n", nil, "dkim=pass"},
		{"no signature", "Hello.\r\n", func(message string) string {
			_, rest, _ := strings.Cut(message, "\r\nFrom:")
			return "From:" + rest
		}, "dkim=none"},
		{"lines that begin with a dot", ".\r\n..\r\n.x\r\n\r\n", nil, "dkim=pass"},
		{"white space and 8-bit", " a \t\r\n\tb\u00e4\xff  \r\n\r\n\r\nc\r\n\r\n", nil, "dkim=pass"},
		{"several chunks", strings.Repeat(strings.Repeat("x", 75)+" \r\n", 5000), nil, "dkim=pass"},
		{"several chunks, one byte changed", strings.Repeat(strings.Repeat("x", 75)+" \r\n", 5000), func(message string) string {
			return message[:len(message)-100] + "y" + message[len(message)-99:]
		}, "dkim=fail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
			subject, text := daemontest.UniqueMessage()
			message := signed(t, text, c.body, "sender.test", dkim.CanonicalizationSimple)
			if c.change != nil {
				message = c.change(message)
			}
			daemontest.SendMessage(t, conn, message)
			got, _, _ := strings.Cut(m.Delivered(t, "alice", subject), "\n\n")
			if !strings.Contains(got, c.result) {
				t.Errorf("want %s in %s", c.result, got)
			}
		})
	}
	conn.Must("2", "QUIT")
}
