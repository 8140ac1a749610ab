package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"milterd/checks/all"
	"milterd/cmd/milterd/doc"
	"milterd/cmd/milterd/internal/config"
)

var update = flag.Bool("update", false, "write the generated parts of documents, and their pictures")

// root is the folder of the module.
const root = "../.."

// documents returns the paths of all documents.
func documents(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{root + "/*.md", "doc/*.md", "doc/man/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
		}
		list = append(list, paths...)
	}
	return list
}

// TestDocuments runs or compares each block of code in the documents, by its language:
//
//	sh        commands that are run, or looked at if they change the machine
//	console   a command after "$ " and its output; TestDay runs those of the guide "day"
//	yaml      a configuration
//	session   a session file
//	access    an access list
//	postfix   lines of examples/postfix-main.cf, which the end-to-end tests use
//	sendmail  lines of examples/sendmail.mc, likewise
//	log WORDS the lines of a daemon's log that have the words
//	field     the Authentication-Results field of a good message
//	go        the files of the check that TestCheckOfTheGuide builds, and the tests that TestUpstream runs
//	diff      the patches that TestUpstream applies
func TestDocuments(t *testing.T) {
	t.Parallel()
	w := newDocsWorld(t)
	for _, path := range documents(t) {
		text := readFile(t, path)
		changed := text
		for _, b := range doc.Parse(text) {
			if b.Kind != doc.Code {
				continue
			}
			where := fmt.Sprintf("%s:%d", path, b.Line)
			if now := w.tryBlock(t, where, b); now != b.Text {
				changed = strings.Replace(changed, "```"+b.Lang+"\n"+b.Text+strings.Repeat("\n", min(1, len(b.Text))), "```"+b.Lang+"\n"+now+"\n", 1)
				if !*update {
					t.Errorf("%s is out of date: make examples\n%s", where, changedLines(b.Text, now))
				}
			}
		}
		if *update && changed != text {
			writeFile(t, path, changed)
		}
	}
	compareGenerated(t, "doc/log.md", "the metrics of a running daemon", w.metrics(t))
}

// tryBlock tries a block of code. It returns the text that the block should have.
func (w *docsWorld) tryBlock(t *testing.T, where string, b doc.Block) string {
	t.Helper()
	lang, words, _ := strings.Cut(b.Lang, " ")
	switch lang {
	case "sh":
		w.tryCommands(t, where, b.Text)
	case "console":
		if !strings.HasPrefix(where, "doc/day.md:") {
			return w.console(t, b.Text)
		}
	case "yaml":
		w.tryConfig(t, where, b.Text)
	case "session":
		w.trySession(t, where, b.Text)
	case "access":
		writeFile(t, w.path("etc/milterd/deny.txt"), b.Text+"\n")
		w.tryConfig(t, where, "checks: {access: {deny: [/etc/milterd/deny.txt]}}")
	case "postfix":
		wantLines(t, where, b.Text, root+"/examples/postfix-main.cf")
	case "sendmail":
		wantLines(t, where, b.Text, root+"/examples/sendmail.mc")
	case "log":
		return sameUnless(b.Text, strings.Join(w.logLines(strings.Fields("level= "+words)...), "\n"))
	case "field":
		return w.resultField(t)
	case "go", "diff":
		tested := map[string]string{"doc/check.md": "go", "doc/upstream.md": "go diff"}[strings.Split(where, ":")[0]]
		if !slices.Contains(strings.Fields(tested), lang) {
			t.Errorf("%s: no test builds it", where)
		}
	default:
		t.Errorf("%s: unknown language %q", where, b.Lang)
	}
	return b.Text
}

// changing matches what differs between two runs: times, durations, ids of sessions and records, counts of the daemon and the space
// that aligns them.
var changing = regexp.MustCompile(`\[[0-9.]+ ms\]|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|session=\w+|\b[a-z0-9]{12}$| +` +
	`|r=[a-z2-7]{48}|^(version|connections) .*|\d+ (answers|bytes|joined|keys|prefetched|queries|records|written)`)

// question matches a line with a question to the DNS. Those of one check are asked at the same time.
var question = regexp.MustCompile(`^ *\S+\. [A-Z]+\? `)

// sameUnless returns the old text, or the new one if they differ in more than what changes between two runs.
func sameUnless(old, now string) string {
	if slices.Equal(withoutChanging(old), withoutChanging(now)) {
		return old
	}
	return now
}

// withoutChanging returns the lines of a text without what changes between two runs. Questions next to each other are sorted.
func withoutChanging(text string) []string {
	var list []string
	start := 0 // of the last questions
	for line := range strings.Lines(text) {
		list = append(list, changing.ReplaceAllString(strings.TrimSpace(line), " "))
		if question.MatchString(line) {
			slices.Sort(list[start:])
		} else {
			start = len(list)
		}
	}
	return list
}

// changedLines returns the lines that only the old text has, after "-", and those that only the new one has, after "+". If there
// are none, because the order differs, it returns the new text.
func changedLines(old, now string) string {
	before, after := withoutChanging(old), withoutChanging(now)
	only := func(mark string, lines, others []string) (found string) {
		for _, line := range lines {
			if !slices.Contains(others, line) {
				found += mark + " " + line + "\n"
			}
		}
		return found
	}
	return cmp.Or(only("-", before, after)+only("+", after, before), now)
}

// console runs the commands of a block and returns the block with their output.
func (w *docsWorld) console(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			continue
		}
		out, err := w.run(t, command)
		if err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
		b.WriteString("$ " + command + "\n" + strings.ReplaceAll(out, w.dir+"/etc/", "/etc/"))
	}
	return sameUnless(text, strings.TrimRight(b.String(), "\n"))
}

// tryConfig parses a configuration, in which paths in /etc/milterd are those of the world.
func (w *docsWorld) tryConfig(t *testing.T, where, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "/etc/milterd", w.path("etc/milterd"))
	_, problems := config.Parse(w.path("etc/milterd/x.yaml"), []byte(text), all.Checks)
	for _, p := range problems {
		t.Errorf("%s: %s", where, p)
	}
}

// trySession plays a session file. A check that milterd does not have is one that another test builds.
func (w *docsWorld) trySession(t *testing.T, where, text string) {
	t.Helper()
	if strings.Contains(text, "nameserver:") {
		return // TestCheckOfTheGuide plays it
	}
	writeFile(t, w.path("work/x.session"), text)
	if out, err := w.run(t, "milterd simulate x.session"); err != nil {
		t.Errorf("%s: %v\n%s", where, err, out)
	}
}

// wantLines reports lines that are not in a file.
func wantLines(t *testing.T, where, text, path string) {
	t.Helper()
	lines := strings.Split(readFile(t, path), "\n")
	for line := range strings.SplitSeq(text, "\n") {
		if !slices.Contains(lines, line) {
			t.Errorf("%s: %s does not have the line %q", where, path, line)
		}
	}
}

// tryCommands runs the commands of a block that call milterd, and looks at the others.
func (w *docsWorld) tryCommands(t *testing.T, where, text string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", ""), "\n") {
		command, _, _ := strings.Cut(line, "#")
		words := strings.Fields(strings.TrimPrefix(command, "sudo "))
		switch {
		case len(words) == 0:
		case words[0] == "milterd" || words[0] == "sed" || words[0] == "echo":
			if out, err := w.run(t, line); err != nil {
				t.Errorf("%s: %s: %v\n%s", where, line, err, out)
			}
		default:
			lookAtCommand(t, where, words)
		}
	}
}

// lookAtCommand reports what is wrong with a command that is not run: a make target, unit or package that does not exist.
func lookAtCommand(t *testing.T, where string, words []string) {
	t.Helper()
	switch words[0] {
	case "make":
		for _, target := range words[1:] {
			if !strings.Contains(target, "=") && !strings.Contains(readFile(t, root+"/Makefile"), "\n"+target+":") {
				t.Errorf("%s: make has no target %s", where, target)
			}
		}
	case "systemctl":
		unit := words[len(words)-1]
		if !strings.Contains(unit, ".") {
			unit += ".service"
		}
		if _, err := os.Stat(root + "/systemd/" + unit); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	case "go":
		for _, word := range words[1:] {
			if folder, ok := strings.CutPrefix(word, "./"); ok {
				if _, err := os.Stat(filepath.Join(root, strings.TrimSuffix(folder, "..."))); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
		}
	case "grep", "journalctl": // of the log
	case "apt": // of a file that make packages builds
		if file := words[len(words)-1]; !strings.HasPrefix(file, "./dist/milterd_") {
			t.Errorf("%s: make packages builds no %s", where, file)
		}
	default:
		t.Errorf("%s: no test knows the command %s", where, words[0])
	}
}

// TestExamples checks each configuration in examples, and plays a session to each that is for a situation.
func TestExamples(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(root + "/examples/*.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		if filepath.Base(path) == "compose.yaml" {
			path = composedConfig(t, path)
		}
		if code, out, errs := runLine(t, "check-config", "-c", path); code != 0 || out != path+": no errors\n" {
			t.Errorf("%s: exit status %d\n%s%s", path, code, out, errs)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		if name == "milterd" {
			continue // the reference, see TestExampleConfiguration, and that of containers, which needs a Valkey
		}
		if code, out, errs := runLine(t, "simulate", "-c", path, "testdata/examples/"+name+".session"); code != 0 {
			t.Errorf("%s: exit status %d\n%s%s", path, code, out, errs)
		}
	}
}

// composedConfig writes the configuration in a Compose file to a file, and returns its path.
func composedConfig(t *testing.T, path string) string {
	t.Helper()
	var compose struct {
		Configs map[string]struct{ Content string }
	}
	if err := yaml.Unmarshal([]byte(readFile(t, path)), &compose); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, file, compose.Configs["milterd"].Content)
	return file
}

// TestExampleConfiguration tests that examples/milterd.yaml is the output of milterd doc config.
func TestExampleConfiguration(t *testing.T) {
	t.Parallel()
	if got := readFile(t, root+"/examples/milterd.yaml"); got != printed(t, "doc", "config") {
		t.Error("examples/milterd.yaml is not the output of milterd doc config: make examples")
	}
}

func TestEveryDependencyHasALine(t *testing.T) {
	t.Parallel()
	text := readFile(t, root+"/CONTRIBUTING.md")
	for line := range strings.SplitSeq(readFile(t, root+"/go.mod"), "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(line, "require "))
		if strings.Contains(line, "// indirect") || !strings.Contains(line, " v") {
			continue
		}
		if module, _, _ := strings.Cut(line, " "); !strings.Contains(text, "`"+module+"`") {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", module)
		}
	}
}

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	const most = 250
	if n := strings.Count(readFile(t, root+"/README.md"), "\n"); n > most {
		t.Errorf("%d lines, want %d at most", n, most)
	}
}
