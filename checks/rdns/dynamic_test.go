package rdns_test

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
	"milterd/checks/rdns"
)

// labelled is a line of testdata/names.txt. The file explains the words.
type labelled struct{ part, label, addr, name string }

func labelledNames(t *testing.T) []labelled {
	t.Helper()
	f, err := os.Open("testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []labelled
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) == 4 && w[0] != "#" {
			names = append(names, labelled{w[0], w[1], w[2], w[3]})
		}
	}
	return names
}

// dynamicSession returns a client with confirmed names.
func dynamicSession(t testing.TB, addr string, names ...string) (checks.Env, *checks.Request) {
	t.Helper()
	a := netip.MustParseAddr(addr)
	kind := "A"
	if a.Is6() {
		kind = "AAAA"
	}
	var zone strings.Builder
	for _, n := range names {
		fmt.Fprintf(&zone, "%s PTR %s.\n%s. %s %s\n", reverse(t, a), n, n, kind, addr)
	}
	return checktest.Env(t, zone.String()), checktest.Session{Client: addr}.Request(t)
}

func reverse(t testing.TB, a netip.Addr) string {
	t.Helper()
	r := checks.NewRequest(&checks.Session{Client: a}, checks.Connect)
	return facts.PrefetchPTR(r)[0].Name
}

func isDynamic(t testing.TB, change func(*rdns.Settings), addr string, names ...string) bool {
	t.Helper()
	env, r := dynamicSession(t, addr, names...)
	vs, err := checktest.Ask(t, rdns.Info, checktest.Build(t, rdns.Info, env, change), r)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Equal(checktest.IDs(vs), []string{"rdns-dynamic"})
}

// TestDynamicNames logs precision and recall: go test -v -run TestDynamicNames ./checks/rdns
func TestDynamicNames(t *testing.T) {
	t.Parallel()
	type count struct{ found, wrong, missed, clean int }
	counts := map[string]*count{"dev": {}, "held": {}}
	for _, n := range labelledNames(t) {
		c := counts[n.part]
		got := isDynamic(t, nil, n.addr, n.name)
		switch {
		case got && n.label == "dynamic":
			c.found++
		case got:
			c.wrong++
			t.Logf("%s: %s is %s, and looks dynamic", n.part, n.name, n.label)
			if n.label == "mail" {
				t.Errorf("%s is a mail host", n.name)
			}
		case n.label == "dynamic":
			c.missed++
		default:
			c.clean++
		}
	}
	for part, least := range map[string]struct{ precision, recall float64 }{
		"dev":  {precision: 0.99, recall: 0.75},
		"held": {precision: 0.97, recall: 0.65}, // words were not chosen by this part
	} {
		c := counts[part]
		precision := float64(c.found) / float64(c.found+c.wrong)
		recall := float64(c.found) / float64(c.found+c.missed)
		t.Logf("%s: precision %.3f (%d of %d), recall %.3f (%d of %d), %d others found not dynamic",
			part, precision, c.found, c.found+c.wrong, recall, c.found, c.found+c.missed, c.clean)
		if precision < least.precision || recall < least.recall {
			t.Errorf("%s: want precision %.2f and recall %.2f at least", part, least.precision, least.recall)
		}
	}
}

func TestLabelledNamesAreWellFormed(t *testing.T) {
	t.Parallel()
	parts := map[string]int{}
	seen := map[string]bool{}
	for _, n := range labelledNames(t) {
		if seen[n.name] || !slices.Contains([]string{"dynamic", "static", "mail"}, n.label) {
			t.Errorf("%+v: given twice, or with an unknown label", n)
		}
		seen[n.name] = true
		org := checks.OrgDomain(n.name)
		if org == "" {
			org = n.name
		}
		h := fnv.New32a()
		h.Write([]byte(org))
		want := "dev"
		if h.Sum32()%3 == 0 {
			want = "held"
		}
		if n.part != want {
			t.Errorf("%s belongs to part %s, not %s", n.name, want, n.part)
		}
		parts[n.part]++
	}
	if parts["dev"] < 200 || parts["held"] < 100 {
		t.Errorf("got %v", parts)
	}
}

func TestNamesThatLookDynamic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, client string
		names        []string
		settings     rdns.Settings
		want         bool
	}{
		{name: "the address and a pool word", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.example.net"}, want: true},
		{name: "the address and a pool word, IPv6", client: "2001:db8::211:22ff:fe33:4455", names: []string{"2001-db8--211-22ff-fe33-4455.dyn.example.net"}, want: true},
		{name: "the address alone", client: "192.0.2.7", names: []string{"h192-0-2-7.example.net"}},
		{name: "a pool word alone", client: "192.0.2.7", names: []string{"pool.example.net"}},
		{name: "another address", client: "192.0.2.7", names: []string{"dsl-198-51-100-7.example.net"}},
		{name: "a pool word in the organisational domain", client: "192.0.2.7", names: []string{"mta-192-0-2-7.dsl-pool.example"}},
		{name: "the organisational domain itself", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.example"}},
		{name: "a name below a public suffix of two labels", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.co.uk"}},
		{name: "a static line", client: "192.0.2.7", names: []string{"192-0-2-7.static.dsl.example.net"}},
		{name: "a pool name beside another name", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.example.net", "mail.example.org"}},
		{name: "two pool names", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.example.net", "7-2-0-192.dyn.example.net"}, want: true},
		{name: "a word of the settings", client: "192.0.2.7", names: []string{"192-0-2-7.Kunde.example.net"},
			settings: rdns.Settings{DynamicWords: []string{"KUNDE"}}, want: true},
		{name: "the same word without the settings", client: "192.0.2.7", names: []string{"192-0-2-7.kunde.example.net"}},
		{name: "a word of the settings without the address", client: "192.0.2.7", names: []string{"mail.kunde.example.net"},
			settings: rdns.Settings{DynamicWords: []string{"kunde"}}},
		{name: "an allowed name", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.example.net"},
			settings: rdns.Settings{DynamicAllow: []string{"DSL-192-0-2-7.example.net."}}},
		{name: "an allowed name does not include names below it", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.example.net"},
			settings: rdns.Settings{DynamicAllow: []string{"example.net"}}, want: true},
		{name: "an allowed domain", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.sub.example.net"},
			settings: rdns.Settings{DynamicAllow: []string{".example.net"}}},
		{name: "another allowed domain", client: "192.0.2.7", names: []string{"dsl-192-0-2-7.badexample.net"},
			settings: rdns.Settings{DynamicAllow: []string{".example.net"}}, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := isDynamic(t, func(s *rdns.Settings) { *s = c.settings }, c.client, c.names...); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestValuesInReplies(t *testing.T) {
	t.Parallel()
	env, r := dynamicSession(t, "192.0.2.7", "dsl-192-0-2-7.pool.example.net")
	vs, err := checktest.Ask(t, rdns.Info, build(t, env), r)
	if err != nil || len(vs) != 1 || vs[0].Detail["ptr"] != "dsl-192-0-2-7.pool.example.net" || vs[0].Detail["word"] != "dsl" {
		t.Errorf("got %+v, %v", vs, err)
	}
	if vs[0].Vouch != checks.NoVouch {
		t.Error("a dynamic name vouches")
	}
}

// TestUnconfirmedDynamicNames tests names that do not resolve to the client, or whose address could not be looked up.
func TestUnconfirmedDynamicNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, zone, want string }{
		{"a name that does not resolve to the client", "7.2.0.192.in-addr.arpa. PTR dsl-192-0-2-7.example.net.", "rdns-mismatch"},
		{"another name that could not be looked up", `
7.2.0.192.in-addr.arpa.      PTR  dsl-192-0-2-7.example.net.
7.2.0.192.in-addr.arpa.      PTR  mail.example.org.
dsl-192-0-2-7.example.net.   A    192.0.2.7
!SERVFAIL mail.example.org`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			check := build(t, checktest.Env(t, c.zone))
			checktest.Want(t, rdns.Info, check, checktest.Session{Client: "192.0.2.7"}.Request(t), c.want, false)
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]rdns.Settings{
		`dynamic_words: "dsl-pool" is not a word; write letters, with digits between them only, such as dynip`:              {DynamicWords: []string{"pool", "dsl-pool"}},
		`dynamic_words: "dsl2" is not a word; write letters, with digits between them only, such as dynip`:                  {DynamicWords: []string{"dsl2"}},
		`dynamic_words: "" is not a word; write letters, with digits between them only, such as dynip`:                      {DynamicWords: []string{""}},
		`dynamic_allow: "net" is not a host name; write mail.example.org, or .example.org for all names below it`:           {DynamicAllow: []string{"net"}},
		`dynamic_allow: "*.example.net" is not a host name; write mail.example.org, or .example.org for all names below it`: {DynamicAllow: []string{"*.example.net"}},
		`dynamic_allow: "" is not a host name; write mail.example.org, or .example.org for all names below it`:              {DynamicAllow: []string{""}},
	} {
		if err := c.Validate(); err == nil || err.Error() != text {
			t.Errorf("got %v, want %s", err, text)
		}
	}
	good := rdns.Settings{DynamicWords: []string{"adressepool", "Wi2fi"}, DynamicAllow: []string{"my_mail.example.net", ".example.org", "EXAMPLE.com."}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}
