package config

import (
	"strings"
	"testing"
)

// TestUnusableValues tests errors of values that have the right type and cannot be used.
func TestUnusableValues(t *testing.T) {
	t.Parallel()
	file := writeFile(t, t.TempDir(), "file", "")
	for _, tt := range []struct{ name, text, want string }{
		{"a store in a file", "store: {path: " + file + "}", `p:1:15: store.path: "` + file + `" is a file; `},
		{"a store below a file", "store: {path: " + file + "/store}", `p:1:15: store.path: a part of "` + file + `/store" is a file`},
		{"an empty name of a daemon", "trusted: {daemons: [MSA, '']}", `p:1:26: trusted.daemons[1]: "" trusts every client `},
		{"an empty name of a daemon alone", "trusted: {daemons: ''}", `p:1:20: trusted.daemons: "" trusts every client `},
	} {
		_, problems := Parse("p", []byte(tt.text), registry())
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), tt.want) {
			t.Errorf("%s: got %v, want %s...", tt.name, problems, tt.want)
		}
	}
}
