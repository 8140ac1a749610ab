package config

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/all"
)

// TestFaultsOfSettings: what Validate finds is reported at the value, with the value.
func TestFaultsOfSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"a number", "checks:\n  dnsbl:\n    health: 30s\n", "p:3:13: checks.dnsbl.health: 30s: "},
		{"an entry without a key", "checks:\n  dnsbl:\n    zones:\n      - zone: bl.example\n", "p:4:9: checks.dnsbl.zones[0]: codes: "},
		{"a value of an entry", "checks:\n  dnsbl:\n    zones:\n      - zone: bl.example\n        codes: [127.0.0.2]\n        test: x\n",
			"p:6:15: checks.dnsbl.zones[0].test: "},
		{"a limit", "checks:\n  counters:\n    window: 24h\n    resets: -1\n", "p:4:13: checks.counters.resets: -1 is negative; write 0 for no limit"},
		{"a single value of a list", "checks:\n  access:\n    deny: testdata/good/allow.txt\n    allow: testdata/good/allow.txt\n", "p:3:11: checks.access.deny: "},
		{"a file that does not exist", "checks: {access: {allow: [/none/a.txt]}}", "p:1:27: checks.access.allow[0]: cannot read /none/a.txt: no such file or directory; "},
		{"durations", "checks:\n  greylist:\n    delay: 5d\n    window: 1h\n", "p:4:13: checks.greylist.window: window (1h) must be longer than delay (5d)"},
		{"no time for a callout", "checks: {callout: {good: 0s}}\nprofile: strict", "p:1:26: checks.callout.good: 0s is too short; write 1m or more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, problems := Parse("p", []byte(tt.text), all.Checks)
			if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), tt.want) {
				t.Errorf("got %v, want %s...", problems, tt.want)
			}
		})
	}
}

// TestFaultsBesideRejectedEntries tests that a rejected entry hides no faults of the other entries, and causes none.
func TestFaultsBesideRejectedEntries(t *testing.T) {
	t.Parallel()
	const text = `checks:
  dnsbl:
    zones:
      - {zone: "a b", codes: [127.0.0.2]}
      - bl.example
      - {zone: 5, codes: 127.0.0.2}
      - {zone: bl.example, codes: [127.0.0.2], query: Client}
      - {zone: b.example, codes: []}
`
	_, problems := Parse("p", []byte(text), all.Checks)
	want := []string{"p:4:16: checks.dnsbl.zones[0].zone: ", "p:5:9: checks.dnsbl.zones[1]: ", "p:6:16: checks.dnsbl.zones[2].zone: ",
		"p:7:55: checks.dnsbl.zones[3].query: ", "p:8:34: checks.dnsbl.zones[4].codes: "}
	if len(problems) != len(want) {
		t.Fatalf("got %v, want %q", problems, want)
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("got %v, want %s...", p, want[i])
		}
	}
}

// TestChecksAreOff tests that "off" in place of the settings of a check is an error that says which lines do it, and that
// settings of a check without a reason that is on are a warning.
func TestChecksAreOff(t *testing.T) {
	t.Parallel()
	const callouts = "checks:\n  callout: {domains: [example.net]}\n"
	const unused = "p:2:12: warning: checks.callout: all reasons of this check are off, so it refuses nothing; " +
		"if it should, write actions: {callout-rejected: tempfail}"
	for _, tt := range []struct{ name, text, want string }{
		{"off", "checks: {mxplus: off}", "p:1:18: checks.mxplus: a check has no switch, its reasons have; write actions: {mxplus-mismatch: off}"},
		{"false", "checks: {mxplus: false}", "p:1:18: checks.mxplus: a check has no switch, its reasons have; write actions: {mxplus-mismatch: off}"},
		{"several reasons", "checks: {dnsbl: off}", "p:1:17: checks.dnsbl: a check has no switch, its reasons have; write actions: {dnsbl-listed: off, rhsbl-listed: off}"},
		{"without reasons", "checks: {correspondents: off}", "p:1:26: checks.correspondents: this check has no reasons and refuses nothing; delete the line"},
		{"callouts by no reason", callouts, unused},
		{"callouts while watching", callouts + "profile: watch", unused},
		{"callouts by a reason", callouts + "actions: {callout-pending: tempfail}", ""},
		{"callouts by the profile", callouts + "profile: strict", ""},
		{"callouts for some", callouts + "policies: [{recipients: a@example.org, actions: {callout-rejected: reject}}]", ""},
		{"callouts as by default", "checks: {callout: {domains: []}}", ""},
		{"history by no reason", "checks: {sender: {history: 3}}", "p:1:28: warning: checks.sender.history: the reason sender-history is off, and the setting " +
			"has no effect; write actions: {sender-history: watch}, or delete the line"},
		{"history by a reason", "checks: {sender: {history: 3}}\nactions: {sender-history: watch}", ""},
		{"settings beside reasons", "checks: {msgfields: {past: 60d}}", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, problems := Parse("p", []byte(tt.text), all.Checks)
			var got []string
			for _, p := range problems {
				got = append(got, p.Error())
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	cfg := mustParse(t, `
checks:
  everything: {text: x, choice: sender, flag: yes, number: 7, wait: 1d, texts: [], waits: 5m, networks: 10.0.0.0/8,
    from: "::1", rate: 4/m, labels: {Any key: v}, nested: {depth: 9}, zones: [{zone: z, allow: true}, {codes: [127.0.0.2]}]}
`)
	instances, err := cfg.Build(checks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	var names []string
	for _, i := range instances {
		names = append(names, i.Info.Name)
		got[i.Info.Name] = i.Check.(built).settings
	}
	if want := []string{"rdns", "helo", "sender", "everything", "msgfields"}; !reflect.DeepEqual(names, want) {
		t.Errorf("checks %v, want %v", names, want)
	}
	want := everything{
		Text: "x", Choice: "sender", Flag: true, Number: 7, Wait: 24 * time.Hour,
		Waits: []time.Duration{5 * time.Minute}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		From: netip.IPv6Loopback(), Rate: rate{4}, Labels: map[string]string{"Any key": "v"}, Nested: nested{9},
		Zones: []zone{{Zone: "z", Allow: true}, {Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}},
	}
	if !reflect.DeepEqual(got["everything"], want) {
		t.Errorf("settings\ngot  %+v\nwant %+v", got["everything"], want)
	}
	if d := registry()[3].Default; reflect.DeepEqual(d, want) {
		t.Error("Build changed the defaults")
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	broken := checks.Define(checks.Info{Name: "broken"}, checks.NoSettings{}, func(checks.NoSettings, checks.Env) (checks.Check, error) {
		return nil, errors.New("no such thing")
	})
	_, err := defaultConfig([]checks.Info{broken}).Build(checks.Env{})
	if err == nil || err.Error() != "check broken: no such thing" {
		t.Errorf("error %v", err)
	}
}
