package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnknownGroups tests that check-config names each group of a socket that this machine does not have.
func TestUnknownGroups(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, file, "listen: [{socket: unix:/run/a.sock, group: no-such-group-a}, {socket: unix:/run/b.sock, group: no-such-group-b}, inet:8891@127.0.0.1]\n")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check-config", file}, &stdout, &stderr); code != exitNo || stdout.Len() > 0 {
		t.Errorf("exit status %d, %s", code, stdout.String())
	}
	for _, want := range []string{`unix:/run/a.sock: there is no group "no-such-group-a"`, `unix:/run/b.sock: there is no group "no-such-group-b"`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %s in %s", want, stderr.String())
		}
	}
}
