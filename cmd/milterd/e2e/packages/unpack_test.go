package packages

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// wantVersion tests what the program of a package prints as its version.
func wantVersion(t *testing.T, printed string) {
	t.Helper()
	if !strings.Contains(printed, " "+version+" ") {
		t.Errorf("milterd --version: %q, want %s", printed, version)
	}
}

// TestArchive tests that the .tar.gz has a static program without symbols, and what one needs to install it by hand.
func TestArchive(t *testing.T) {
	require(t)
	t.Parallel()
	dir := t.TempDir()
	output(t, "tar", "-xzf", file(t, dist(t), ".tar.gz"), "--strip-components=1", "-C", dir)
	program := filepath.Join(dir, "milterd")
	wantVersion(t, output(t, program, "--version"))
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md", "systemd/milterd.service", "man/milterd.8", "examples/milterd.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 || f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Errorf("libraries %q, %v, symbols %v", libraries, err, f.Section(".symtab"))
	}
}

// TestRPM unpacks the .rpm and runs its program.
func TestRPM(t *testing.T) {
	require(t)
	t.Parallel()
	dir, rpm := t.TempDir(), file(t, dist(t), ".rpm")
	// The names in the archive are absolute.
	output(t, "sh", "-c", `cd "$1" && rpm2cpio "$2" | cpio -idm --no-absolute-filenames --quiet`, "sh", dir, rpm)
	wantVersion(t, output(t, filepath.Join(dir, "usr/sbin/milterd"), "--version"))
	output(t, filepath.Join(dir, "usr/sbin/milterd"), "check-config", filepath.Join(dir, "etc/milterd/milterd.yaml"))
	if got := output(t, "rpm", "-qpc", rpm); got != "/etc/milterd/milterd.yaml\n" {
		t.Errorf("configuration files: %q", got)
	}
	if got := output(t, "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{LICENSE}", rpm); got != "milterd "+version+" MIT" {
		t.Errorf("tags: %q", got)
	}
	for _, part := range []string{"post", "preun", "postun"} {
		script := output(t, "rpm", "-qp", "--qf", "%{"+strings.ToUpper(part)+"IN}", rpm)
		if part != "post" {
			script = output(t, "rpm", "-qp", "--qf", "%{"+strings.ToUpper(part)+"}", rpm)
		}
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(script)
		if out := finish(t, cmd); !strings.Contains(script, "milterd.service") {
			t.Errorf("%s: %q %s", part, script, out)
		}
		if part == "post" && strings.Contains(script, "milterd-report") {
			t.Errorf("the installation enables the daily report, if the distribution enables what is new: %q", script)
		}
	}
}

// TestSBOM compares the modules of the SBOM with those of the program and of go.mod, and looks for their licenses.
func TestSBOM(t *testing.T) {
	require(t)
	t.Parallel()
	dir := t.TempDir()
	output(t, "tar", "-xzf", file(t, dist(t), ".tar.gz"), "--strip-components=1", "-C", dir)
	linked, err := buildinfo.ReadFile(filepath.Join(dir, "milterd"))
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Name, Version string }
	}
	text, err := os.ReadFile(file(t, dist(t), ".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &sbom); err != nil || sbom.Format != "CycloneDX" {
		t.Fatalf("format %q, %v", sbom.Format, err)
	}
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal([]byte(output(t, "go", "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	required := map[string]string{}
	for _, m := range mod.Require {
		required[m.Path] = m.Version
	}
	licenses, err := os.ReadFile(filepath.Join(dir, "modules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, c := range sbom.Components {
		listed[c.Name] = c.Version
		if c.Name != "std" && required[c.Name] != c.Version {
			t.Errorf("%s %s: go.mod has %q", c.Name, c.Version, required[c.Name])
		}
	}
	for _, m := range linked.Deps {
		if listed[m.Path] != m.Version {
			t.Errorf("%s %s is linked: the SBOM has %q", m.Path, m.Version, listed[m.Path])
		}
		if !strings.Contains(string(licenses), "\n\n"+m.Path+" "+m.Version+"\n\n") {
			t.Errorf("the license of %s is missing", m.Path)
		}
	}
	if len(listed) != len(linked.Deps)+1 { // the standard library
		t.Errorf("the SBOM has %d modules, the program %d and the standard library", len(listed), len(linked.Deps))
	}
	t.Logf("%d modules in the SBOM with the standard library, %d in go.mod with those of tests", len(listed), len(required))
}
