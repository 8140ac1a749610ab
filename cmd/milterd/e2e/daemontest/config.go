package daemontest

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/milter/miltertest"
)

// Config is a configuration file.
type Config struct {
	Listen  []string          // listeners, as YAML
	DNS     string            // address and port of the name server
	Timeout time.Duration     // of the name server; 0 is a second
	Domain  string            // local domain and host name; empty is mx.test
	Syslog  string            // facility, or off
	Profile string            // watch, safe or strict
	Actions map[string]string // by reason; callouts are off unless listed here
	Text    string            // YAML in place of what Domain, Profile and Actions write, and of no trusted networks
	Extra   string            // further lines of YAML
}

// YAML returns the text of the file. No network is trusted, because the clients of the tests are on loopback. The sections
// admin, explain and store are as harmless as possible unless Extra has them.
func (c Config) YAML() string {
	var b strings.Builder
	listen := fmt.Sprintf("listen: [%s]\n", strings.Join(c.Listen, ", "))
	if c.Text != "" {
		b.WriteString(c.Text + "\n" + listen)
	} else {
		b.WriteString(listen)
		c.writePolicy(&b)
	}
	fmt.Fprintf(&b, "log: {level: info, format: text, syslog: %s}\ndns: {servers: [%q], timeout: %s}\n", c.Syslog, c.DNS, cmp.Or(c.Timeout, time.Second))
	if !strings.Contains(c.Extra, "admin:") {
		b.WriteString("admin: {listen: \"\", socket: \"\"}\n") // the default is the same for all daemons
	}
	if !strings.Contains(c.Extra, "explain:") {
		b.WriteString("explain: {listen: \"\"}\n")
	}
	if !strings.Contains(c.Extra, "store:") {
		b.WriteString("store: {driver: memory}\n")
	}
	b.WriteString(c.Extra)
	return b.String()
}

// writePolicy writes what an operator decides.
func (c Config) writePolicy(b *strings.Builder) {
	domain := cmp.Or(c.Domain, "mx.test")
	fmt.Fprintf(b, "hostname: %s\nlocal_domains: [%s]\nprofile: %s\ntrusted: {networks: [], daemons: []}\n", domain, domain, c.Profile)
	actions := map[string]string{
		"callout-rejected": "off", "callout-unreachable": "off", "callout-pending": "off", "from-callout-rejected": "off",
	}
	maps.Copy(actions, c.Actions)
	b.WriteString("actions:\n")
	for _, id := range slices.Sorted(maps.Keys(actions)) {
		fmt.Fprintf(b, "  %s: %q\n", id, actions[id])
	}
}

// StrictConfig is a configuration with the profile strict, except that a first contact is not greylisted.
func StrictConfig(s *miltertest.Site) Config {
	return Config{DNS: s.DNS.Addr, Profile: "strict", Actions: map[string]string{"first-contact": "off"}}
}

// ExplainConfig returns lines of configuration for pages that explain refusals. The signing key is in the folder.
func ExplainConfig(dir string) string {
	pages := miltertest.Loopback() + ":8892"
	return fmt.Sprintf("explain: {listen: %q, url: \"http://%s\", key: %q}\n", pages, pages, filepath.Join(dir, "explain.key"))
}

// Reasons returns the reasons of all checks, by ID.
func Reasons() map[string]*checks.Reason {
	m := map[string]*checks.Reason{}
	for check, r := range all.Reasons() {
		if check != "" { // not of the pipeline
			m[r.ID] = r
		}
	}
	return m
}

// OnlyReason returns actions with one reason set and all others off. If id is empty, all are off.
func OnlyReason(id, action string) map[string]string {
	actions := map[string]string{}
	for r := range Reasons() {
		actions[r] = "off"
	}
	if id != "" {
		actions[id] = action
	}
	return actions
}

// SocketDir makes a folder that every user may enter. Its path is short enough for a unix socket, unlike t.TempDir.
func SocketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "milterd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
