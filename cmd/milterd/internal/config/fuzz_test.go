package config

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"milterd/checks"
)

// FuzzParse looks for panics, problems with a wrong position or an unprintable text, and configurations that cannot be used.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			// What is made from a bomb of aliases takes a second each, and no time is left for others. TestGolden parses it.
			if len(text) < 10_000 && filepath.Base(file) != "bomb.yaml" {
				f.Add(text)
			}
		}
	}
	infos := registry()
	read := func(path string) ([]byte, error) {
		if strings.HasSuffix(path, "x") {
			return nil, errors.New("absent")
		}
		return []byte("bob # \xff\n\xff@x\na b\n"), nil
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, problems := parse("fuzz.yaml", text, infos, read)
		if (cfg == nil) != (problems.Err() != nil) {
			t.Fatalf("configuration %v beside %v", cfg, problems)
		}
		lines := splitLines(string(text))
		for i, p := range problems {
			checkProblem(t, p, lines)
			if i > 0 && p.File == problems[i-1].File && p.Line != 0 && p.Line < problems[i-1].Line {
				t.Errorf("not sorted: %v", problems)
			}
		}
		if cfg != nil {
			checkUsable(t, cfg)
		}
	})
}

// splitLines splits a text at the line ends of YAML.
func splitLines(text string) []string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(text, "\ufeff"))
	return strings.Split(text, "\n")
}

func checkProblem(t *testing.T, p Problem, lines []string) {
	t.Helper()
	s := p.Error()
	if !utf8.ValidString(s) || len(s) > 8*maxText || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		t.Errorf("unprintable: %q", s)
	}
	if p.Text == "" {
		t.Errorf("no text: %q", s)
	}
	if strings.HasPrefix(p.Text, "there are more") {
		return
	}
	if p.File != "fuzz.yaml" {
		lines = []string{"bob # ?", "?@x", "a b", ""}
	}
	if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1 {
		t.Errorf("position outside of the text of %d lines: %q", len(lines), s)
	}
}

func checkUsable(t *testing.T, cfg *Config) {
	t.Helper()
	if len(cfg.Listen) == 0 || cfg.MaxConnections < 1 || cfg.DNS.Timeout <= 0 || cfg.Policy.Budget <= 0 || cfg.Policy.ReplyAt == 0 {
		t.Errorf("unusable: %+v", cfg)
	}
	for _, r := range reasonsOf(registry()) {
		if a, ok := cfg.Policy.Actions[r.ID]; !ok || !r.Allows(a) {
			t.Errorf("action of %s: %v, %v", r.ID, a, ok)
		}
		for _, p := range cfg.Policy.Policies {
			if a, ok := p.Actions[r.ID]; !ok || !r.Allows(a) {
				t.Errorf("action of %s in a policy: %v, %v", r.ID, a, ok)
			}
		}
	}
	for _, l := range cfg.Listen {
		if again, err := ParseListener(l.String()); err != nil || again.Address != l.Address || again.Network != l.Network {
			t.Errorf("socket %s parses as %s, %v", l, again, err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"0", "30s", "1h30m", "14d", "1d2h3m4s", "-1s", "1", "", "106751d", "106752d", "1m1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Errorf("%q: message %q", s, err)
			}
			return
		}
		if d < 0 || d%time.Second != 0 {
			t.Errorf("%q is %d", s, d)
		}
		if again, err := ParseDuration(checks.FormatDuration(d)); err != nil || again != d {
			t.Errorf("%q is %s, which parses as %s, %v", s, checks.FormatDuration(d), again, err)
		}
	})
}
