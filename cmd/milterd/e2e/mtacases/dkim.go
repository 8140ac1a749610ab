package mtacases

import (
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/headers"
)

// dkimZone has the key of signatures of fail.test, whose SPF record does not allow the client.
var dkimZone = checktest.DKIMKey("fail.test")

// testDKIM tests that a signed message is let in although it fails SPF, and that it is refused if one octet was changed.
func testDKIM(t *testing.T, m *daemontest.MailServer) {
	const sender, body = "a@fail.test", "Hello,\r\n\r\n.a line that begins with a dot\r\n\r\nBye\r\n"
	send := func(change func(msg string) string) (subject string, reply string) {
		subject, _ = daemontest.UniqueMessage()
		var fields []headers.Field
		for _, f := range daemontest.GoodHeader(daemontest.Field{"From", "Ann <" + sender + ">"}, daemontest.Field{"Subject", subject}) {
			fields = append(fields, headers.Field{Name: f[0], Value: " " + f[1]})
		}
		var msg strings.Builder
		for _, f := range checktest.Sign(t, fields, body, "fail.test") {
			msg.WriteString(f.Name + ":" + f.Value + "\r\n")
		}
		c := m.ConnectGood(t)
		daemontest.Envelope(c, sender, "alice@mx.test")
		r := c.Data(change(msg.String() + "\r\n" + body))
		c.Must("2", "QUIT")
		return subject, r.String()
	}
	mark := m.Daemon.Mark()
	subject, reply := send(func(msg string) string { return msg })
	if !strings.HasPrefix(reply, "250") {
		t.Fatalf("a signed message: %s", reply)
	}
	header, _, _ := strings.Cut(m.Delivered(t, "alice", subject), "\n\n")
	values, _, _ := resultsOf(header)
	if len(values) != 1 || !strings.HasPrefix(values[0], "mx.test; spf=fail smtp.mailfrom=fail.test; ") ||
		!strings.Contains(values[0], "; dkim=pass header.d=fail.test header.s=test header.a=ed25519-sha256 header.b=") {
		t.Errorf("results %q", values)
	}
	m.Daemon.AwaitEntry(t, mark, daemontest.Entry{"msg": "accept", "mail_from": sender})

	for name, change := range map[string]func(string) string{
		"body":     func(msg string) string { return strings.Replace(msg, "Bye", "bye", 1) },
		"From":     func(msg string) string { return strings.Replace(msg, "Ann <", "Ann  <", 1) },
		"new From": func(msg string) string { return "From: Eve <eve@fail.test>\r\n" + msg },
	} {
		if _, reply := send(change); name != "new From" && !strings.HasPrefix(reply, "550 5.7.23") || !strings.HasPrefix(reply, "550") {
			t.Errorf("%s was changed: %s", name, reply)
		}
	}
}
