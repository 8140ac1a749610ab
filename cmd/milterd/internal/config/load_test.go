package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("list", "bob@example.org # our Bob\n\n# all of them\n  @example.net\r\nuser#1\n")
	write("bad-list", "ok\n bad one\n<x@y>\n")

	t.Run("a file that names another", func(t *testing.T) {
		t.Parallel()
		cfg, problems := Load(write("a.yaml", "policies: [{recipients: ['file:list', root]}]\nhostname: a.example"), registry())
		if cfg == nil {
			t.Fatal(problems)
		}
		if want := recipientSet(t, "bob@example.org", "@example.net", "user#1", "root"); !reflect.DeepEqual(cfg.Policy.Policies[0].Recipients, want) {
			t.Errorf("got %+v", cfg.Policy.Policies[0].Recipients)
		}
	})
	t.Run("faults in a file that it names", func(t *testing.T) {
		t.Parallel()
		path := write("b.yaml", "exempt_recipients:\n- file:bad-list\n- file:absent\n- file:.\n- 'file:'\n")
		_, problems := Load(path, registry())
		list := filepath.Join(folder, "bad-list")
		want := []string{
			path + `:3:3: exempt_recipients[1]: cannot read "` + filepath.Join(folder, "absent") + `": no such file or directory`,
			path + `:4:3: exempt_recipients[2]: cannot read "` + folder + `": not a regular file`,
			path + `:5:3: exempt_recipients[3]: "file:" has no path; write file:/path`,
			list + `:2:2: "bad one" is not a recipient: want user, user@domain or @domain`,
			list + `:3:1: "<x@y>" is not a recipient: want user, user@domain or @domain`,
		}
		var got []string
		for _, p := range problems {
			if !p.Warning {
				got = append(got, p.String())
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(folder, "none.yaml")
		cfg, problems := Load(path, registry())
		if cfg != nil || problems.Err() == nil || problems[0].String() != path+": cannot read the file: no such file or directory" {
			t.Errorf("got %v, %v", cfg, problems)
		}
	})
	t.Run("no name", func(t *testing.T) {
		t.Parallel()
		cfg, problems := Load("", registry())
		if cfg == nil || cfg.Hostname == "" || cfg.Listen[0].Given {
			t.Errorf("got %+v, %v", cfg, problems)
		}
	})
}
