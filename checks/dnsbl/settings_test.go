package dnsbl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/dnsbl"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	good := zone(t, "bl.example", dnsbl.Client)
	with := func(change func(*dnsbl.Zone)) dnsbl.Settings {
		z := good
		change(&z)
		return dnsbl.Settings{Zones: []dnsbl.Zone{good, z}, Health: time.Hour}
	}
	for _, test := range []struct {
		name     string
		settings dnsbl.Settings
		want     string // part of the error; empty: none
	}{
		{name: "the defaults", settings: dnsbl.Info.Default.(dnsbl.Settings)},
		{name: "two zones", settings: with(func(z *dnsbl.Zone) { z.Zone = "other.example." })},
		{name: "the same zone with another query", settings: with(func(z *dnsbl.Zone) { z.Query = dnsbl.Sender })},
		{name: "the same zone to vouch", settings: with(func(z *dnsbl.Zone) { z.Allow = true })},
		{name: "an allow zone of names", settings: with(func(z *dnsbl.Zone) { z.Allow, z.Query = true, dnsbl.ClientName })},
		{name: "an address that is always listed", settings: with(func(z *dnsbl.Zone) { z.Zone, z.Test = "b.example", "2001:db8::1" })},

		{name: "all at once", settings: dnsbl.Settings{Zones: []dnsbl.Zone{{Zone: "bl.example"}, {Query: dnsbl.Sender, Allow: true, Codes: good.Codes, Zone: "x"}}},
			want: "health: want 1m or more\nzones[0]: codes: want the codes that are a listing, as the list documents them, such as [\"127.0.0.2-127.0.0.11\"]\n" +
				"zones[1]: zone: \"x\" is not a domain name; write it as bl.example.org\nzones[1]: allow: anybody"},
		{name: "too many tests", settings: dnsbl.Settings{Health: time.Second}, want: "health: want 1m or more"},
		{name: "no zone", settings: with(func(z *dnsbl.Zone) { z.Zone = "" }), want: "zones[1]: zone: want the domain of the list"},
		{name: "no domain", settings: with(func(z *dnsbl.Zone) { z.Zone = "a b" }), want: `zones[1]: zone: "a b" is not a domain name; write it as bl.example.org`},
		{name: "a URL with a key", settings: with(func(z *dnsbl.Zone) { z.Zone = "https://abcdefghij0123456789abcdef.zen.example/" }),
			want: `zone: "https://[key].zen.example/" is not a domain name`},
		{name: "one label", settings: with(func(z *dnsbl.Zone) { z.Zone = "bl." }), want: "not a domain name"},
		{name: "no codes", settings: with(func(z *dnsbl.Zone) { z.Codes = nil }), want: "codes: want the codes that are a listing"},
		{name: "a HELO name that vouches", settings: with(func(z *dnsbl.Zone) { z.Query, z.Allow = dnsbl.Helo, true }), want: "anybody can send a HELO name"},
		{name: "a sender that vouches", settings: with(func(z *dnsbl.Zone) { z.Query, z.Allow = dnsbl.Sender, true }), want: "anybody can send a HELO name or a sender"},
		{name: "twice the same", settings: with(func(z *dnsbl.Zone) { z.Zone, z.Query = "BL.example.", "" }), want: "zones[1]: the same as zones[0]"},
		{name: "a name as test point of addresses", settings: with(func(z *dnsbl.Zone) { z.Test = "dbltest.com" }), want: `test: "dbltest.com" is not an address`},
		{name: "an invalid name as test point of names", settings: with(func(z *dnsbl.Zone) { z.Query, z.Test = dnsbl.Helo, "a b" }), want: `test: "a b" is not a name`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.settings.Validate()
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			_, built := dnsbl.Info.New(func(s any) error {
				*s.(*dnsbl.Settings) = test.settings
				return nil
			}, checktest.Env(t, ""))
			if (built != nil) != (err != nil) {
				t.Errorf("New returned %v, Validate %v", built, err)
			}
		})
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"127.0.0.2":              "127.0.0.2",
		"127.0.0.2-127.0.0.11":   "127.0.0.2-127.0.0.11",
		"127.0.0.2 - 127.0.0.11": "127.0.0.2-127.0.0.11",
		"127.0.0.2-127.0.0.2":    "127.0.0.2",
		"127.0.0.0/8":            "127.0.0.0-127.255.255.255",
		"127.0.1.0/25":           "127.0.1.0-127.0.1.127",
		"127.0.0.4/32":           "127.0.0.4",

		"":                          "error: want a code, a range or a network",
		"2":                         "error: want a code",
		"127.0.0.2-11":              "error: want a code",
		"127.0.0.2-127.0.0.4-1":     "error: want a code",
		"127.0.0.[2..11]":           "error: want a code",
		"any":                       "error: want a code",
		"::1":                       "error: want a code",
		"::ffff:127.0.0.2":          "error: want a code",
		"::/0":                      "error: want a code",
		"127.0.0.0/33":              "error: want a code",
		"127.0.0.2/8":               `error: "127.0.0.2/8" has bits set after the network part; did you mean "127.0.0.0/8"?`,
		"127.0.0.11-127.0.0.2":      "error: \"127.0.0.11-127.0.0.2\": the range ends before it begins",
		"192.0.2.1":                 "error: \"192.0.2.1\": codes are in 127.0.0.0/8",
		"0.0.0.0/0":                 "error: \"0.0.0.0/0\": codes are in 127.0.0.0/8",
		"126.0.0.1-127.0.0.5":       "error: \"126.0.0.1-127.0.0.5\": codes are in",
		"127.255.255.254":           "error: \"127.255.255.254\": 127.255.255.0/24 is for errors",
		"127.0.0.1":                 "error: \"127.0.0.1\": 127.0.0.1 is never a listing",
		"127.0.0.1-127.0.0.255":     "error: \"127.0.0.1-127.0.0.255\": 127.0.0.1 is never a listing",
		"127.255.255.0/24":          "error: \"127.255.255.0/24\": 127.255.255.0/24 is for errors",
		"127.0.0.2,127.0.0.3":       "error: want a code",
		"127.0.0.2\n":               "127.0.0.2",
		"127.0.0.2-127.255.255.255": "127.0.0.2-127.255.255.255", // the error codes in it never count
	} {
		if got := parse(text); got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, want)) {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// parse returns the codes of a text as text.
func parse(text string) string {
	var c dnsbl.Codes
	if err := c.UnmarshalText([]byte(text)); err != nil {
		return "error: " + err.Error()
	}
	out, err := c.MarshalText()
	if err != nil {
		return "error: " + err.Error()
	}
	return string(out)
}

func FuzzCodes(f *testing.F) {
	for _, seed := range []string{"127.0.0.2", "127.0.0.2-127.0.0.11", "127.0.0.0/8", "127.0.1.0/25", "::1", "-", "/", "127.0.0.2/8"} {
		f.Add(seed)
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	f.Fuzz(func(t *testing.T, text string) {
		var c dnsbl.Codes
		if c.UnmarshalText([]byte(text)) != nil {
			return
		}
		if !loopback.Contains(c.First) || !loopback.Contains(c.Last) || c.Last.Less(c.First) {
			t.Errorf("%q was parsed as %v", text, c)
		}
		if once, twice := parse(text), parse(parse(text)); once != twice {
			t.Errorf("%q is %s, and that is %s", text, once, twice)
		}
	})
}

const spamhausKey = "abcdefghij0123456789klmnop"

func TestKeysAreHidden(t *testing.T) {
	t.Parallel()
	for domain, want := range map[string]string{
		spamhausKey + ".zen.dq.spamhaus.net":                         "zen.dq.spamhaus.net",
		"AbCdEfGhIjKlMnOpQrStUvWxYz.dbl.dq.spamhaus.net":             "dbl.dq.spamhaus.net",
		"0123456789abcdef0123456789abcdef.combined.mail.abusix.zone": "combined.mail.abusix.zone",
		"zen.spamhaus.org":                                             "zen.spamhaus.org",
		"b.barracudacentral.org":                                       "b.barracudacentral.org",
		"hostkarma.junkemailfilter.com":                                "hostkarma.junkemailfilter.com",
		"dnsbl-1.uceprotect.net":                                       "dnsbl-1.uceprotect.net",
		"bl.0123456789abcdefghij.example":                              "bl.0123456789abcdefghij.example",
		"a-name-of-many-words-with-1-number.lists.example":             "a-name-of-many-words-with-1-number.lists.example",
		"0123456789abcdef.fedcba98765432100.bl.averyverylongname9.org": "bl.averyverylongname9.org",
	} {
		c := untested(t, checktest.Env(t, ""), zone(t, domain, dnsbl.Client))
		if got := strings.TrimSuffix(c.Report()[0].Name, " (client)"); got != want {
			t.Errorf("%s is shown as %s, want %s", domain, got, want)
		}
		for _, written := range []string{domain, strings.ToUpper(domain)} {
			if got := dnsbl.HideKeys(written); strings.ReplaceAll(strings.ToLower(got), "[key].", "") != want {
				t.Errorf("%s is shown as %s in reports", written, got)
			}
		}
	}
}

// TestNothingShowsTheKey tests that the log, the conditions, the verdicts and the errors do not have the key.
func TestNothingShowsTheKey(t *testing.T) {
	t.Parallel()
	const domain = spamhausKey + ".zen.dq.example.net"
	for _, world := range []answers{
		turned("127.0.0.2", nil), turned("127.255.255.254", nil), turned("", errors.New("SERVFAIL")), all("127.0.0.2"), all(""),
		func(string) (string, error) { return "", errors.New("time-out") },
	} {
		var output bytes.Buffer
		env := checktest.Env(t, "")
		env.DNS = world
		env.Log.Logger.SetOutput(&output)
		c := build(t, env, zone(t, strings.ToUpper(domain), dnsbl.Client))
		for range 6 {
			vs, err := ask(t, c, checktest.Session{Client: "192.0.2.9"}.Request(t))
			if err != nil {
				output.WriteString(err.Error())
			}
			if err := json.NewEncoder(&output).Encode([]any{vs, c.Report()}); err != nil {
				t.Fatal(err)
			}
		}
		if text := strings.ToLower(output.String()); strings.Contains(text, spamhausKey) || !strings.Contains(text, "zen.dq.example.net") {
			t.Errorf("shown: %s", text)
		}
	}
}

// textList is a list that lists everyone, with the same texts.
type textList struct{ texts []string }

func (h textList) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	if q.Type != dns.TypeTXT {
		return turned("127.0.0.2", nil).Lookup(ctx, q)
	}
	return checks.Answer{Records: []dns.RR{&dns.TXT{Txt: h.texts}}}, nil
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"https://bl.example/", `\013\010250 ok`, `\"x\"`, `\`, `\9`, `\999`, "a\r\n250 ok", strings.Repeat("x ", 300), "\xff\x00", spamhausKey} {
		f.Add(seed, "and more")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		env := checktest.Env(t, "")
		env.DNS = textList{[]string{first, second}}
		c := build(t, env, zone(t, spamhausKey+".bl.example.net", dnsbl.Client))
		vs, err := ask(t, c, checktest.Session{Client: "192.0.2.9"}.Request(t))
		if err != nil || len(vs) != 1 {
			t.Fatalf("got %q, %v", ids(vs), err)
		}
		text := vs[0].Detail["text"]
		if text == "" || len(text) > 160 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q", text)
		}
		if strings.Contains(strings.ToLower(text), spamhausKey) {
			t.Errorf("the key is in %q", text)
		}
	})
}
