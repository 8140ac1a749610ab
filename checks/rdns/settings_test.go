package rdns

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"milterd/checks/facts"
)

// TestExampleOfDynamicAllow tests that the host in the example needs the setting.
func TestExampleOfDynamicAllow(t *testing.T) {
	t.Parallel()
	field, _ := reflect.TypeFor[Settings]().FieldByName("DynamicAllow")
	name, _, _ := strings.Cut(strings.Trim(field.Tag.Get("example"), "[]"), ",")
	if facts.DynamicWord(netip.MustParseAddr("192.0.2.7"), name, nil) == "" {
		t.Errorf("%s does not look dynamically assigned", name)
	}
}
