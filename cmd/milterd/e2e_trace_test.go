package main_test

import (
	"slices"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
)

// TestTraceFields: a delivered message says what was found out, at the top, and nothing that only claims to be ours.
func TestTraceFields(t *testing.T) {
	miltertest.Require(t)
	site := miltertest.NewSite(t, daemontest.World)
	mtas := []*miltertest.MTA{site.Postfix(t), site.Sendmail(t)}
	c := daemontest.StrictConfig(site)
	c.Extra = "trace_fields: {received_spf: true}\n"
	d := daemontest.StartInSite(t, site, c, mtas...)
	for _, m := range mtas {
		t.Run(m.Name, func(t *testing.T) {
			b := &daemontest.MailServer{MTA: m, Site: site, Daemon: d}
			conn := b.Connect(t, daemontest.GoodClient, daemontest.GoodHelo)
			daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
			subject, msg := daemontest.UniqueMessage()
			forged := "Authentication-Results: mx.test; dkim=pass header.d=bank.test\r\n" +
				"Authentication-Results: other.test; dkim=fail\r\n" +
				"authentication-results: (a \"comment\") MX.test 1;\r\n\tdmarc=pass\r\n"
			if r := conn.Data(forged + msg); r.Code != "250" {
				t.Fatalf("message: %s", r)
			}
			header, _, _ := strings.Cut(b.Delivered(t, "alice", subject), "\n\n")
			fields := strings.Split(strings.ReplaceAll(header, "\n\t", " "), "\n")
			var got []string
			ours, received := -1, -1
			for i, f := range fields {
				name, value, _ := strings.Cut(f, ": ")
				switch strings.ToLower(name) {
				case "authentication-results":
					got = append(got, value)
					if strings.HasPrefix(value, "mx.test;") {
						ours = i
					}
				case "received-spf":
					got = append(got, value)
				case "received":
					received = i
				}
			}
			slices.Sort(got)
			want := []string{
				"mx.test; iprev=pass policy.iprev=127.0.0.10; spf=pass smtp.mailfrom=sender.test",
				"other.test; dkim=fail",
				`pass receiver=mx.test; identity=mailfrom; client-ip=127.0.0.10; envelope-from="a@sender.test"; helo="good.client.test"`,
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q\nin %s", got, want, header)
			}
			if ours > received {
				t.Errorf("our results stand below Received, where a sender may have put them: %s", header)
			}
			daemontest.Envelope(conn, daemontest.GoodSender, "alice@mx.test")
			_, msg = daemontest.UniqueMessage()
			if r := conn.Data(strings.Repeat("Authentication-Results: mx.test; spf=pass\r\n", 20_000) + msg); m.Name == "postfix" && !strings.HasPrefix(r.String(), "451 4.6.0") {
				t.Errorf("thousands of forged fields: %s", r)
			}
			conn.Must("2", "QUIT")
		})
	}
}
