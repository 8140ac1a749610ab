package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"milterd/cmd/milterd/doc"
)

// wordsOf returns a command line that calls a command with as many arguments as it wants.
func wordsOf(c *cobra.Command) []string {
	words := strings.Fields(c.CommandPath())[1:]
	for _, w := range strings.Fields(c.Use)[1:] {
		if w == strings.ToUpper(w) && !strings.HasPrefix(w, "[") {
			words = append(words, "192.0.2.9")
		}
	}
	return words
}

// TestUnknownFlag tests that every command has the exit status 2 for a flag that it does not know.
func TestUnknownFlag(t *testing.T) {
	t.Parallel()
	root := newRoot("")
	for _, c := range append(doc.Leaves(root.Commands()), root) {
		args := append(wordsOf(c), "--unknown")
		if code, out, errs := runLine(t, args...); code != exitUsage || out != "" || errs != "milterd: unknown flag: --unknown (see --help)\n" {
			t.Errorf("milterd %q: exit status %d, %q, %q", args, code, out, errs)
		}
	}
}

// TestHelpFitsTerminal tests that no line of a help is too long for a terminal of usual width.
func TestHelpFitsTerminal(t *testing.T) {
	t.Parallel()
	root := newRoot("")
	for _, c := range append(doc.Leaves(root.Commands()), root) {
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len(line) > 140 {
				t.Errorf("%s: %q", c.CommandPath(), line)
			}
		}
	}
}

// TestNoDaemon tests that every command that asks the daemon has the exit status 3 if there is none.
func TestNoDaemon(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "no.sock")
	tested := 0
	for _, c := range doc.Leaves(newRoot("").Commands()) {
		if f := c.InheritedFlags().Lookup("socket"); f == nil && c.LocalFlags().Lookup("socket") == nil || c.Name() == "simulate" || c.Name() == "dmarc-reports" {
			continue
		}
		tested++
		args := append(wordsOf(c), "--socket", socket)
		if code, out, errs := runLine(t, args...); code != exitNoDaemon || out != "" || !strings.HasPrefix(errs, "milterd: no daemon answers at "+socket) {
			t.Errorf("milterd %q: exit status %d, %q, %q", args, code, out, errs)
		}
	}
	absent := "unix:" + socket
	args := []string{"simulate", "--milter", absent, "--client", "192.0.2.9", "--rcpt", "bob@example.org"}
	if code, out, errs := runLine(t, args...); code != exitNoDaemon || out != "" || !strings.HasPrefix(errs, "milterd: no daemon answers at "+absent+": ") {
		t.Errorf("milterd %q: exit status %d, %q, %q", args, code, out, errs)
	}
	if tested < 12 {
		t.Errorf("only %d commands were tested", tested)
	}
}

// TestExitStatus tests the exit statuses of commands that need no daemon.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	writeFile(t, good, "hostname: mx.example.org\nlocal_domains: [example.org]\n")
	writeFile(t, bad, "hostname: mx.example.org\nprofil: safe\n")
	refused := []string{
		"simulate", "-c", good, "--client", "192.0.2.9", "--helo", "192.0.2.9", "--from", "a@localhost.invalid", "--rcpt", "b@example.org",
	}
	for _, c := range []struct {
		args   []string
		status int
		stderr string // is part of standard error
	}{
		{args: nil, status: exitDone},
		{args: []string{"--version"}, status: exitDone},
		{args: []string{"version"}, status: exitDone},
		{args: []string{"doc"}, status: exitDone},
		{args: []string{"block", "--help"}, status: exitDone},
		{args: refused, status: exitDone},
		{args: []string{"check-config", good}, status: exitDone},
		{args: []string{"check-config", "-c", "none"}, status: exitDone, stderr: "local_domains"},

		{args: []string{"check-config", bad}, status: exitNo, stderr: bad + ":2:1: unknown key \"profil\"; did you mean \"profile\"?"},
		{args: []string{"check-config", filepath.Join(dir, "absent")}, status: exitNo, stderr: "cannot read the file"},
		{args: []string{"serve", "-c", bad}, status: exitNo, stderr: bad + ":2:1: "},
		{args: []string{"simulate", filepath.Join(dir, "absent.session")}, status: exitNo, stderr: "no such file"},
		{args: []string{"replay", dir + "/absent"}, status: exitNo, stderr: "milterd: " + dir + "/absent: no such file or directory\n"},
		{args: []string{"replay", "-c", bad, dir}, status: exitNo, stderr: bad + ":2:1: "},

		{args: []string{"simulate", "--cleint", "192.0.2.9"}, status: exitUsage, stderr: "unknown flag: --cleint; did you mean --client?"},
		{args: []string{"nonsense"}, status: exitUsage, stderr: `unknown command "nonsense" (see --help)`},
		{args: []string{"access", "allow", "192.0.2.9", "--for", ""}, status: exitUsage, stderr: `--for: ""`},
		{args: []string{"access", "allow", "192.0.2.9", "--until", ""}, status: exitUsage, stderr: `--until: ""`},
		{args: []string{"simulate", "--explain=nonsense"}, status: exitUsage, stderr: `--explain: "nonsense" is neither true nor false`},
		{args: []string{"doc", "foo", "--json"}, status: exitUsage, stderr: `there is no subject "foo"; want one of attach, `},
		{args: []string{"help", "foo"}, status: exitUsage, stderr: `unknown command "foo"`},
		{args: []string{"help", "acces"}, status: exitUsage, stderr: `unknown command "acces"; did you mean access?`},
		{args: []string{"help", "access", "alow"}, status: exitUsage, stderr: `unknown command "alow"; did you mean allow?`},
		{args: []string{"help", "doc", "confing"}, status: exitUsage, stderr: `did you mean config? ("milterd doc"`},
		{args: []string{"help", "access", "allow"}},
		{args: []string{"help"}},
		{args: []string{"acces", "list", "--socket", "x"}, status: exitUsage, stderr: `unknown command "acces"; did you mean access?`},
		{args: []string{"access", "alow", "192.0.2.9", "--until", "friday"}, status: exitUsage, stderr: `unknown command "alow"; did you mean allow?`},
		{args: []string{"block"}, status: exitUsage, stderr: "want one of the commands"},
		{args: []string{"block", "foo"}, status: exitUsage, stderr: `unknown command "foo"; want one of add, list, remove`},
		{args: []string{"completion"}, status: exitUsage, stderr: "completion: want one of the commands bash, fish, powershell, zsh"},
		{args: []string{"completion", "bsh"}, status: exitUsage, stderr: `unknown command "bsh"; did you mean bash?`},
		{args: []string{"completion", "bash"}, status: exitDone},
		{args: []string{"doc", "nonsense"}, status: exitUsage},
		{args: []string{"doc", "man"}, status: exitUsage},
		{args: []string{"check-config", good, bad}, status: exitUsage, stderr: "want at most one argument"},
		{args: []string{"check-config", "-c", good, bad}, status: exitUsage, stderr: "want one file"},
		{args: []string{"serve", "-c", good, "--listen", "8891"}, status: exitUsage, stderr: `"8891" is not a socket; did you mean "inet:8891@127.0.0.1"?`},
		{args: []string{"greylist", "list", "--max", "-1"}, status: exitUsage, stderr: "--max: want 0 or more"},
		{args: []string{"block", "add", "192.0.2.9", "--for", "soon"}, status: exitUsage, stderr: `"soon" is not a`},
	} {
		if code, out, errs := runLine(t, c.args...); code != c.status || !strings.Contains(errs, c.stderr) {
			t.Errorf("milterd %q: exit status %d, want %d; %q, %q", c.args, code, c.status, out, errs)
		}
	}
}

// fullDisk is a writer that fails.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestLostOutput tests that a command fails whose output cannot be written.
func TestLostOutput(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"version"}, {"--version"}, {"--help"}, {"doc"}, {"doc", "config"}, {"doc", "day"}, {"check-config", "-c", "none"},
		{"simulate", "../../examples/client.session"},
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), args, fullDisk{}, &errs); code != exitNo || !strings.Contains(errs.String(), "milterd: no space left on device\n") {
			t.Errorf("milterd %q: exit status %d, %q", args, code, &errs)
		}
	}
}

// TestDefaultFile tests which configuration file commands without -c read.
func TestDefaultFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	check := func(args ...string) (code int, text string) {
		var out bytes.Buffer
		code = execute(t.Context(), newRoot(file), append(args, "check-config"), &out, &out)
		return code, out.String()
	}
	if code, text := check(); code != exitDone || !strings.Contains(text, "the built-in defaults apply\n") || !strings.Contains(text, "the default configuration: no errors\n") {
		t.Errorf("without a file: %d, %s", code, text)
	}
	writeFile(t, file, "hostname: mx.example.org\n")
	if code, text := check(); code != exitDone || strings.Contains(text, "defaults apply") || !strings.HasSuffix(text, file+": no errors\n") {
		t.Errorf("with a file: %d, %s", code, text)
	}
	if code, text := check("-c", "none"); code != exitDone || strings.Contains(text, "defaults apply") || !strings.HasSuffix(text, "the default configuration: no errors\n") {
		t.Errorf("-c none: %d, %s", code, text)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if code, text := check(); code != exitNo || !strings.Contains(text, file+": cannot read the file") {
		t.Errorf("with a folder in its place: %d, %s", code, text)
	}
}

// TestAdminSocketOf tests from where commands have the path of the admin socket.
func TestAdminSocketOf(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "milterd.yaml")
	const byDefault = "/run/milterd/admin.sock"
	for _, c := range []struct{ name, text, flag, want string }{
		{name: "flag", text: "admin: {socket: /a}", flag: "/b", want: "/b"},
		{name: "flag of the form of listen", flag: "unix:/b", want: "/b"},
		{name: "file", text: "admin: {socket: /a}", want: "/a"},
		{name: "file with errors elsewhere", text: "admin: {socket: /a}\nprofile: nice\nlisten: 25", want: "/a"},
		{name: "file without it", text: "profile: safe", want: byDefault},
		{name: "file that is no YAML", text: "admin: {socket: /a", want: byDefault},
		{name: "relative path in the file", text: "admin: {socket: a}", want: byDefault},
		{name: "off in the file", text: "admin: {socket: \"\"}"},
	} {
		writeFile(t, file, c.text)
		r := remote{configFile: &file, socket: c.flag}
		if got, err := r.adminSocket(); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	absent := filepath.Join(t.TempDir(), "absent")
	if got, err := (&remote{configFile: &absent}).adminSocket(); got != "" || err == nil || !strings.HasPrefix(err.Error(), "-c: there is no file "+absent+"; ") {
		t.Errorf("absent file: %q, %v", got, err)
	}
	if got, err := (&remote{configFile: &absent, socket: "/b"}).adminSocket(); got != "/b" || err != nil {
		t.Errorf("absent file that is not needed: %q, %v", got, err)
	}
}
