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
	if r := conn.Data(forged + msg); r.Code != "250" {
		t.Fatalf("message: %s", r)
	}
	header, _, _ := strings.Cut(m.Delivered(t, "alice", subject), "\n\n")
	got, ours, received := resultsOf(header)
	want := []string{
		"mx.test; spf=pass smtp.mailfrom=sender.test; iprev=pass policy.iprev=127.0.0.10; dkim=none; dmarc=none (no record) header.from=sender.test",
		"other.test; dkim=fail",
		`pass receiver=mx.test; identity=mailfrom; client-ip=127.0.0.10; envelope-from="a@sender.test"; helo="good.client.test"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\nin %s", got, want, header)
	}
	if ours > received {
		t.Errorf("our results are below Received, where a sender can forge them: %s", header)
	}

	daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
	_, msg = daemontest.UniqueMessage()
	r := conn.Data(strings.Repeat("Authentication-Results: mx.test; spf=pass\r\n", 20_000) + msg)
	if m.Name == "postfix" && !strings.HasPrefix(r.String(), "451 4.6.0") {
		t.Errorf("thousands of forged fields: %s", r)
	}
	conn.Must("2", "QUIT")
}

// resultsOf returns the sorted values of Authentication-Results and Received-SPF fields, and the positions of our last
// Authentication-Results field and of the last Received field.
func resultsOf(header string) (values []string, ours, received int) {
	ours, received = -1, -1
	for i, f := range strings.Split(strings.ReplaceAll(header, "\n\t", " "), "\n") {
		name, value, _ := strings.Cut(f, ": ")
		switch strings.ToLower(name) {
		case "authentication-results":
			values = append(values, value)
			if strings.HasPrefix(value, "mx.test;") {
				ours = i
			}
		case "received-spf":
			values = append(values, value)
		case "received":
			received = i
		}
	}
	slices.Sort(values)
	return values, ours, received
}
