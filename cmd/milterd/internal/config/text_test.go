package config

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "14d": 14 * day, "1d1s": day + time.Second,
		"90m": 90 * time.Minute, "106751d": 106751 * day, "007s": 7 * time.Second,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "-1s", "-0", "+1s", "1.5h", "10ms", "1s1m", "1s1s", "s", "1 s", " 1s", "1D", "106752d", "1e3s"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	valid := []string{"listen", "local_domains", "log", "helo-mismatch", "helo-missing", "dns"}
	for name, want := range map[string]string{
		"lisen": "listen", "Listen": "listen", "local-domains": "local_domains", "localdomains": "local_domains",
		"helo-mismacth": "helo-mismatch", "lgo": "log", "dsn": "dns", "x": "", "": "", "completely-different": "",
		strings.Repeat("listen", 1000): "",
	} {
		if got := Nearest(name, valid); got != want {
			t.Errorf("%.20q: got %q, want %q", name, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":             "plain",
		"bücher":            "bücher",
		"a\x1b[0m\nb":       `a\x1b[0m\nb`,
		"\xff\u202e\u00a0b": `\xff\u202e\u00a0b`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{strings.Repeat("ü", 5000), strings.Repeat("\x00", 5000), strings.Repeat("x", maxText)} {
		if n := utf8.RuneCountInString(printable(text)); n != maxText {
			t.Errorf("%.10q: %d characters", text, n)
		}
	}
}

func TestParseListener(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"inet:8891@127.0.0.1": "inet:8891@127.0.0.1",
		"inet6:8891@[::1]":    "inet6:8891@::1",
		"inet:1@mx.example":   "inet:1@mx.example",
		"local:/run/x.sock":   "unix:/run/x.sock",
		"unix:/run//y/../x":   "unix:/run/x",
	} {
		l, err := ParseListener(text)
		if err != nil || l.String() != want || !l.Given {
			t.Errorf("%q: %v, %v", text, l, err)
		}
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		want string // "line:col: "
	}{
		"columns count characters":         {"hostname: 'é'\nprofile: [\u00a0ü, \x01]", "p:2:15: "},
		"a byte order mark has no column":  {"\ufeffprofil: safe", "p:1:1: "},
		"lines end with CR LF":             {"profile: safe\r\nprofil: x\r\n", "p:2:1: "},
		"lines end with CR":                {"profile: safe\rprofil: x\r", "p:2:1: "},
		"a fault in a literal block":       {"# c\n\nhostname: |\n  a b\n", "p:3:11: "},
		"Unicode line ends are refused":    {"# a\u2028profile: safe", "p:1:4: "},
		"an alias is where its anchor was": {"exempt_recipients: &a ['a b']\npolicies: [{recipients: *a}]", "p:1:24: "},
		"larger than all":                  {"# " + strings.Repeat("x", maxFile), "p:1:1: the file is larger than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := Parse("p", []byte(test.text), registry())
			if err := problems.Err(); err == nil || !strings.HasPrefix(err.Error(), "config: "+test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
