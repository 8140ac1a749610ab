package doc

import (
	"bytes"
	"strings"
	"testing"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

// TestKeysOfTheManualPage compares the keys of milterd.yaml(5) with those of the reference configuration.
func TestKeysOfTheManualPage(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	if err := writeKeys(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- `profile: safe`: ", "\n### actions\n\nAction by reason id", "\n### checks.greylist\n\n", "- `checks.greylist.delay: 3m`: ", "- `policies: []`: ",
		"- `policies[].forwarders`: ", "```yaml\npolicies:\n  - recipients: ", "- `checks.dnsbl.zones[].codes`: ", "- `store.driver: embedded`: ",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(page.String(), "client-denied") || strings.Contains(page.String(), "``:") {
		t.Errorf("got %s", &page)
	}
	keys, err := config.Keys(all.Checks)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(page.String(), "\n### ") + strings.Count(page.String(), "- `") - strings.Count(page.String(), "[]."); got != len(keys) {
		t.Errorf("%d keys, the reference has %d", got, len(keys))
	}
}

// TestMarksOfKeys tests what of the text of a key is literal.
func TestMarksOfKeys(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		key        config.Key
	}{
		{name: "values", key: config.Key{Doc: "text (of lines) or json. A text is shown.", Values: []string{"text", "json"}}, want: "`text` (of lines) or `json`. A text is shown."},
		{name: "profiles", key: config.Key{Path: "profile", Doc: "watch (log only), safe or strict."}, want: "`watch` (log only), `safe` or `strict`."},
		{name: "values of another key", key: config.Key{Path: "budget", Doc: "watch, safe or strict."}, want: "watch, safe or strict."},
		{name: "command", key: config.Key{Doc: "For milterd report mirror. mirror: off ends it."}, want: "For `milterd report mirror`. `mirror: off` ends it."},
		{name: "sockets", key: config.Key{Doc: "inet:PORT@HOST or unix:/path (alias local:)."}, want: "`inet:PORT@HOST` or `unix:/path` (alias `local:`)."},
		{name: "paths", key: config.Key{Doc: "/metrics, without /why/ at its end; IPv4 /24"}, want: "`/metrics`, without `/why/` at its end; IPv4 /24"},
		{name: "URLs", key: config.Key{Doc: "redis://[user:password@]host:port/db, or rediss:// for TLS."}, want: "`redis://[user:password@]host:port/db`, or `rediss://` for TLS."},
	}
	for _, test := range tests {
		if got := mark(test.key); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestWidthOfExamples tests that the examples of keys fit into a terminal of 80 columns, in which milterd.yaml(5) indents them by 18.
func TestWidthOfExamples(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	if err := writeKeys(&page); err != nil {
		t.Fatal(err)
	}
	for _, b := range Parse(page.String()) {
		for line := range strings.SplitSeq(b.Text, "\n") {
			if b.Kind == Code && len(line) > 80-18 {
				t.Errorf("wide: %s", line)
			}
		}
	}
	const want = "listen:\n  socket: unix:/run/milterd/milter.sock\n  mode: \"0660\"\n  group: postfix"
	if !strings.Contains(page.String(), want) {
		t.Errorf("no %s", want)
	}
}
