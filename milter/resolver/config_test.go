package resolver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServersFromConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		servers []string // or
		file    string
		want    string // separated by spaces; "!" and the beginning of an error
	}{
		"address":        {servers: []string{"192.0.2.1"}, want: "192.0.2.1:53"},
		"address, port":  {servers: []string{"192.0.2.1:5353"}, want: "192.0.2.1:5353"},
		"IPv6":           {servers: []string{"2001:db8::1"}, want: "[2001:db8::1]:53"},
		"IPv6, brackets": {servers: []string{"[2001:db8::1]"}, want: "[2001:db8::1]:53"},
		"IPv6, port":     {servers: []string{"[2001:db8::1]:5353"}, want: "[2001:db8::1]:5353"},
		"IPv6, zone":     {servers: []string{"fe80::1%eth0"}, want: "[fe80::1%eth0]:53"},
		"two":            {servers: []string{"192.0.2.2", "192.0.2.1"}, want: "192.0.2.2:53 192.0.2.1:53"},
		"repeated":       {servers: []string{"192.0.2.1", "192.0.2.1:53"}, want: "192.0.2.1:53"},
		"name":           {servers: []string{"192.0.2.1", "localhost:53"}, want: `!dns: server "localhost:53" is not`},
		"empty":          {servers: []string{""}, want: `!dns: server "" is not`},
		"port 0":         {servers: []string{"192.0.2.1:0"}, want: `!dns: server "192.0.2.1:0" is not`},
		"port too high":  {servers: []string{"192.0.2.1:65536"}, want: `!dns: server`},
		"open bracket":   {servers: []string{"[2001:db8::1"}, want: `!dns: server`},
		"file": {file: "search a.example\nnameserver 192.0.2.1\nnameserver ::1\noptions timeout:9\n",
			want: "192.0.2.1:53 [::1]:53"},
		"file, some bad":  {file: "nameserver bad\nnameserver 192.0.2.1\n", want: "192.0.2.1:53"},
		"file, all bad":   {file: "nameserver bad\n", want: "!dns: "},
		"file, no server": {file: "# nothing\n", want: "127.0.0.1:53"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Servers: c.servers}
			if c.file != "" {
				cfg.resolvConf = filepath.Join(t.TempDir(), "resolv.conf")
				if err := os.WriteFile(cfg.resolvConf, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := serversOf(cfg); got != c.want && !(c.want[0] == '!' && strings.HasPrefix(got, c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func serversOf(cfg Config) string {
	r, err := New(cfg)
	if err != nil {
		return "!" + err.Error()
	}
	defer r.Close()
	var names []string
	for _, s := range r.upstreams.servers {
		names = append(names, s.name)
	}
	return strings.Join(names, " ")
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no such file":     {resolvConf: filepath.Join(t.TempDir(), "none")},
		"negative timeout": {Servers: []string{"192.0.2.1"}, Timeout: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "dns: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
