package facts_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts"
)

// mail is the session of most cases: an outside client sends from user@example.net.
var mail = checktest.Session{Client: "192.0.2.9", Helo: "mail.example.com", MailFrom: "user@example.net"}

func TestMailFromSPF(t *testing.T) {
	t.Parallel()
	six := checktest.Session{Client: "2001:db8::9", Helo: "mail.example.com", MailFrom: "user@example.net"}
	hop := func(n int) string { return fmt.Sprintf("a%d.example.net", n) }
	var eleven, voids strings.Builder
	for n := range 11 {
		fmt.Fprintf(&eleven, " a:%s", hop(n))
	}
	voids.WriteString(`example.net TXT "v=spf1` + eleven.String() + ` -all"` + "\n")
	for n := range 11 {
		fmt.Fprintf(&voids, "%s A 198.51.100.1\n", hop(n))
	}
	for _, c := range []struct {
		name    string
		session checktest.Session
		zone    string
		want    facts.SPF
	}{
		{"a listed address passes", mail, `example.net TXT "v=spf1 ip4:192.0.2.0/24 -all"`,
			facts.SPF{Result: facts.SPFPass, By: "example.net", Match: "ip4:192.0.2.0/24"}},
		{"strings of a record are joined", mail, `example.net TXT "v=spf1 ip4:192.0." "2.0/24 -all"`,
			facts.SPF{Result: facts.SPFPass, By: "example.net", Match: "ip4:192.0.2.0/24"}},
		{"an IPv6 client is no IPv4 one", six, `example.net TXT "v=spf1 ip4:0.0.0.0/0 -all"`,
			facts.SPF{Result: facts.SPFFail, By: "example.net", Match: "-all"}},
		{"missing AAAA records are no void lookups", six,
			"example.net TXT \"v=spf1 a:a.example.net a:b.example.net a:c.example.net mx -all\"\nexample.net MX 0 a.example.net\n" +
				"a.example.net A 192.0.2.1\nb.example.net A 192.0.2.1\nc.example.net A 192.0.2.1",
			facts.SPF{Result: facts.SPFFail, By: "example.net", Match: "-all", Lookups: 4}},
		{"names that do not exist are void lookups", mail, `example.net TXT "v=spf1 a:a.example.net mx:b.example.net exists:c.example.net -all"`,
			facts.SPF{Result: facts.SPFPermError, By: "example.net", Match: "exists:c.example.net", Lookups: 3, Voids: 3,
				Problem: "more than 2 terms that find nothing in the DNS, c.example.net is one too many"}},
		{"the eleventh lookup is one too many", mail, voids.String(),
			facts.SPF{Result: facts.SPFPermError, By: "example.net", Match: "a:a10.example.net", Lookups: 10,
				Problem: `more than 10 terms that ask the DNS, "a:a10.example.net" is one too many`}},
		{"an address after a: is explained", mail, `example.net TXT "v=spf1 a:192.0.2.9 -all"`,
			facts.SPF{Result: facts.SPFPermError, By: "example.net",
				Problem: `in the record of example.net: "a:192.0.2.9": an address stands where a domain must; ip4: and ip6: take addresses`}},
		{"two records", mail, "example.net TXT \"v=spf1 +all\"\nexample.net TXT \"v=spf1 -all\"",
			facts.SPF{Result: facts.SPFPermError, Problem: "example.net has more than one SPF record"}},
		{"no record", mail, `example.net TXT "something else"`, facts.SPF{Result: facts.SPFNone}},
		{"the reason for a temperror names the question", mail, "!TIMEOUT a.example.net\nexample.net TXT \"v=spf1 a:a.example.net -all\"",
			facts.SPF{Result: facts.SPFTempError, By: "example.net", Match: "a:a.example.net", Lookups: 1,
				Problem: "the DNS does not answer for a.example.net. A"}},
		{"ptr while the reverse DNS fails", mail, "!SERVFAIL 9.2.0.192.in-addr.arpa\nexample.net TXT \"v=spf1 ptr -all\"",
			facts.SPF{Result: facts.SPFTempError, By: "example.net", Match: "-all", Lookups: 1,
				Problem: "the DNS does not answer for the names of the client"}},
		{"ptr while a name fails", mail, "!TIMEOUT a.example.net\n9.2.0.192.in-addr.arpa PTR a.example.net\nexample.net TXT \"v=spf1 ptr ~all\"",
			facts.SPF{Result: facts.SPFTempError, By: "example.net", Match: "~all", Lookups: 1,
				Problem: "the DNS does not answer for the names of the client"}},
		{"ptr that fails beside a match", mail, "!SERVFAIL 9.2.0.192.in-addr.arpa\nexample.net TXT \"v=spf1 ptr ip4:192.0.2.9 -all\"",
			facts.SPF{Result: facts.SPFPass, By: "example.net", Match: "ip4:192.0.2.9", Lookups: 1}},
		{"one MX host that fails does not hide another", mail,
			"!SERVFAIL a.example.net\nexample.net TXT \"v=spf1 mx -all\"\nexample.net MX 0 a.example.net\nexample.net MX 1 b.example.net\nb.example.net A 192.0.2.9",
			facts.SPF{Result: facts.SPFPass, By: "example.net", Match: "mx", Lookups: 1}},
		{"no mail", mail, `example.net TXT "v=spf1 -all"`,
			facts.SPF{Result: facts.SPFFail, By: "example.net", Match: "-all", NoMail: true}},
		{"no mail, with modifiers", mail, "example.net TXT \"v=spf1 x=y -ALL exp=why.example.net\"\nwhy.example.net TXT \"We send nothing.\"",
			facts.SPF{Result: facts.SPFFail, By: "example.net", Match: "-ALL", NoMail: true, Explanation: "We send nothing."}},
		{"no mail, by redirect=", mail, "example.net TXT \"v=spf1 redirect=parked.example.com\"\nparked.example.com TXT \"v=spf1 -all\"",
			facts.SPF{Result: facts.SPFFail, By: "parked.example.com", Match: "-all", NoMail: true, Lookups: 1}},
		{"servers, then a redirect= to -all", mail, "example.net TXT \"v=spf1 ip4:192.0.2.1 redirect=parked.example.com\"\nparked.example.com TXT \"v=spf1 -all\"",
			facts.SPF{Result: facts.SPFFail, By: "parked.example.com", Match: "-all", Lookups: 1}},
		{"-all before servers is a blunder, not a statement", mail, `example.net TXT "v=spf1 -all ip4:192.0.2.1"`,
			facts.SPF{Result: facts.SPFFail, By: "example.net", Match: "-all"}},
		{"local part with octets over 127 matches nothing", checktest.Session{Client: "192.0.2.9", MailFrom: "jürgen@example.net"},
			"example.net TXT \"v=spf1 exists:%{l}.example.com exists:%{s} exists:%{l1r-}.example.net ?all\"\n*.example.com A 127.0.0.2",
			facts.SPF{Result: facts.SPFNeutral, By: "example.net", Match: "?all", Lookups: 3}},
		{"domain with U-labels", checktest.Session{Client: "192.0.2.9", MailFrom: "user@bücher.example"},
			`xn--bcher-kva.example TXT "v=spf1 ip4:192.0.2.9"`,
			facts.SPF{Result: facts.SPFPass, Domain: "xn--bcher-kva.example", By: "xn--bcher-kva.example", Match: "ip4:192.0.2.9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.session.Request(t)
			s.Stage = checks.MailFrom
			got, err := facts.MailFromSPF(t.Context(), checktest.Env(t, c.zone), s)
			c.want.Identity = facts.SPFMailFrom
			if c.want.Domain == "" {
				c.want.Domain = "example.net"
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if (err != nil) != (got.Result == facts.SPFTempError) {
				t.Errorf("error %v beside %s", err, got.Result)
			}
		})
	}
}

func TestSPFJudgesNothing(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]checktest.Session{
		"address literal in MAIL FROM": {Client: "192.0.2.9", MailFrom: "user@[192.0.2.9]"},
		"address literal in HELO":      {Client: "192.0.2.9", Helo: "[192.0.2.9]"},
		"IPv6 address literal in HELO": {Client: "192.0.2.9", Helo: "[IPv6:2001:db8::1.2.3.4]"},
		"bare address in HELO":         {Client: "192.0.2.9", Helo: "192.0.2.9"},
		"one label in HELO":            {Client: "192.0.2.9", Helo: "localhost"},
		"too long label in HELO":       {Client: "192.0.2.9", Helo: strings.Repeat("a", 64) + ".example.net"},
		"no HELO":                      {Client: "192.0.2.9"},
		"8-bit octets in HELO":         {Client: "192.0.2.9", Helo: "\xff.example.net"},
		"local submission":             {Helo: "mail.example.net", MailFrom: "user@example.net"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := &recorder{Resolver: checktest.Env(t, "").DNS}
			got, err := facts.MailFromSPF(t.Context(), checks.Env{DNS: asked}, s.Request(t))
			if got.Result != facts.SPFNone || got.Domain != "" || err != nil || len(asked.names()) > 0 {
				t.Errorf("%+v, %v, asked %v", got, err, asked.names())
			}
		})
	}
}

func TestSPFExplanation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, txt, want string }{
		{"every macro", "%{s} %{l} %{o} %{d} %{i} %{h} %{c} %{r} %{t} %{v} %{p}",
			"a-b.c@example.net a-b.c example.net example.net 192.0.2.9 mail.example.com 192.0.2.9 mx.example.org 1795262400 in-addr unknown"},
		{"transformers", "%{lr-} %{l1-} %{d1} %{d2r} %{lr.-} %{d9}", "b.c.a b.c net net.example c.b.a example.net"},
		{"URL-escaped", "%{S} %{Lr-}%-%_%%", "a-b.c%40example.net b.c.a%20 %"},
		{"control characters", "a\\007b\\000", "a?b?"},
		{"octets over 127", "caf\\195\\169", ""},
		{"unknown macro", "%{x}", ""},
		{"open macro", "why %{d", ""},
		{"lone percent", "100% sure", ""},
		{"zero parts", "%{d0}", ""},
		{"more parts than a name can have", "%{d99999999999999999999}", "example.net"},
		{"longer than a reply", strings.Repeat("%{s}", 60), strings.Repeat("a-b.c@example.net", 30)[:400]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, `example.net TXT "v=spf1 mx -all exp=why.%{d}"`+"\n"+`why.example.net TXT "`+c.txt+`"`)
			s := checktest.Session{Client: "192.0.2.9", Helo: "mail.example.com", MailFrom: "a-b.c@example.net"}.Request(t)
			got, err := facts.MailFromSPF(t.Context(), env, s)
			if got.Result != facts.SPFFail || got.Explanation != c.want || err != nil {
				t.Errorf("%+v, %v\nwant %q", got, err, c.want)
			}
		})
	}
}

func TestSPFTooWide(t *testing.T) {
	t.Parallel()
	six := checktest.Session{Client: "2001:db8::9", MailFrom: "user@example.net"}
	for _, c := range []struct {
		name    string
		session checktest.Session
		zone    string
		wide    bool
		asked   int
	}{
		{"+all", mail, `example.net TXT "v=spf1 +all"`, true, 1},
		{"own networks", mail, `example.net TXT "v=spf1 ip4:192.0.2.0/24 mx ~all"`, false, 1},
		{"two of the three networks", mail, `example.net TXT "v=spf1 ip4:192.0.0.0/5 -all"`, false, 1},
		{"half the Internet", mail, `example.net TXT "v=spf1 ip4:128.0.0.0/1 -all"`, true, 1},
		{"an included half", mail, "example.net TXT \"v=spf1 ip4:192.0.2.9 include:example.com -all\"\nexample.com TXT \"v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1\"", true, 2},
		{"a with /0", mail, "example.net TXT \"v=spf1 a/0 -all\"\nexample.net A 198.51.100.1", true, 2},
		{"exists that always is", mail, "example.net TXT \"v=spf1 exists:example.com -all\"\nexample.com A 127.0.0.2", true, 2},
		{"hosts are not asked for", mail, "example.net TXT \"v=spf1 ip4:192.0.2.9 a mx ptr -all\"", false, 1},
		{"a softfail is not too wide", mail, `example.net TXT "v=spf1 ~all"`, false, 1},
		{"every IPv6 address", six, `example.net TXT "v=spf1 ip6:::/0 -all"`, true, 1},
		{"every global IPv6 address", six, `example.net TXT "v=spf1 ip6:2000::/3 -all"`, true, 1},
		{"IPv6 network, but every IPv4 address", six, `example.net TXT "v=spf1 ip6:2001:db8::/64 ip4:0.0.0.0/0"`, true, 1},
		{"IPv4 network, but every IPv6 address", mail, `example.net TXT "v=spf1 ip6:2000::/3 ip4:192.0.2.0/24"`, false, 1},
		{"IPv6 network", six, `example.net TXT "v=spf1 ip6:2001:db8::/32 -all"`, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := checktest.Env(t, c.zone)
			asked := &recorder{Resolver: env.DNS}
			env.DNS = asked
			s := c.session.Request(t)
			r, err := facts.MailFromSPF(t.Context(), env, s)
			if r.TooWide != c.wide || r.WidthErr != nil || err != nil {
				t.Errorf("%+v, %v", r, err)
			}
			if asked := len(asked.names()); asked != c.asked {
				t.Errorf("%d questions, want %d", asked, c.asked)
			}
			known, err := r.Identifies()
			if want := r.Result == facts.SPFPass && !c.wide; known != want || err != nil {
				t.Errorf("identifies: %v, %v", known, err)
			}
		})
	}
}

func TestSPFTooWideUnknown(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "!SERVFAIL example.com\nexample.net TXT \"v=spf1 ip4:192.0.2.9 include:example.com\"")
	s := mail.Request(t)
	r, err := facts.MailFromSPF(t.Context(), env, s)
	if r.Result != facts.SPFPass || err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if r.TooWide || r.WidthErr == nil {
		t.Errorf("%+v", r)
	}
	if known, err := r.Identifies(); known || err == nil {
		t.Errorf("identifies: %v, %v", known, err)
	}
}

// TestSPFRemembered asks twice and wants each question asked once.
func TestSPFRemembered(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, `example.net TXT "v=spf1 ip4:192.0.2.9 mx -all"`)
	asked := &recorder{Resolver: env.DNS}
	env.DNS = asked
	s := mail.Request(t)
	for range 2 {
		_, _ = facts.MailFromSPF(t.Context(), env, s)
		_, _ = facts.HeloSPF(t.Context(), env, s)
	}
	if want := []string{"example.net. TXT", "mail.example.com. TXT"}; !slices.Equal(asked.list, want) {
		t.Errorf("asked %v", asked.list)
	}
}

func TestSPFWithoutTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := facts.MailFromSPF(ctx, checktest.Env(t, `example.net TXT "v=spf1 -all"`), mail.Request(t))
	if r.Result != facts.SPFTempError || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestSPFAhead wants everything announced that judging asks, and the chain of announcements as short as it can be.
func TestSPFAhead(t *testing.T) {
	t.Parallel()
	zone := `example.net TXT "v=spf1 include:%{d2}.inc.example.com exists:%{ir}.%{v}.example.org mx a:a.example.net redirect=r.example.com exp=why.example.net"
example.net.inc.example.com TXT "v=spf1 a mx:mx.example.com ?ip4:192.0.2.0/24"
mx.example.com MX 0 host.example.com
example.net MX 0 host.example.net
host.example.net A 198.51.100.1
r.example.com TXT "v=spf1 a -all"
why.example.net TXT "Because."`
	env := checktest.Env(t, zone)
	asked := &recorder{Resolver: env.DNS}
	s := mail.Request(t)
	s.Stage = checks.MailFrom
	rounds, known := announced(t, env.DNS, facts.SPFAhead(s, facts.SPFMailFrom))
	if rounds != 4 {
		t.Errorf("%d round trips", rounds)
	}
	env.DNS = asked
	if r, err := facts.MailFromSPF(t.Context(), env, s); r.Result != facts.SPFPermError || err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, q := range asked.names() {
		if !known[q] {
			t.Errorf("%s was not announced", q)
		}
	}
}

// TestSPFAheadIsBounded lets records include each other as often as a TXT record can.
func TestSPFAheadIsBounded(t *testing.T) {
	t.Parallel()
	var zone strings.Builder
	for n := range 12 {
		fmt.Fprintf(&zone, "%d.example.net TXT \"v=spf1", n)
		for m := range 12 {
			fmt.Fprintf(&zone, " include:%d.example.net", m)
			if m == n%5 {
				break
			}
		}
		zone.WriteString("\"\n")
	}
	env := checktest.Env(t, zone.String())
	for n := range 12 {
		s := checktest.Session{Client: "192.0.2.9", MailFrom: fmt.Sprintf("user@%d.example.net", n)}.Request(t)
		count := 0
		for left := facts.SPFAhead(s, facts.SPFMailFrom); len(left) > 0; left = left[1:] {
			count++
			a, err := env.DNS.Lookup(t.Context(), left[0].Question)
			if err == nil && left[0].Then != nil {
				left = append(left, left[0].Then(a)...)
			}
		}
		if count > 80 {
			t.Errorf("record %d announces %d questions", n, count)
		}
	}
}

// announced follows announcements, and returns how many answers had to be waited for one after the other.
func announced(t *testing.T, r checks.Resolver, ahead []checks.Query) (rounds int, known map[string]bool) {
	t.Helper()
	known = map[string]bool{}
	for ; len(ahead) > 0; rounds++ {
		var next []checks.Query
		for _, q := range ahead {
			known[q.String()] = true
			if q.Then != nil {
				a, err := r.Lookup(t.Context(), q.Question)
				if err != nil {
					t.Fatal(err)
				}
				next = append(next, q.Then(a)...)
			}
		}
		ahead = next
	}
	return rounds, known
}

// recorder notes what is asked.
type recorder struct {
	checks.Resolver
	mu   sync.Mutex
	list []string
}

func (r *recorder) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	r.mu.Lock()
	r.list = append(r.list, q.String())
	r.mu.Unlock()
	return r.Resolver.Lookup(ctx, q)
}

// names lists the questions, each once.
func (r *recorder) names() []string {
	list := slices.Clone(r.list)
	slices.Sort(list)
	return slices.Compact(list)
}

func BenchmarkMailFromSPF(b *testing.B) {
	for name, record := range map[string]string{
		"ip4":     "v=spf1 ip4:192.0.2.0/24 -all",
		"include": "v=spf1 include:a.example.net include:b.example.net ~all",
		"macro":   "v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all",
	} {
		b.Run(name, func(b *testing.B) {
			env := checktest.Env(b, `example.net TXT "`+record+`"
a.example.net TXT "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 ip6:2001:db8::/32 ~all"
b.example.net TXT "v=spf1 ip4:192.0.2.0/24 ~all"
9.2.0.192.in-addr._spf.example.net A 127.0.0.2`)
			s := mail.Request(b)
			b.ReportAllocs()
			for b.Loop() {
				fresh := checks.NewRequest(s.Session, checks.MailFrom)
				if r, err := facts.MailFromSPF(b.Context(), env, fresh); r.Result != facts.SPFPass || err != nil {
					b.Fatalf("%+v, %v", r, err)
				}
			}
		})
	}
}
