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
