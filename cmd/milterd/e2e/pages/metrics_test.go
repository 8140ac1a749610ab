package pages

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"milterd/cmd/milterd/e2e/daemontest"
	"milterd/milter/miltertest"
	"milterd/milter/resolver/dnstest"
)

// TestMetrics tests that a refusal, the time of its checks and the DNS queries are counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	listen := miltertest.Loopback() + ":8893"
	d := daemontest.Start(t, daemontest.Config{DNS: dnstest.Start(t, daemontest.World).Addr, Profile: "safe", Extra: fmt.Sprintf("admin: {listen: %q, socket: \"\"}\n", listen)})
	c, err := d.Connect("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Helo("192.0.2.9", map[string]string{}); err != nil {
		t.Fatal(err)
	}
	if reply, err := c.Envelope("someone@good.example", "user@site.test"); err != nil || reply == "" {
		t.Fatalf("got %q, %v", reply, err)
	}
	code, got := daemontest.Get(t, "http://"+listen+"/metrics")
	if code != 200 {
		t.Fatalf("got %d %s", code, got)
	}
	for _, line := range []string{
		`milterd_verdicts_total{action="reject",check="helo",reason="helo-bare-ip",stage="[A-Za-z]+"} 1`,
		`milterd_check_seconds_count{check="helo"} [1-9].*`,
		`milterd_connections 1`,
		`milterd_resolver_queries_total [1-9].*`,
		`milterd_store_up 1`,
		`milterd_build_info{version=".+"} 1`,
		`process_open_fds .+`,
	} {
		if !regexp.MustCompile("(?m)^" + line + "$").MatchString(got) {
			t.Errorf("missing: %s", line)
		}
	}
	if t.Failed() {
		for l := range strings.Lines(got) {
			if strings.HasPrefix(l, "milterd_") {
				t.Log(strings.TrimSpace(l))
			}
		}
	}
}
