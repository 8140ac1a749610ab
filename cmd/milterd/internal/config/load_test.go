package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// recipientFiles returns a folder with a file of recipients without faults and one with faults.
func recipientFiles(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	writeFile(t, folder, "list", "bob@example.org # our Bob\n\n# all of them\n  @example.net\r\nuser#1\n")
	writeFile(t, folder, "bad-list", "ok\n bad one\n<x@y>\n")
	return folder
}

func writeFile(t *testing.T, folder, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFileThatNamesAnother(t *testing.T) {
	t.Parallel()
	folder := recipientFiles(t)
	path := writeFile(t, folder, "a.yaml", "policies: [{recipients: ['file:list', root]}]\nhostname: a.example")
	cfg, problems := Load(path, registry())
	if cfg == nil {
		t.Fatal(problems)
	}
	if want := []string{filepath.Join(folder, "list")}; !slices.Equal(cfg.RecipientFiles, want) {
		t.Errorf("files %q, want %q", cfg.RecipientFiles, want)
	}
	if want := recipientSet(t, "bob@example.org", "@example.net", "user#1", "root"); !reflect.DeepEqual(cfg.Policy.Policies[0].Recipients, want) {
		t.Errorf("got %+v", cfg.Policy.Policies[0].Recipients)
	}
}

func TestLoadFaultsInAnotherFile(t *testing.T) {
	t.Parallel()
	folder := recipientFiles(t)
	path := writeFile(t, folder, "b.yaml", "exempt_recipients:\n- file:bad-list\n- file:absent\n- file:.\n- 'file:'\n")
	_, problems := Load(path, registry())
	want := []string{
		path + `:3:3: exempt_recipients[1]: cannot read "` + filepath.Join(folder, "absent") + `": no such file or directory; correct the path or the file, or delete the entry`,
		path + `:4:3: exempt_recipients[2]: cannot read "` + folder + `": not a regular file; correct the path or the file, or delete the entry`,
		path + `:5:3: exempt_recipients[3]: "file:" has no path; write file:/path`,
	}
	list := filepath.Join(folder, "bad-list")
	starts := []string{list + `:2:2: "bad one" `, list + `:3:1: "<x@y>" `} // package checks has the rest of the text
	var got []string
	for _, p := range problems {
		if !p.Warning {
			got = append(got, p.Error())
		}
	}
	if len(got) != 5 || !slices.Equal(got[:3], want) || !strings.HasPrefix(got[3], starts[0]) || !strings.HasPrefix(got[4], starts[1]) {
		t.Errorf("got  %q\nwant %q, %q...", got, want, starts)
	}
}

func TestLoadWithoutTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.yaml")
	cfg, problems := Load(path, registry())
	if cfg != nil || problems.Err() == nil || problems[0].Error() != path+": cannot read the file: no such file or directory; correct the path, or write the file as milterd.yaml(5) says" {
		t.Errorf("got %v, %v", cfg, problems)
	}
}

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	cfg, problems := Load("", registry())
	if cfg == nil || cfg.Hostname == "" || cfg.Listen[0].Given {
		t.Errorf("got %+v, %v", cfg, problems)
	}
}
