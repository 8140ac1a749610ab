package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The fields of the JSON output, which programs rely on: a change breaks them. "map" stands for any key.
var (
	simulateFields = []string{
		"action", "checks", "checks.action", "checks.check", "checks.detail", "checks.error", "checks.ms", "checks.reason", "checks.stage",
		"reason", "reply", "reply.code", "reply.enhanced", "reply.link", "reply.text",
	}
	simulateMayHave = []string{
		"checks.asked", "checks.asked.answer", "checks.asked.ms", "checks.asked.question", "checks.detail.map", "checks.notes", "checks.vouch", "trusted", "wrong",
	}
	replayFields = []string{
		"held", "judged", "messages", "quarantined", "reasons", "reasons.map", "reasons.map.action", "reasons.map.count", "reasons.map.messages",
		"reasons.map.messages.file", "reasons.map.messages.message_id", "refused", "unreadable",
	}
	replayMayHave = []string{
		"changed", "changes", "interrupted", "not_judged", "not_judged.map", "not_judged.map.map", "reasons.map.actions", "reasons.map.actions.map",
		"reasons.map.messages.number", "reasons.map.messages.session", "trusted",
	}
)

// TestFieldsOfJSON compares the JSON of simulate and replay with the fields that programs rely on.
func TestFieldsOfJSON(t *testing.T) {
	t.Parallel()
	compare := func(command, out string, must, may []string) {
		t.Helper()
		var value any
		if err := json.Unmarshal([]byte(out), &value); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		got := map[string]bool{}
		addFields(got, "", value)
		for _, field := range must {
			if !got[field] {
				t.Errorf("%s: no field %s in %s", command, field, out)
			}
			delete(got, field)
		}
		for _, field := range slices.Sorted(maps.Keys(got)) {
			if !slices.Contains(may, field) {
				t.Errorf("%s: unknown field %s", command, field)
			}
		}
	}
	compare("simulate", printed(t, "simulate", "--json", root+"/examples/greylist.session"), simulateFields, simulateMayHave)
	for _, c := range []struct{ file, want string }{
		{"good", `"reply":null,"action":"accept","reason":""`},
		{"client", `{"reply":{"code":550,"enhanced":"5.7.25","text":"192.0.2.10 has no reverse DNS name","link":""},"action":"reject","reason":"rdns-missing","checks":[{`},
		{"client", `"check":"rdns","stage":"connect","reason":"rdns-missing","action":"reject","error":"","ms":`},
	} {
		if out := printed(t, "simulate", "--json", root+"/examples/"+c.file+".session"); !strings.Contains(out, c.want) {
			t.Errorf("%s: no %s in %s", c.file, c.want, out)
		}
	}

	mbox := filepath.Join(t.TempDir(), "mbox")
	writeFile(t, mbox, "From ann@example.net Sat Nov 21 12:00:00 2026\nDate: yesterday\nFrom: ann@example.net\nMessage-ID: <1@example.net>\n\nHi.\n")
	config := filepath.Join(t.TempDir(), "milterd.yaml")
	writeFile(t, config, "profile: safe\n")
	compare("replay", printed(t, "replay", "-c", config, "--dns", "none", "--json", mbox), replayFields, replayMayHave)
}

// TestEmptyListsInJSON tests that a result of the daemon has [] for a list without elements.
func TestEmptyListsInJSON(t *testing.T) {
	t.Parallel()
	d, _ := serveOperatorPages(t, nil)
	d.resolver.Close() // no question is answered
	functions := d.functions()
	for _, c := range []struct{ name, args string }{
		{"status", "{}"},
		{"log", "{}"},
		{"access/list", "{}"},
		{"access/list", `{"entry":"192.0.2.9"}`},
		{"access/add", `{"list":"allow","entry":"192.0.2.9"}`},
		{"why", `{"what":"192.0.2.9"}`},
		{"block/list", "{}"},
		{"greylist/list", "{}"},
		{"greylist/allow", `{"what":"192.0.2.9"}`},
		{"greylist/show", `{"what":"192.0.2.9"}`},
		{"report/daily", "{}"},
		{"report/watch", "{}"},
		{"report/watch", `{"reason":"rdns-missing"}`},
		{"report/action", "{}"},
		{"report/forwarders", "{}"},
		{"report/retry", "{}"},
		{"report/mirror", "{}"},
		{"mirror", `{"domain":"example.org"}`},
	} {
		w := httptest.NewRecorder()
		functions[c.name].ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/"+c.name, strings.NewReader(c.args)))
		if out := w.Body.String(); w.Code != http.StatusOK || strings.Contains(out, "null") {
			t.Errorf("%s %s: %d, %s", c.name, c.args, w.Code, out)
		}
	}
}

// addFields adds the paths of the fields of a value. Keys of objects whose keys are data are "map".
func addFields(fields map[string]bool, path string, value any) {
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch v := value.(type) {
	case []any:
		for _, each := range v {
			addFields(fields, path, each)
		}
	case map[string]any:
		for name, each := range v {
			if slices.Contains([]string{"reasons", "checks.detail", "not_judged", "not_judged.map"}, path) {
				name = "map"
			}
			fields[join(name)] = true
			addFields(fields, join(name), each)
		}
	case nil, bool, float64, string:
	default:
		panic(fmt.Sprintf("%T", v))
	}
}
