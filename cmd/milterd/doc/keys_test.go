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
	keys := 0
	var reference bytes.Buffer
	if err := config.WriteReference(&reference, all.Checks); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(reference.String()) {
		if m := referenceKey.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			keys++
		}
	}
	if got := strings.Count(page.String(), "\n### ") + strings.Count(page.String(), "- `") - strings.Count(page.String(), "[]."); got != keys {
		t.Errorf("%d keys, the reference has %d", got, keys)
	}
}
