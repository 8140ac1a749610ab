package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnusableValues tests errors of values that have the right type and cannot be used.
func TestUnusableValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, loop := writeFile(t, dir, "file", ""), filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"a store in a file", "store: {path: " + file + "}", `p:1:15: store.path: "` + file + `" is a file; `},
		{"a store below a file", "store: {path: " + file + "/store}", `p:1:15: store.path: a part of "` + file + `/store" is a file`},
		{"a store in a link to itself", "store: {path: " + loop + "}", `p:1:15: store.path: "` + loop + `" leads through a symbolic link`},
		{"a key in a folder", "explain: {key: " + dir + "}", `p:1:16: explain.key: "` + dir + `" is a folder; add the name of the file`},
		{"a key below a file", "explain: {key: " + file + "/key}", `p:1:16: explain.key: a part of "` + file + `/key" is a file`},
		{"a control socket that is a folder", "admin: {socket: " + dir + "}", `p:1:17: admin.socket: "` + dir + `" is a folder; `},
		{"a URL with a password", "explain: {url: 'https://user:secret@mx.example.org'}",
			`p:1:16: explain.url: "https://...@mx.example.org" is not a URL; `},
		{"a URL with port 0", "explain: {url: 'https://mx.example.org:0'}", `p:1:16: explain.url: "https://mx.example.org:0" is not a URL; `},
		{"a URL with a large port", "explain: {url: 'https://mx.example.org:99999'}", `p:1:16: explain.url: "https://mx.example.org:99999" `},
		{"half a pair of brackets around a listener", "listen: 'inet6:8891@[::1'", `p:1:9: listen: "[::1" is neither an address nor a host name; `},
		{"half a pair of brackets around a name server", "dns: {servers: '[::1'}", `p:1:16: dns.servers: "[::1" is not a name server; `},
		{"a rejected URL of a store", "store: {driver: redis, url: [1]}", `p:1:29: store.url: `},
		{"a rejected driver of a store", "store: {driver: Redis, url: 'redis://localhost'}", `p:1:17: store.driver: `},
		{"a rejected password", "admin: {listen: ':8893', password: [1]}", `p:1:36: admin.password: `},
		{"an empty name of a daemon", "trusted: {daemons: [MSA, '']}", `p:1:26: trusted.daemons[1]: "" trusts every client `},
		{"an empty name of a daemon alone", "trusted: {daemons: ''}", `p:1:20: trusted.daemons: "" trusts every client `},
	} {
		_, problems := Parse("p", []byte(tt.text), registry())
		if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), tt.want) {
			t.Errorf("%s: got %v, want %s...", tt.name, problems, tt.want)
		}
	}
}
