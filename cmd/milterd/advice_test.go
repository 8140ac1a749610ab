package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		keys       []string
	}{
		{name: "nothing", text: "local_domains: [example.org]", mode: 0o644},
		{name: "no local domains", text: "profile: safe", mode: 0o644, keys: []string{"local_domains"}},
		{name: "loopback is not trusted", text: "local_domains: [example.org]\ntrusted: {networks: [192.0.2.0/24]}", mode: 0o644, keys: []string{"trusted.networks"}},
		{name: "readable password", text: "local_domains: [example.org]\nadmin: {listen: '0.0.0.0:8893', password: secret-word}", mode: 0o644, keys: []string{"admin.password"}},
		{name: "password", text: "local_domains: [example.org]\nadmin: {listen: '0.0.0.0:8893', password: secret-word}", mode: 0o640},
		{name: "readable password of Redis", text: "local_domains: [example.org]\nstore: {driver: redis, url: 'redis://:secret@localhost'}", mode: 0o644, keys: []string{"store.url"}},
	} {
		file := filepath.Join(t.TempDir(), "milterd.yaml")
		writeFile(t, file, "hostname: mx.example.org\n"+c.text)
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		cfg, problems := config.Load(file, all.Checks)
		if cfg == nil {
			t.Fatal(c.name, problems)
		}
		var keys []string
		for _, p := range adviceOn(cfg, file) {
			keys = append(keys, p.Path)
			if !p.Warning || strings.Contains(p.Text, "secret") {
				t.Errorf("%s: %s", c.name, p)
			}
		}
		if !slices.Equal(keys, c.keys) {
			t.Errorf("%s: warnings about %q, want %q", c.name, keys, c.keys)
		}
	}
}
