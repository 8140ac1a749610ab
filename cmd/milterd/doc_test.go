package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"milterd/checks/all"
	"milterd/cmd/milterd/doc"
	"milterd/milter/mirror"
)

// TestGeneratedTables compares the tables of reasons and findings in the guides with the code.
func TestGeneratedTables(t *testing.T) {
	t.Parallel()
	tables := 0
	for _, g := range doc.Guides() {
		_, rest, found := strings.Cut(g.Markdown(), "<!-- made by milterd doc "+g.Name+" -->\n")
		if !found {
			continue
		}
		tables++
		table, _, _ := strings.Cut(rest, "<!-- end -->")
		compareGenerated(t, "doc/"+g.Name+".md", "milterd doc "+g.Name, table)
	}
	if tables != 2 {
		t.Errorf("%d tables", tables)
	}
}

// compareGenerated compares the part of a document that is made from the code with what the code makes now. With -update, it
// writes the part.
func compareGenerated(t *testing.T, path, madeBy, part string) {
	t.Helper()
	text := readFile(t, path)
	want, found := doc.ReplacePart(text, madeBy, part)
	if !found {
		t.Fatalf("%s has no part made by %s", path, madeBy)
	}
	switch {
	case want == text:
	case *update:
		writeFile(t, path, want)
	default:
		t.Errorf("%s is out of date: make examples", path)
	}
}

func TestSubjectsOfTheManual(t *testing.T) {
	t.Parallel()
	list := printed(t, "doc")
	for _, g := range doc.Guides() {
		if !strings.Contains(list, "  "+g.Name+" ") || !strings.Contains(list, g.Title) {
			t.Errorf("%s is not listed:\n%s", g.Name, list)
		}
		if text := printed(t, "doc", g.Name); text != g.Markdown() {
			t.Errorf("milterd doc %s prints %.100q", g.Name, text)
		}
	}
	if text := printed(t, "doc", "reasons"); !strings.Contains(text, "| rdns | `rdns-missing` | greylist | reject | 550 5.7.25 |") ||
		!strings.Contains(text, "\n### rdns-missing\n") {
		t.Errorf("milterd doc reasons prints %.300s", text)
	}
	if text := printed(t, "doc", "mirror"); !strings.Contains(text, "| `mirror-spf-fail` | ") || !strings.Contains(text, "\n### mirror-spf-fail\n") {
		t.Errorf("milterd doc mirror prints %.300s", text)
	}
	for line, want := range map[string]string{
		"doc nonsense":     "milterd: there is no subject \"nonsense\"; want one of attach, authentication, ",
		"doc confing":      "milterd: there is no subject \"confing\"; did you mean config? (\"milterd doc\" lists the subjects)\n",
		"doc helo-bare-ip": "milterd: helo-bare-ip is a reason: milterd doc reasons describes it, ",
		"doc mirror-rdns":  "milterd: mirror-rdns is a finding of the mirror: milterd doc mirror describes it\n",
	} {
		if code, out, errs := runLine(t, strings.Fields(line)...); code != exitUsage || out != "" || !strings.HasPrefix(errs, want) {
			t.Errorf("milterd %s: exit status %d, %s%s", line, code, out, errs)
		}
	}
}

// sections are those that every manual page has, in this order.
var sections = []string{
	"NAME", `"SYNOPSIS"`, `"DESCRIPTION"`, `"OPTIONS"`, `"FILES"`, `"EXIT STATUS"`, `"EXAMPLES"`, `"SEE ALSO"`,
}

func TestManualPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	printed(t, "doc", "man", dir)
	for _, name := range []string{
		"milterd.8", "milterd-operate.8", "milterd-simulate.1", "milterd-replay.1", "milterd.yaml.5", "milterd-reasons.7",
	} {
		page := readFile(t, filepath.Join(dir, name))
		at := 0
		for _, section := range sections {
			i := strings.Index(page[at:], "\n.SH "+section+"\n")
			if i < 0 && section == `"SYNOPSIS"` && strings.HasSuffix(name, ".5") || i < 0 && section == `"SYNOPSIS"` && strings.HasSuffix(name, ".7") {
				continue // they are about no command
			}
			if i < 0 {
				t.Fatalf("%s has no section %s in its place", name, section)
			}
			at += i
		}
		if strings.Contains(page, "<!--") {
			t.Errorf("%s has a directive", name)
		}
	}
	reasons := readFile(t, filepath.Join(dir, "milterd-reasons.7"))
	for _, r := range all.Reasons() {
		if !strings.Contains(reasons, ".TP\n\\fB"+strings.ReplaceAll(r.ID, "-", `\-`)+"\\fR\n") {
			t.Errorf("milterd-reasons(7) does not have %s", r.ID)
		}
	}
	for _, f := range mirror.Findings() {
		if !strings.Contains(reasons, ".TP\n\\fB"+strings.ReplaceAll(f.ID, "-", `\-`)+"\\fR\n") {
			t.Errorf("milterd-reasons(7) does not have %s", f.ID)
		}
	}
	commands := readFile(t, filepath.Join(dir, "milterd-operate.8"))
	for _, want := range []string{`.SS "milterd block add CLIENT|NETWORK [flags]"`, `\fB\-\-for DURATION\fR`, `\fB\-c, \-\-config FILE\fR`} {
		if !strings.Contains(commands, want) {
			t.Errorf("milterd-operate(8) does not have %s", want)
		}
	}
}

// TestManualPagesByMandoc has mandoc look for mistakes, down to those of style, and lay the pages out.
func TestManualPagesByMandoc(t *testing.T) {
	t.Parallel()
	const widest = 80 // characters in a terminal, without the indentation; examples are not wrapped
	overstrike := regexp.MustCompile(".\x08")
	requirePrograms(t, "mandoc")
	dir := t.TempDir()
	printed(t, "doc", "man", dir)
	pages, err := os.ReadDir(dir)
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, p := range pages {
		path := filepath.Join(dir, p.Name())
		if out, err := exec.Command("mandoc", "-T", "lint", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("mandoc -T lint: %v\n%s", err, out)
		}
		out, err := exec.Command("mandoc", "-T", "utf8", path).CombinedOutput()
		if err != nil || len(out) < 1000 {
			t.Errorf("mandoc: %v\n%s", err, out)
		}
		for line := range strings.Lines(overstrike.ReplaceAllString(string(out), "")) {
			if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > widest {
				t.Errorf("%s: %d characters, want at most %d: %s", p.Name(), n, widest, line)
			}
		}
	}
}

// TestManualPagesCannotBeWritten tests the error for a folder that cannot be made.
func TestManualPagesCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	if code, _, _ := runLine(t, "doc", "man", filepath.Join(file, "man")); code != 1 {
		t.Errorf("exit status %d", code)
	}
}
