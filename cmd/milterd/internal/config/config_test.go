package config

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/syslog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"milterd/checks"
	"milterd/checks/all"
)

var update = flag.Bool("update", false, "write the golden files")

// everything is the settings of a check, with a setting of every type.
type everything struct {
	Text     string            `yaml:"text" doc:"A text." example:"word"`
	Choice   string            `yaml:"choice" one:"client helo sender" doc:"One of three."`
	Flag     bool              `yaml:"flag" doc:"Whether."`
	Number   int               `yaml:"number" doc:"How many."`
	Wait     time.Duration     `yaml:"wait" doc:"How long."`
	Texts    []string          `yaml:"texts" doc:"Texts, with a description that is long enough to need a second line of comment in the reference configuration."`
	Waits    []time.Duration   `yaml:"waits" doc:"How long, each time."`
	Networks []netip.Prefix    `yaml:"networks" doc:"Networks."`
	From     netip.Addr        `yaml:"from" doc:"An address."`
	Rate     rate              `yaml:"rate" doc:"How often."`
	Labels   map[string]string `yaml:"labels" doc:"Texts by name."`
	Nested   nested            `yaml:"nested" doc:"More."`
	Zones    []zone            `yaml:"zones" doc:"Zones."`
	//lint:ignore U1000 the decoder must ignore fields that are not exported
	secret   int
	Untagged int
}

type nested struct {
	Depth int `yaml:"depth" doc:"How deep."`
}

type zone struct {
	Zone  string         `yaml:"zone" doc:"Its name." example:"bl.example"`
	Codes []netip.Prefix `yaml:"codes" doc:"Its codes."`
	Query string         `yaml:"query" one:"client helo" doc:"What is looked up: client or helo." example:"client"`
	Allow bool           `yaml:"allow" doc:"Whether it is an allow list."`
}

// Validate is called after decoding.
func (e everything) Validate() error {
	var faults []error
	if e.Number > 100 {
		faults = append(faults, fmt.Errorf("number: %d is more than 100", e.Number))
	}
	if e.Wait == time.Second {
		faults = append(faults, errors.New("wait: want another time"))
	}
	for i, z := range e.Zones {
		for _, c := range z.Codes {
			if !c.IsValid() {
				faults = append(faults, fmt.Errorf("zones[%d]: a code without a value", i))
			}
		}
	}
	return errors.Join(faults...)
}

// rate is a setting with its own syntax.
type rate struct{ n int }

func (r *rate) UnmarshalText(b []byte) error {
	if _, err := fmt.Sscanf(string(b), "%d/m", &r.n); err != nil {
		return errors.New("want a rate such as 10/m")
	}
	return nil
}

func (r rate) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d/m", r.n), nil }

// built is a check that keeps the settings it was built with.
type built struct{ settings any }

func (built) Check(context.Context, *checks.Request) ([]checks.Verdict, error) { return nil, nil }

func build[C any](c C, _ checks.Env) (checks.Check, error) { return built{c}, nil }

func reason(id string, safe, strict checks.Action) *checks.Reason {
	return &checks.Reason{ID: id, Safe: safe, Strict: strict}
}

// registry has some of the real checks, and one with settings of every type.
func registry() []checks.Info {
	field8bit := reason("field-8bit", checks.Watch, checks.Watch)
	field8bit.Most = checks.Watch
	off := reason("everything-off", checks.Off, checks.Greylist)
	off.Deferral = true
	return []checks.Info{
		checks.Define(checks.Info{Name: "rdns", Doc: "Reverse DNS.", Reasons: []*checks.Reason{
			reason("rdns-missing", checks.Greylist, checks.Reject),
		}}, checks.NoSettings{}, build),
		checks.Define(checks.Info{Name: "helo", Doc: "The HELO name.", Reasons: []*checks.Reason{
			reason("helo-mismatch", checks.Watch, checks.Reject),
			reason("helo-syntax", checks.Reject, checks.Reject),
		}}, struct {
			OwnNames []string `yaml:"own_names" doc:"Names beside hostname and local_domains that are ours."`
		}{}, build),
		checks.Define(checks.Info{Name: "sender", Reasons: []*checks.Reason{
			reason("sender-no-domain", checks.Tempfail, checks.Reject), off,
		}}, checks.NoSettings{}, build),
		checks.Define(checks.Info{Name: "everything", Doc: "A check for tests."}, everything{
			Text: "on", Choice: "client", Number: 3, Wait: 90 * time.Minute, Texts: []string{"a", "b c", "1"},
			Waits:    []time.Duration{time.Hour, 36 * time.Hour},
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
			From:     netip.MustParseAddr("192.0.2.1"), Rate: rate{10}, Labels: map[string]string{"a": "b"}, Nested: nested{2},
			Zones: []zone{{Zone: "bl.example", Codes: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Query: "helo"}},
		}, build),
		checks.Define(checks.Info{Name: "msgfields", Doc: "Header fields.", Reasons: []*checks.Reason{field8bit}}, struct {
			Future time.Duration `yaml:"future" doc:"How far Date may be ahead of arrival."`
			Past   time.Duration `yaml:"past" doc:"How long before arrival Date may be."`
		}{24 * time.Hour, 30 * 24 * time.Hour}, build),
	}
}

// mustParse parses a text that has no errors. It may have warnings.
func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	cfg, problems := Parse("milterd.yaml", []byte(text), registry())
	if cfg == nil {
		t.Fatal(problems.Err())
	}
	return cfg
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"bad", "good"} {
		files, err := filepath.Glob("testdata/" + folder + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			t.Run(folder+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				known := registry()
				if strings.HasSuffix(file, "contract.yaml") {
					known = all.Checks // the keys of the public contract
				}
				cfg, problems := Parse(file, text, known)
				if (cfg != nil) != (folder == "good") || (problems.Err() == nil) != (folder == "good") {
					t.Errorf("usable: %v, problems: %v", cfg != nil, problems)
				}
				var got strings.Builder
				for _, p := range problems {
					fmt.Fprintln(&got, strings.TrimPrefix(p.Error(), "testdata/"+folder+"/"))
				}
				golden(t, strings.TrimSuffix(file, ".yaml")+".want", got.String())
			})
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", file, got, want)
	}
}

// defaultConfig returns the configuration of a daemon without a file.
func defaultConfig(registry []checks.Info) *Config {
	cfg, _ := Parse("", nil, registry) // an empty file has warnings at most
	return cfg
}

func TestDefault(t *testing.T) {
	t.Parallel()
	cfg := defaultConfig(registry())
	want := &Config{
		Text:           cfg.Text,
		Listen:         []Listener{{Network: "tcp4", Address: "127.0.0.1:8891"}},
		MaxConnections: 10000, Memory: 512 << 20,
		DNS:     DNS{Timeout: 2 * time.Second},
		Store:   Store{Driver: "embedded"},
		Admin:   Admin{Listen: "127.0.0.1:8893", Socket: "/run/milterd/admin.sock"},
		Explain: Explain{Listen: "127.0.0.1:8892"},
		Records: Records{Keep: 14 * 24 * time.Hour, Max: 1_000_000},
		Mirror:  Mirror{On: true, Bulk: 100},
		Log:     Log{Level: logrus.InfoLevel, Syslog: true, Facility: syslog.LOG_MAIL},
		Policy: checks.Options{
			Actions: map[string]checks.Action{
				"rdns-missing": checks.Greylist, "helo-mismatch": checks.Watch, "helo-syntax": checks.Reject,
				"sender-no-domain": checks.Tempfail, "everything-off": checks.Off, "field-8bit": checks.Watch,
			},
			Exempt: recipientSet(t, "postmaster", "abuse"),
			Trusted: checks.Trusted{
				Networks:      []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
				Authenticated: true, Daemons: []string{"ORIGINATING", "MSA"},
			},
			ReplyAt: checks.RcptTo, OnError: checks.Off, Budget: 8 * time.Second,
			TraceFields: checks.TraceFields{AuthenticationResults: true},
		},
	}
	want.settings, want.decoder, want.places = cfg.settings, cfg.decoder, cfg.places // functions cannot be compared; TestBuild checks them
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "listen:\nactions:\npolicies:\nchecks:\n  helo:\ntrusted:\n"} {
		empty := mustParse(t, text)
		if string(empty.Text) != text {
			t.Errorf("text %q, want %q", empty.Text, text)
		}
		empty.settings, empty.decoder, empty.places, empty.Text = want.settings, want.decoder, want.places, want.Text
		if !reflect.DeepEqual(empty, want) {
			t.Errorf("%q: got %+v\nwant %+v", text, empty, want)
		}
	}
}

func recipientSet(t testing.TB, patterns ...string) checks.RecipientSet {
	t.Helper()
	set, err := checks.ParseRecipients(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestValues(t *testing.T) {
	t.Parallel()
	type part func(*Config) any
	listen := func(c *Config) any { return c.Listen }
	for name, test := range map[string]struct {
		text string
		part part
		want any
	}{
		"a socket alone": {"listen: inet6:25@::1", listen, []Listener{{Network: "tcp6", Address: "[::1]:25", Given: true}}},
		"a socket with mode and group": {
			"listen: {socket: local:/run/m.sock, mode: 0660, group: postfix}", listen,
			[]Listener{{Network: "unix", Address: "/run/m.sock", Mode: 0o660, Group: "postfix", Given: true}},
		},
		"several sockets": {
			"listen: [inet:0@localhost, 'inet6:1@[::]', {socket: unix:/a, mode: '600'}]", listen,
			[]Listener{
				{Network: "tcp4", Address: "localhost:0", Given: true},
				{Network: "tcp6", Address: "[::]:1", Given: true},
				{Network: "unix", Address: "/a", Mode: 0o600, Given: true},
			},
		},
		"normalised host name":     {"hostname: MX.Example.org.", func(c *Config) any { return c.Hostname }, "mx.example.org"},
		"normalised domains":       {"local_domains: [Example.ORG, bücher.example, example.org]", func(c *Config) any { return c.LocalDomains }, []string{"example.org", "xn--bcher-kva.example"}},
		"one domain is a list":     {"local_domains: example.org", func(c *Config) any { return c.LocalDomains }, []string{"example.org"}},
		"profile watch":            {"profile: watch", func(c *Config) any { return c.Policy.Actions["helo-syntax"] }, checks.Watch},
		"profile strict":           {"profile: strict", func(c *Config) any { return c.Policy.Actions["helo-mismatch"] }, checks.Reject},
		"an action over a profile": {"{profile: strict, actions: {helo-mismatch: tempfail}}", func(c *Config) any { return c.Policy.Actions["helo-mismatch"] }, checks.Tempfail},
		"off":                      {"actions: {helo-syntax: off}", func(c *Config) any { return c.Policy.Actions["helo-syntax"] }, checks.Off},
		"false is off":             {"actions: {helo-syntax: false}", func(c *Config) any { return c.Policy.Actions["helo-syntax"] }, checks.Off},
		"No is off":                {"actions: {helo-syntax: No}", func(c *Config) any { return c.Policy.Actions["helo-syntax"] }, checks.Off},
		"quoted off":               {"actions: {helo-syntax: 'off'}", func(c *Config) any { return c.Policy.Actions["helo-syntax"] }, checks.Off},
		"bare addresses are networks": {
			"trusted: {networks: [192.0.2.1, '2001:db8::1', '::ffff:198.51.100.0/120']}",
			func(c *Config) any { return c.Policy.Trusted.Networks },
			[]netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("198.51.100.0/24")},
		},
		"nobody trusted":              {"trusted: {networks: [], authenticated: no, daemons: []}", func(c *Config) any { return c.Policy.Trusted }, checks.Trusted{}},
		"reply at mail":               {"reply_at: mail", func(c *Config) any { return c.Policy.ReplyAt }, checks.MailFrom},
		"tempfail on error":           {"on_error: tempfail", func(c *Config) any { return c.Policy.OnError }, checks.Tempfail},
		"budget":                      {"budget: 1m30s", func(c *Config) any { return c.Policy.Budget }, 90 * time.Second},
		"name servers":                {"dns: {servers: [192.0.2.1, '192.0.2.1:5353', '::1', '[::1]:54']}", func(c *Config) any { return c.DNS.Servers }, []string{"192.0.2.1:53", "192.0.2.1:5353", "[::1]:53", "[::1]:54"}},
		"syslog off":                  {"log: {level: debug, format: json, syslog: off}", func(c *Config) any { return c.Log }, Log{Level: logrus.DebugLevel, JSON: true}},
		"syslog false":                {"log: {syslog: false}", func(c *Config) any { return c.Log.Syslog }, false},
		"syslog facility":             {"log: {syslog: local3}", func(c *Config) any { return c.Log.Facility }, syslog.LOG_LOCAL3},
		"aliases":                     {"listen: &a [unix:/a]\nlocal_domains: &d [example.org]\ntrusted: {daemons: *d}", func(c *Config) any { return c.Policy.Trusted.Daemons }, []string{"example.org"}},
		"byte order mark":             {"\ufeffprofile: strict", func(c *Config) any { return c.Profile }, checks.Strict},
		"Windows line ends":           {"profile: strict\r\nhostname: a.example\r\n", func(c *Config) any { return c.Hostname }, "a.example"},
		"a list replaces the default": {"exempt_recipients: [root]", func(c *Config) any { return c.Policy.Exempt }, recipientSet(t, "root")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.part(mustParse(t, test.text)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	cfg := mustParse(t, `
actions: {helo-mismatch: reject, helo-syntax: off}
policies:
  - recipients: bob
    actions: {rdns-missing: tempfail}
    forwarders: [198.51.100.7, 2001:db8::/32, .Lists.Example.NET]
  - {recipients: [bob, "@example.net"], profile: watch, actions: {helo-mismatch: off}}
`)
	want := []checks.Policy{
		{
			Recipients: recipientSet(t, "bob"),
			Actions: map[string]checks.Action{ // general actions below it
				"rdns-missing": checks.Tempfail, "helo-mismatch": checks.Reject, "helo-syntax": checks.Off,
				"sender-no-domain": checks.Tempfail, "everything-off": checks.Off, "field-8bit": checks.Watch,
			},
			Named: map[string]bool{"rdns-missing": true, "helo-mismatch": true, "helo-syntax": true},
			Forwarders: checks.Forwarders{
				Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("2001:db8::/32")},
				Names:    []string{"lists.example.net"},
			},
		}, {
			Recipients: recipientSet(t, "bob", "@example.net"),
			Actions: map[string]checks.Action{ // only the profile below it
				"rdns-missing": checks.Watch, "helo-mismatch": checks.Off, "helo-syntax": checks.Watch,
				"sender-no-domain": checks.Watch, "everything-off": checks.Watch, "field-8bit": checks.Watch,
			},
			Named: map[string]bool{"helo-mismatch": true},
		},
	}
	if got := cfg.Policy.Policies; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
