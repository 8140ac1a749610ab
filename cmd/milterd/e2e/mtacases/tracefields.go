package mtacases

import (
	"slices"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

func traceConfig(s *miltertest.Site) daemontest.Config {
	c := daemontest.StrictConfig(s)
	c.Extra = "trace_fields: {received_spf: true}\n"
	return c
}

// testTraceFields tests that a delivered message has the results of milterd above the Received fields, and no forged
// results.
func testTraceFields(t *testing.T, m *daemontest.MailServer) {
	conn := m.ConnectGood(t)
	daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
	subject, msg := daemontest.UniqueMessage()
	forged := "Authentication-Results: mx.test; dkim=pass header.d=bank.test\r\n" +
		"Authentication-Results : mx.test; spf=pass\r\n" +
		"Authentication-Results: other.test; dkim=fail\r\n" +
		"authentication-results: (a \"comment\") MX.test 1;\r\n\tdmarc=pass\r\n"
	daemontest.SendMessage(t, conn, forged+msg)
	message := m.Delivered(t, "alice", subject)
	results, onTop := fieldsOf(message, "Authentication-Results")
	spf, _ := fieldsOf(message, "Received-SPF")
	want := []string{
		"mx.test; spf=pass smtp.mailfrom=sender.test; iprev=pass policy.iprev=127.0.0.10; dkim=none; dmarc=none (no record) header.from=sender.test",
		"other.test; dkim=fail",
		`pass receiver=mx.test; identity=mailfrom; client-ip=127.0.0.10; envelope-from="a@sender.test"; helo="good.client.test"`,
	}
	if got := slices.Concat(results, spf); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\nin %s", got, want, message)
	}
	if !onTop {
		t.Errorf("our results are below Received, where a sender can forge them: %s", message)
	}

	daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
	_, msg = daemontest.UniqueMessage()
	r := conn.Data(strings.Repeat("Authentication-Results: mx.test; spf=pass\r\n", 20_000) + msg)
	if m.Name == "postfix" && !strings.HasPrefix(r.String(), "451 4.6.0") {
		t.Errorf("thousands of forged fields: %s", r)
	}
	conn.Must("2", "QUIT")
}
