package day

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"milterd/cmd/milterd/doc"
)

var update = flag.Bool("update", false, "write the outputs of the commands into the guide")

// guide is the guide that the day follows. Its commands must be run in their order.
type guide struct {
	path, text string
	configs    []string // blocks of YAML
	commands   []command
	next       int // command
}

// command is a command of the guide with its output.
type command struct {
	line, output string
	block        int    // of the guide's blocks
	now          string // its output in this run, or the output of the guide if they say the same
}

// readGuide reads a guide.
func readGuide(t *testing.T, path string) *guide {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{path: path, text: string(text)}
	for i, b := range doc.Parse(g.text) {
		switch b.Lang {
		case "yaml":
			g.configs = append(g.configs, b.Text)
		case "console":
			for part := range strings.SplitSeq("\n"+b.Text, "\n$ ") {
				if line, output, _ := strings.Cut(part, "\n"); part != "" {
					g.commands = append(g.commands, command{line: line, output: output, block: i})
				}
			}
		}
	}
	return g
}

// expect fails the test unless the guide's next command is this one.
func (g *guide) expect(t *testing.T, line string) {
	t.Helper()
	if g.next == len(g.commands) {
		t.Fatalf("%s does not have %q", g.path, line)
	}
	if want := g.commands[g.next].line; withoutChanging(line) != withoutChanging(want) {
		t.Fatalf("the test runs %q, the next command of %s is %q", line, g.path, want)
	}
}

// compare fails the test unless the next command has this output.
func (g *guide) compare(t *testing.T, output string) {
	t.Helper()
	c := &g.commands[g.next]
	g.next++
	if c.now = strings.TrimRight(c.output, "\n"); withoutChanging(output) != withoutChanging(c.output) {
		c.now = strings.TrimRight(output, "\n")
		if !*update {
			t.Errorf("%s: %s\nin %s\n%s\ngot\n%s", c.line, difference(withoutChanging(c.output), withoutChanging(output)), g.path, c.output, output)
		}
	}
}

// difference returns the first line that two texts do not share.
func difference(want, got string) string {
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(wants), len(gots)) {
		if wants[i] != gots[i] {
			return fmt.Sprintf("want %q, got %q", wants[i], gots[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(wants), len(gots))
}

// finish fails the test if commands of the guide were not run, and with -update writes the outputs.
func (g *guide) finish(t *testing.T) {
	t.Helper()
	for _, c := range g.commands[g.next:] {
		t.Errorf("the test does not run %q of %s", c.line, g.path)
	}
	if !*update || t.Failed() {
		return
	}
	text := g.text
	for i, b := range doc.Parse(g.text) {
		var parts []string
		for _, c := range g.commands {
			if c.block == i {
				parts = append(parts, "$ "+c.line+"\n"+c.now)
			}
		}
		if parts != nil {
			text = strings.Replace(text, "```console\n"+b.Text+"\n```", "```console\n"+strings.Join(parts, "\n\n")+"\n```", 1)
		}
	}
	if err := os.WriteFile(g.path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rules are what differs between two runs, and the name that stands for it in a comparison.
var rules = []struct {
	name string
	is   *regexp.Regexp
}{
	{"TIME", regexp.MustCompile(`\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?`)},
	{"SESSION", regexp.MustCompile(`(?m)^[a-z2-7]{12}\b|\b[a-z2-7]{12}:?$`)},
	{"QUEUE ID", regexp.MustCompile(`\b[0-9A-F]{9,12}\b`)},
	{"DURATION", regexp.MustCompile(`\d+\.\d ms`)},
	{"VERSION", regexp.MustCompile(`(?m)^version .*`)},
	{"COUNT", regexp.MustCompile(`\d+ (quer(y|ies)|answers?|joined|keys?|prefetched|records?|bytes|written)\b`)},
}

// withoutChanging returns an output with the names of what differs between two runs in its place.
func withoutChanging(output string) string {
	for _, rule := range rules {
		output = rule.is.ReplaceAllString(output, rule.name)
	}
	return strings.TrimRight(output, "\n")
}
