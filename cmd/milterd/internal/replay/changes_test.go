package replay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"milterd/checks/all"
	"milterd/cmd/milterd/internal/config"
)

// bad is a letter that the profile safe rejects.
var bad = letter{date: "yesterday"}

// comparisons are pairs of configurations. Each change is written as "count from -> to: keys of the cause".
var comparisons = []struct {
	name, old, new string
	letters        []letter
	want           []string
}{
	{"no difference", "", "", []letter{{}, bad}, nil},
	{"keys without effect on mail", "", "log: {level: debug}\nmax_connections: 5", []letter{bad}, nil},
	{"a policy, with keys without effect on mail", "", "exempt_recipients: [bob]\nmemory: 1G\nmirror: off\ntag: {subject: \"[x] \"}\ntrace_fields: {received_spf: true}", []letter{bad},
		[]string{"1 reject date-invalid -> accept: b.yaml exempt_recipients"}},
	{"an action", "", "actions: {date-invalid: watch}", []letter{{}, bad},
		[]string{"1 reject date-invalid -> accept: b.yaml actions.date-invalid"}},
	{"an action, among other actions", "actions: {helo-mismatch: reject, date-invalid: watch, msgid-missing: reject}", "actions: {helo-mismatch: reject, date-invalid: reject, msgid-missing: watch}",
		[]letter{bad, {no: "Message-ID"}, {no: "Message-ID", date: "x"}},
		[]string{"1 accept -> reject date-invalid: b.yaml actions.date-invalid", "1 reject msgid-missing -> accept: b.yaml actions.msgid-missing", "1 reject msgid-missing -> reject date-invalid: b.yaml actions.date-invalid b.yaml actions.msgid-missing"}},
	{"two actions, the first of which had hidden the second", "", "actions: {helo-bare-ip: watch, date-invalid: watch, date-past: watch}", []letter{{helo: "192.0.2.9", date: "x"}},
		[]string{"1 reject helo-bare-ip -> accept: b.yaml actions.date-invalid b.yaml actions.helo-bare-ip"}},
	{"a profile", "", "profile: watch", []letter{bad}, []string{"1 reject date-invalid -> accept: b.yaml profile"}},
	{"a profile, with the action given", "actions: {date-invalid: reject}", "profile: watch\nactions: {date-invalid: watch}", []letter{bad},
		[]string{"1 reject date-invalid -> accept: b.yaml actions.date-invalid"}},
	{"a setting of a check", "actions: {date-past: reject}", "actions: {date-past: reject}\nchecks: {msgfields: {past: 2d}, greylist: {delay: 1h}}", []letter{{date: noon.Add(-100 * time.Hour).Format(time.RFC1123Z)}},
		[]string{"1 accept -> reject date-past: b.yaml checks.msgfields.past"}},
	{"an action, with a setting of the same check", "actions: {date-past: reject}", "actions: {date-past: reject, msgid-missing: reject}\nchecks: {msgfields: {past: 2d}}",
		[]letter{{no: "Message-ID"}, {date: noon.Add(-100 * time.Hour).Format(time.RFC1123Z)}},
		[]string{"1 accept -> reject date-past: b.yaml checks.msgfields.past", "1 accept -> reject msgid-missing: b.yaml actions.msgid-missing"}},
	{"a suspicion, with a setting of greylisting", "actions: {helo-not-fqdn: greylist, helo-unresolvable: off}", "actions: {helo-not-fqdn: watch, helo-unresolvable: off}\nchecks: {greylist: {delay: 1h}}", []letter{{helo: "pc"}},
		[]string{"1 tempfail greylisted -> accept: b.yaml actions.helo-not-fqdn"}},
	{"a longer delay", "actions: {first-contact: greylist}", "actions: {first-contact: greylist, date-past: watch}\nchecks: {greylist: {delay: 1h}}", []letter{{}, {at: 10 * time.Minute}},
		[]string{"1 accept -> tempfail greylisted: b.yaml checks.greylist.delay"}},
	{"a suspicion that is off", "actions: {helo-not-fqdn: greylist, helo-unresolvable: off}", "actions: {helo-not-fqdn: off, helo-unresolvable: off}", []letter{{helo: "pc"}},
		[]string{"1 tempfail greylisted -> accept: b.yaml actions.helo-not-fqdn"}},
	{"a policy", "", "exempt_recipients: [bob]\nactions: {date-past: watch}", []letter{bad, {date: "x", to: "amy@example.org"}},
		[]string{"1 reject date-invalid -> accept: b.yaml exempt_recipients"}},
	{"the action of a policy, with a general one", "", "policies: [{recipients: [amy], actions: {date-invalid: watch, msgid-missing: reject}}]\nactions: {date-past: watch}",
		[]letter{{date: "x", to: "amy@example.org"}, {no: "Message-ID", to: "amy@example.org"}},
		[]string{"1 accept -> reject msgid-missing: b.yaml policies[0].actions.msgid-missing", "1 reject date-invalid -> accept: b.yaml policies[0].actions.date-invalid"}},
	{"escalation", "", "escalate: 24h\nexempt_recipients: [amy]", []letter{{helo: "192.0.2.9"}}, []string{"1 reject helo-bare-ip -> tempfail helo-bare-ip: b.yaml escalate"}},
	{"trust, with an action", "", "trusted: {networks: [192.0.2.0/24]}\nactions: {date-invalid: watch}", []letter{bad}, []string{"1 reject date-invalid -> not checked: b.yaml trusted.networks"}},
	{"less trust", "trusted: {networks: [127.0.0.0/8, 192.0.2.0/24]}", "", []letter{bad}, []string{"1 not checked -> reject date-invalid: a.yaml trusted.networks"}},
	{"a trusted relay", "", trustsRelay, []letter{{helo: "192.0.2.9", relay: time.Minute}}, []string{"1 tempfail greylisted -> reject helo-bare-ip: b.yaml trusted.networks"}},
	{"less trust, and a stricter profile", "profile: watch\ntrusted: {networks: [192.0.2.0/24]}", "trusted: {networks: [127.0.0.0/8]}", []letter{{}, bad},
		[]string{"1 not checked -> accept: b.yaml trusted.networks", "1 not checked -> reject date-invalid: a.yaml profile b.yaml trusted.networks"}},
	{"less trust, and a weaker profile", "trusted: {networks: [192.0.2.0/24]}", "profile: watch", []letter{{}, bad},
		[]string{"1 not checked -> accept: a.yaml trusted.networks", "1 not checked -> accept: a.yaml trusted.networks b.yaml profile"}},
	{"less trust, and a profile with the action given", "profile: watch\nactions: {date-invalid: reject}\ntrusted: {networks: [192.0.2.0/24]}", "actions: {date-invalid: reject}", []letter{bad},
		[]string{"1 not checked -> reject date-invalid: a.yaml trusted.networks"}},
	{"less trust, and a setting of a check", "actions: {date-past: reject}\ntrusted: {networks: [192.0.2.0/24]}", "actions: {date-past: reject}\nchecks: {msgfields: {past: 2d}}",
		[]letter{{date: noon.Add(-100 * time.Hour).Format(time.RFC1123Z)}, {date: noon.AddDate(-9, 0, 0).Format(time.RFC1123Z)}},
		[]string{"1 not checked -> reject date-past: a.yaml trusted.networks", "1 not checked -> reject date-past: a.yaml trusted.networks b.yaml checks.msgfields.past"}},
	{"more trust, and a profile", "", "profile: watch\ntrusted: {networks: [192.0.2.0/24]}", []letter{bad}, []string{"1 reject date-invalid -> not checked: b.yaml trusted.networks"}},
	{"one of several keys of trust", "trusted: {authenticated: no, networks: [192.0.2.0/24], daemons: [a]}", "", []letter{bad}, []string{"1 not checked -> reject date-invalid: a.yaml trusted.networks"}},
	{"a trusted relay, and an action", "", trustsRelay + "actions: {helo-bare-ip: watch, date-past: watch}", []letter{{helo: "192.0.2.9", relay: time.Minute}},
		[]string{"1 tempfail greylisted -> accept: b.yaml actions.helo-bare-ip b.yaml trusted.networks"}},
	{"a trusted relay, another hostname and an action", "hostname: mx.example.net", trustsRelay + "actions: {helo-bare-ip: watch}\nhostname: mx1.example.org", []letter{{helo: "192.0.2.9", relay: time.Minute}},
		[]string{"1 tempfail greylisted -> accept: b.yaml actions.helo-bare-ip b.yaml trusted.networks"}},
	{"another hostname", "hostname: mx.example.net\nlocal_domains: []", "hostname: mx.example.org\nlocal_domains: []", []letter{{helo: "192.0.2.9"}}, []string{"1 accept -> reject helo-bare-ip: b.yaml hostname"}},
	{"another local domain", "hostname: mx.example.net\nlocal_domains: []", "hostname: mx.example.net\nlocal_domains: [example.org]", []letter{{helo: "192.0.2.9"}}, []string{"1 accept -> reject helo-bare-ip: b.yaml local_domains"}},
	{"trust", "", "trusted: {networks: [192.0.2.0/24]}", []letter{bad}, []string{"1 reject date-invalid -> not checked: b.yaml trusted.networks"}},
}

func TestAgainst(t *testing.T) {
	t.Parallel()
	for _, c := range comparisons {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, new := configOf(t, "/etc/a.yaml", c.old), configOf(t, "/etc/b.yaml", c.new)
			r := replayed(t, Options{Paths: []string{mbox(t, c.letters...)}, Config: old, Against: &new})
			var got []string
			changed := 0
			for _, g := range jsonOf(t, r).Changes {
				var keys []string
				for _, b := range g.Because {
					place, key, _ := strings.Cut(b, ": ")
					file, _, _ := strings.Cut(place, ":")
					key, _, _ = strings.Cut(key, ":")
					keys = append(keys, file+" "+key)
				}
				slices.Sort(keys)
				got = append(got, strings.TrimSpace(string(rune('0'+g.Count))+" "+g.From+" -> "+g.To+": "+strings.Join(keys, " ")))
				changed += g.Count
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) || changed != jsonOf(t, r).Changed {
				t.Errorf("got  %q, %d changed\nwant %q", got, changed, c.want)
			}
		})
	}
}

func TestDifferencesInText(t *testing.T) {
	t.Parallel()
	old, new := configOf(t, "/etc/a.yaml", "profile: strict\nactions:\n  msgid-missing: watch\n  first-contact: off\n"), configOf(t, "/etc/b.yaml", "\nactions:\n  date-invalid: watch\npolicies:\n- recipients: [bob, amy]\n")
	r := replayed(t, Options{Paths: []string{mbox(t, letter{date: "x"})}, Config: old, Against: &new})
	text := textOf(t, r)
	for _, want := range []string{
		"With /etc/b.yaml instead, 1 message would have another result, because of 1 line\n       0 would be refused instead of 1: 0 instead of 1 rejected (5yz), 0 instead of 0 deferred (4yz)\n",
		"  b.yaml:5: actions.date-invalid: watch instead of reject of the profile (1 message)\n",
		"  b.yaml:7: policies[0].recipients: [bob, amy] instead of not given\n",
		"  a.yaml:3: profile: not given instead of strict\n",
		"  a.yaml:5: actions.msgid-missing: watch of the profile instead of watch\n",
		"reject date-invalid -> accept: 1 message\n  because of b.yaml:5: actions.date-invalid: watch instead of reject of the profile\n    2024",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestKeysWithResult tests that each key of a configuration either has an effect on results or is one of withoutResult.
func TestKeysWithResult(t *testing.T) {
	t.Parallel()
	withResult := []string{
		"hostname", "local_domains", "profile", "actions", "trusted", "exempt_recipients", "policies", "reply_at", "on_error", "escalate", "checks",
	}
	var reference bytes.Buffer
	if err := config.WriteReference(&reference, all.Checks); err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := yaml.Unmarshal(reference.Bytes(), &keys); err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		if slices.Contains(withResult, key) == slices.Contains(withoutResult, key) {
			t.Errorf("want %s in one of the lists of keys", key)
		}
	}
	if len(keys) != len(withResult)+len(withoutResult) {
		t.Errorf("%d keys, want %d with and %d without a result", len(keys), len(withResult), len(withoutResult))
	}
}

// TestEmptyValues compares files with keys and sections that are empty.
func TestEmptyValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, want string }{
		{old: "", new: "null\n"},
		{old: "~\n", new: "# a comment\n"},
		{old: "---\n...\n", new: "actions:\nchecks: {msgfields: }\n"},
		{old: "", new: "admin: {socket: \"\"}\n", want: `b:1: admin.socket: "" instead of not given`},
		{old: "admin: {socket: \"\"}\n", new: "", want: `a:1: admin.socket: not given instead of ""`},
	} {
		for _, text := range []string{c.old, c.new} {
			if _, problems := config.Parse("test", []byte(text), all.Checks); problems.Err() != nil {
				t.Errorf("%q: %v", text, problems)
			}
		}
		got := ""
		for _, d := range differences(Config{Name: "a", Text: []byte(c.old)}, Config{Name: "b", Text: []byte(c.new)}) {
			got += d.String()
		}
		if got != c.want {
			t.Errorf("%q and %q: %q, want %q", c.old, c.new, got, c.want)
		}
	}
}

// TestSecretDifferences tests that a report names changed passwords and API keys without showing them.
func TestSecretDifferences(t *testing.T) {
	t.Parallel()
	const text1 = "admin: {password: hunter1}\nstore: {driver: redis, url: \"redis://milterd:hunter2@127.0.0.1:6379\"}\n"
	const text2 = "admin: {password: hunter3}\nstore: {driver: redis, url: \"redis://milterd:hunter4@127.0.0.1:6379\"}\n"
	const list = "checks: {dnsbl: {zones: [{zone: hunter%dhunterhunterhunter.zen.dq.example, codes: [127.0.0.2], query: client}]}}\n"
	old, new := configOf(t, "/etc/a.yaml", text1+fmt.Sprintf(list, 5)), configOf(t, "/etc/b.yaml", text2+fmt.Sprintf(list, 6))
	r := replayed(t, Options{Paths: []string{mbox(t, letter{})}, Config: old, Against: &new})
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	text := textOf(t, r)
	if strings.Contains(text+page.String(), "hunter") {
		t.Errorf("a password in the report:\n%s", text)
	}
	for _, want := range []string{
		"admin.password: (not shown) instead of (not shown)\n", "store.url: redis://milterd:xxxxx@127.0.0.1:6379 instead of redis://milterd:xxxxx@127.0.0.1:6379\n",
		"checks.dnsbl.zones[0].zone: [key].zen.dq.example instead of [key].zen.dq.example\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
