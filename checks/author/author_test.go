package author_test

import (
	"strings"
	"testing"
	"time"

	"milterd/checks"
	"milterd/checks/author"
	"milterd/checks/checktest"
	"milterd/headers"
)

const zone = `
bank.example MX 10 mx.bank.example
evil.example A 192.0.2.66
mail.bank.example A 192.0.2.2
null.example MX 0 .
xn--bcher-kva.example A 192.0.2.3
!SERVFAIL broken.example`

func TestReasons(t *testing.T) {
	t.Parallel()
	c := checktest.Build[checks.NoSettings](t, author.Info, checktest.Env(t, zone), nil)
	for _, test := range []struct {
		name string
		from string
		want string // ids of the reasons
		fail bool
	}{
		{"an ordinary author", " Jane <jane@bank.example>", "", false},
		{"no address", " MAILER-DAEMON <>", "", false},
		{"two of one domain", " a@bank.example, b@bank.example", "", false},
		{"two domains", " a@bank.example, b@evil.example", "from-multiple", false},
		{"two domains of one organisation", " a@bank.example, b@mail.bank.example", "from-multiple", false},
		{"a domain and something that is none", " a@bank.example, b@evil!.example", "from-multiple from-no-domain", false},

		{"no such domain", " jane@gone.example", "from-no-domain", false},
		{"a null MX", " jane@null.example", "from-no-domain", false},
		{"a domain that cannot exist", " jane@exam!ple.com", "from-no-domain", false},
		{"U-labels", " jane@bücher.example", "", false},
		{"an address literal", " jane@[192.0.2.1]", "", false},
		{"no answer", " jane@broken.example", "", true},
		{"no answer for one, another does not exist", " jane@broken.example, joe@gone.example", "from-multiple from-no-domain", false},

		{"an encoded local part", " =?utf-8?q?jane?=@bank.example", "from-encoded", false},
		{"an encoded domain", " jane@=?utf-8?q?bank.example?=", "from-no-domain from-encoded", false},
		{"an encoded address", " Jane <=?utf-8?q?jane=40bank.example?=>", "from-encoded", false},
		{"an encoded name", " =?utf-8?q?J=C3=A4ne?= <jane@bank.example>", "", false},
		{"something similar", " Jane <jane=?a@bank.example>", "", false},

		{"another address in the name", ` "ceo@bank.example" <ceo@evil.example>`, "from-display", false},
		{"another address in an encoded name", " =?utf-8?q?Boss_=3Cceo=40bank.example=3E?= <ceo@evil.example>", "from-display", false},
		{"another address in a name of a charset unknown here", " =?koi8-r?q?ceo=40bank.example?= <ceo@evil.example>", "from-display", false},
		{"the same address in the name", ` "jane@bank.example" <jane@bank.example>`, "", false},
		{"an address of the organisation in the name", ` "jane@mail.bank.example" <jane@bank.example>`, "", false},
		{"a handle in the name", ` "Jane (@jane)" <jane@bank.example>`, "", false},
		{"an at sign in the name", ` "Jane @ Bank.example" <jane@evil.example>`, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := checktest.Session{Client: "192.0.2.10", MailFrom: "jane@bank.example", Header: []headers.Field{{Name: "From", Value: test.from}}}
			vs, err := checktest.Ask(t, author.Info, c, s.Request(t))
			if got := strings.Join(checktest.IDs(vs), " "); got != test.want || (err != nil) != test.fail {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	c := checktest.Build[checks.NoSettings](t, author.Info, checktest.Env(t, zone), nil)
	for _, test := range []struct{ from, key, want string }{
		{" a@bank.example, b@evil.example", "author_domains", "bank.example, evil.example"},
		{" a@gone.example", "author_domain", "gone.example"},
		{" =?utf-8?q?jane?=@bank.example", "from", "=?utf-8?q?jane?=@bank.example"},
		{` "Boss (ceo@bank.example)" <ceo@evil.example>`, "claimed", "ceo@bank.example"},
		{` "Boss (ceo@bank.example)" <ceo@evil.example>`, "from", "ceo@evil.example"},
	} {
		s := checktest.Session{Header: []headers.Field{{Name: "From", Value: test.from}}}
		vs, _ := checktest.Ask(t, author.Info, c, s.Request(t))
		if len(vs) != 1 || vs[0].Detail[test.key] != test.want {
			t.Errorf("%s: %+v, want %s %q", test.from, vs, test.key, test.want)
		}
	}
}

// TestPrefetch tests that the questions of the check are known at the end of the header section.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	rec := &checktest.Recorder{Resolver: checktest.Env(t, zone).DNS}
	c := checktest.Build[checks.NoSettings](t, author.Info, checks.Env{DNS: rec}, nil)
	r := checktest.Session{Header: []headers.Field{{Name: "From", Value: " a@bank.example, b@gone.example"}}}.Request(t)
	if _, err := checktest.Ask(t, author.Info, c, r); err != nil {
		t.Error(err)
	}
	var first []string
	r.Stage = checks.EndOfHeader
	for _, q := range c.(checks.Prefetcher).Prefetch(r) {
		first = append(first, q.String())
		a, _ := rec.Resolver.Lookup(t.Context(), q.Question)
		for _, next := range q.Then(a) {
			first = append(first, next.String())
		}
	}
	want := "bank.example. MX gone.example. MX gone.example. A gone.example. AAAA"
	if got := strings.Join(first, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := strings.Join(rec.Asked(), " "), "bank.example. MX gone.example. A gone.example. AAAA gone.example. MX"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// TestHostileNames tests that a From field with many addresses in its display name does not keep a processor busy.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	c := checktest.Build[checks.NoSettings](t, author.Info, checktest.Env(t, zone), nil)
	var label strings.Builder // whose conversion takes a turn for each character
	for i := range 63 {
		label.WriteRune(rune('\u4e00' + i*311))
	}
	own := strings.Repeat(label.String()+".", 3) + "example"
	for name, from := range map[string]string{
		"no domains":              ` "` + strings.Repeat("a@b.- ", 60_000) + `" <jane@` + own + `>`,
		"domains of many letters": ` "` + strings.Repeat("a@"+own+" ", 400) + `" <jane@` + own + `>`,
		"addresses without names": strings.Repeat(" jane@"+own+",", 400),
	} {
		s := checktest.Session{Header: []headers.Field{{Name: "From", Value: from}}}
		took := checktest.CPUTime(t, func() {
			if _, err := checktest.Ask(t, author.Info, c, s.Request(t)); err != nil {
				t.Error(err)
			}
		})
		if took > 5*time.Second {
			t.Errorf("%s: %s", name, took)
		}
	}
}
