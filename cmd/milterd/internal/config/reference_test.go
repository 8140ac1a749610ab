package config

import (
	"bytes"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"milterd/checks"
)

func referenceText(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteReference(&b, registry()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReference(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/reference.yaml", referenceText(t))
}

// TestReferenceLoadsAsDefaults: the reference changes nothing.
func TestReferenceLoadsAsDefaults(t *testing.T) {
	t.Parallel()
	all := registry()
	cfg, problems := Parse("reference.yaml", []byte(referenceText(t)), all)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := defaultConfig(all)
	if !cfg.Listen[0].Given || cfg.PlaceOf(cfg.Listen[0]).Line == 0 {
		t.Errorf("the socket is not given: %+v", cfg.PlaceOf(cfg.Listen[0]))
	}
	for _, key := range []string{"admin.listen", "admin.socket", "explain.listen"} {
		if !cfg.Given(key) || cfg.Place(key).Line == 0 {
			t.Errorf("%s is not given: %+v", key, cfg.Place(key))
		}
	}
	cfg.Listen[0].Given, cfg.decoder, cfg.places = false, want.decoder, want.places
	for i := range want.settings {
		if got, want := cfg.settings[i].value.Interface(), want.settings[i].value.Interface(); !reflect.DeepEqual(got, want) {
			t.Errorf("settings\ngot  %+v\nwant %+v", got, want)
		}
	}
	cfg.settings, cfg.Text = want.settings, want.Text
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

// TestReferenceExamples uncomments each example and each action.
func TestReferenceExamples(t *testing.T) {
	t.Parallel()
	text := referenceText(t)
	edits := map[string]string{
		"actions": regexp.MustCompile(`(?m)^  #([a-z0-9-]+: )`).ReplaceAllString(text, "  $1"),
	}
	for _, example := range regexp.MustCompile(`(?m)^( *)# Example: (([a-z_]+): .*)\n.*$`).FindAllStringSubmatch(text, -1) {
		edits[example[3]] = strings.Replace(text, example[0], example[1]+example[2], 1) // once: two sections may have a key of that name
	}
	parents := map[string]string{"policies": "", "zones": "checks:\n  everything:\n    "}
	entries := regexp.MustCompile(`(?m)# Example of an entry:\n((?: *#   .*\n)+) *([a-z]+): `)
	for _, entry := range entries.FindAllStringSubmatch(text, -1) {
		edits[entry[2]] = parents[entry[2]] + entry[2] + ":\n" + strings.ReplaceAll(entry[1], "#", "")
	}
	if len(edits) < 12 {
		t.Errorf("%d examples found", len(edits))
	}
	read := func(string) ([]byte, error) { return nil, nil }
	for name, edited := range edits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if edited == text {
				t.Error("nothing changed")
			}
			if cfg, problems := parse("x.yaml", []byte(edited), registry(), read); cfg == nil {
				t.Errorf("%v\n%s", problems, edited)
			}
		})
	}
}

func TestReferenceFaults(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]any{
		"no doc": struct {
			A int `yaml:"a"`
		}{},
		"a strange type": struct {
			A chan int `yaml:"a" doc:"A."`
		}{},
		"milliseconds": struct {
			A time.Duration `yaml:"a" doc:"A."`
		}{time.Millisecond},
		"no doc inside": struct {
			A []struct {
				B int `yaml:"b"`
			} `yaml:"a" doc:"A."`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			if err := WriteReference(&b, []checks.Info{{Name: "bad", Default: settings}}); err == nil || b.Len() > 0 {
				t.Errorf("no error, wrote %d bytes", b.Len())
			}
		})
	}
}
