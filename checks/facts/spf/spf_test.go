package spf_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"milterd/checks/checktest"
	"milterd/checks/facts/spf"
)

// mail is the subject of most cases.
var mail = mailFrom("192.0.2.9", "user", "example.net")

// mailFrom returns a MAIL FROM identity.
func mailFrom(client, local, domain string) spf.Subject {
	return spf.Subject{
		Identity: spf.MailFrom,
		Client:   netip.MustParseAddr(client),
		Local:    local,
		Domain:   domain,
		Helo:     "mail.example.com",
		Receiver: "mx.example.org",
		Time:     checktest.Now,
	}
}

// helo returns a HELO identity.
func helo(name string) spf.Subject {
	return spf.Subject{Identity: spf.Helo, Client: netip.MustParseAddr("192.0.2.9"), Domain: name, Helo: name}
}

func TestCheckHost(t *testing.T) {
	t.Parallel()
	six := mailFrom("2001:db8::9", "user", "example.net")
	for _, c := range []struct {
		name    string
		subject spf.Subject
		zone    string
		want    spf.Evaluation
	}{
		{"a listed address passes", mail, `example.net TXT "v=spf1 ip4:192.0.2.0/24 -all"`,
			spf.Evaluation{Result: spf.Pass, By: "example.net", Match: "ip4:192.0.2.0/24"}},
		{"strings of a record are joined", mail, `example.net TXT "v=spf1 ip4:192.0." "2.0/24 -all"`,
			spf.Evaluation{Result: spf.Pass, By: "example.net", Match: "ip4:192.0.2.0/24"}},
		{"an IPv4 network does not match an IPv6 client", six, `example.net TXT "v=spf1 ip4:0.0.0.0/0 -all"`,
			spf.Evaluation{Result: spf.Fail, By: "example.net", Match: "-all"}},
		{"missing AAAA records are no void lookups", six,
			"example.net TXT \"v=spf1 a:a.example.net a:b.example.net a:c.example.net mx -all\"\nexample.net MX 0 a.example.net\n" +
				"a.example.net A 192.0.2.1\nb.example.net A 192.0.2.1\nc.example.net A 192.0.2.1",
			spf.Evaluation{Result: spf.Fail, By: "example.net", Match: "-all"}},
		{"names that do not exist are void lookups", mail, `example.net TXT "v=spf1 a:a.example.net mx:b.example.net exists:c.example.net -all"`,
			spf.Evaluation{Result: spf.PermError, By: "example.net", Match: "exists:c.example.net",
				Problem: "more than 2 terms that find nothing in the DNS, c.example.net is one too many"}},
		{"a thousand directives are evaluated", mail, longRecord(999),
			spf.Evaluation{Result: spf.Fail, By: "example.net", Match: "-all"}},
		{"more directives are an error", mail, longRecord(1000),
			spf.Evaluation{Result: spf.PermError, By: "example.net", Problem: "in the record of example.net: over 1000 directives"}},
		{"the eleventh lookup is one too many", mail, elevenLookups(),
			spf.Evaluation{Result: spf.PermError, By: "example.net", Match: "a:a10.example.net",
				Problem: `more than 10 terms that ask the DNS, "a:a10.example.net" is one too many`}},
		{"an address after a:", mail, `example.net TXT "v=spf1 a:192.0.2.9 -all"`,
			spf.Evaluation{Result: spf.PermError, By: "example.net",
				Problem: `in the record of example.net: "a:192.0.2.9": an address instead of a domain; use ip4 or ip6`}},
		{"two records", mail, "example.net TXT \"v=spf1 +all\"\nexample.net TXT \"v=spf1 -all\"",
			spf.Evaluation{Result: spf.PermError, Problem: "example.net has more than one SPF record"}},
		{"no record", mail, `example.net TXT "something else"`, spf.Evaluation{Result: spf.None}},
		{"the problem of a temperror names the question", mail, "!TIMEOUT a.example.net\nexample.net TXT \"v=spf1 a:a.example.net -all\"",
			spf.Evaluation{Result: spf.TempError, By: "example.net", Match: "a:a.example.net",
				Problem: "the DNS does not answer for a.example.net. A"}},
		{"ptr, and the PTR question fails", mail, "!SERVFAIL 9.2.0.192.in-addr.arpa\nexample.net TXT \"v=spf1 ptr -all\"",
			spf.Evaluation{Result: spf.TempError, By: "example.net", Match: "-all",
				Problem: "the DNS does not answer for the names of the client", NamesMissed: true}},
		{"ptr, and the address of a name fails", mail, "!TIMEOUT a.example.net\n9.2.0.192.in-addr.arpa PTR a.example.net\nexample.net TXT \"v=spf1 ptr ~all\"",
			spf.Evaluation{Result: spf.TempError, By: "example.net", Match: "~all",
				Problem: "the DNS does not answer for the names of the client", NamesMissed: true}},
		{"ptr, and both the PTR question and another term fail", mail, "!SERVFAIL 9.2.0.192.in-addr.arpa\n!SERVFAIL a.example.net\nexample.net TXT \"v=spf1 ptr a:a.example.net -all\"",
			spf.Evaluation{Result: spf.TempError, By: "example.net", Match: "a:a.example.net",
				Problem: "the DNS does not answer for the names of the client"}},
		{"the question for a name from HELO fails", mail, "!SERVFAIL mail.example.com\nexample.net TXT \"v=spf1 exists:%{h} -all\"",
			spf.Evaluation{Result: spf.TempError, By: "example.net", Match: "exists:%{h}",
				Problem: "the DNS does not answer for mail.example.com. A", NamesMissed: true}},
		{"redirect= to a name from HELO fails", mail, "!SERVFAIL _spf.mail.example.com\nexample.net TXT \"v=spf1 redirect=_spf.%{h}\"",
			spf.Evaluation{Result: spf.TempError, NamesMissed: true, Problem: "the DNS does not answer for _spf.mail.example.com. TXT"}},
		{"the question for a name from PTR fails", mail, "9.2.0.192.in-addr.arpa PTR a.example.com\na.example.com A 192.0.2.9\n!SERVFAIL x.a.example.com\n" +
			"example.net TXT \"v=spf1 exists:x.%{p} -all\"",
			spf.Evaluation{Result: spf.TempError, By: "example.net", Match: "exists:x.%{p}",
				Problem: "the DNS does not answer for x.a.example.com. A", NamesMissed: true}},
		{"ptr fails, and another directive matches", mail, "!SERVFAIL 9.2.0.192.in-addr.arpa\nexample.net TXT \"v=spf1 ptr ip4:192.0.2.9 -all\"",
			spf.Evaluation{Result: spf.Pass, By: "example.net", Match: "ip4:192.0.2.9"}},
		{"mx, one host fails and another matches", mail,
			"!SERVFAIL a.example.net\nexample.net TXT \"v=spf1 mx -all\"\nexample.net MX 0 a.example.net\nexample.net MX 1 b.example.net\nb.example.net A 192.0.2.9",
			spf.Evaluation{Result: spf.Pass, By: "example.net", Match: "mx"}},
		{"no mail", mail, `example.net TXT "v=spf1 -all"`,
			spf.Evaluation{Result: spf.Fail, By: "example.net", Match: "-all", NoMail: true}},
		{"no mail, with modifiers", mail, "example.net TXT \"v=spf1 x=y -ALL exp=why.example.net\"\nwhy.example.net TXT \"We send nothing.\"",
			spf.Evaluation{Result: spf.Fail, By: "example.net", Match: "-ALL", NoMail: true, Explanation: "We send nothing."}},
		{"no mail, by redirect=", mail, "example.net TXT \"v=spf1 redirect=parked.example.com\"\nparked.example.com TXT \"v=spf1 -all\"",
			spf.Evaluation{Result: spf.Fail, By: "parked.example.com", Match: "-all", NoMail: true}},
		{"directives, then a redirect= to -all", mail, "example.net TXT \"v=spf1 ip4:192.0.2.1 redirect=parked.example.com\"\nparked.example.com TXT \"v=spf1 -all\"",
			spf.Evaluation{Result: spf.Fail, By: "parked.example.com", Match: "-all"}},
		{"-all before another directive is not \"no mail\"", mail, `example.net TXT "v=spf1 -all ip4:192.0.2.1"`,
			spf.Evaluation{Result: spf.Fail, By: "example.net", Match: "-all"}},
		{"a local part with bytes over 127 matches nothing", mailFrom("192.0.2.9", "jürgen", "example.net"),
			"example.net TXT \"v=spf1 exists:%{l}.example.com exists:%{s} exists:%{l1r-}.example.net ?all\"\n*.example.com A 127.0.0.2",
			spf.Evaluation{Result: spf.Neutral, By: "example.net", Match: "?all"}},
		{"a domain of A-labels", mailFrom("192.0.2.9", "user", "xn--bcher-kva.example"),
			`xn--bcher-kva.example TXT "v=spf1 ip4:192.0.2.9"`,
			spf.Evaluation{Result: spf.Pass, Domain: "xn--bcher-kva.example", By: "xn--bcher-kva.example", Match: "ip4:192.0.2.9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := spf.CheckHost(t.Context(), checktest.NewZone(t, c.zone), c.subject)
			c.want.Identity = spf.MailFrom
			if c.want.Domain == "" {
				c.want.Domain = "example.net"
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if (err != nil) != (got.Result == spf.TempError) {
				t.Errorf("error %v beside %s", err, got.Result)
			}
		})
	}
}

// TestMissingNames tests that a policy that needs the client's names comes to pass or temperror if they cannot be looked up.
func TestMissingNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		record string
		want   spf.Result
	}{
		{"ptr -all", spf.TempError},
		{"ptr ~all", spf.TempError},
		{"ptr ?all", spf.TempError},
		{"ptr", spf.TempError},
		{"ptr include:none.example.net -all", spf.TempError},
		{"ptr redirect=nil.example.net", spf.TempError},
		{"ptr a:x1.example.net a:x2.example.net a:x3.example.net", spf.TempError},
		{"include:%{p}._s.example.net -all", spf.TempError},
		{"a:%{p} a:%{p}.b.example.net a:%{p}.c.example.net -all", spf.TempError},
		{"exists:%{p}.d.example.net ?all", spf.TempError},
		{"include:names.example.net -all", spf.TempError},
		{"redirect=names.example.net", spf.TempError},
		{"ptr ip4:192.0.2.9 -all", spf.Pass},
		{"ptr +all", spf.Pass},
		{"-all ptr", spf.Fail},
		{"ip4:192.0.2.0/28 ptr -all", spf.Pass},
	} {
		for _, failure := range []string{
			"!SERVFAIL 9.2.0.192.in-addr.arpa", "!TIMEOUT 9.2.0.192.in-addr.arpa",
			"9.2.0.192.in-addr.arpa PTR a.example.net\n!SERVFAIL a.example.net", "9.2.0.192.in-addr.arpa PTR a.example.net\n!TIMEOUT a.example.net",
		} {
			zone := failure + "\nexample.net TXT \"v=spf1 " + c.record + "\"\nnames.example.net TXT \"v=spf1 ptr ?all\""
			got, err := spf.CheckHost(t.Context(), checktest.NewZone(t, zone), mail)
			if got.Result != c.want || (err != nil) != (c.want == spf.TempError) {
				t.Errorf("%q with %q: got %s, error %v; want %s", c.record, failure, got.Result, err, c.want)
			}
		}
	}
}

// elevenLookups returns a zone whose SPF record has eleven terms that ask the DNS.
func elevenLookups() string {
	var terms, hosts strings.Builder
	for n := range 11 {
		fmt.Fprintf(&terms, " a:a%d.example.net", n)
		fmt.Fprintf(&hosts, "a%d.example.net A 198.51.100.1\n", n)
	}
	return `example.net TXT "v=spf1` + terms.String() + ` -all"` + "\n" + hosts.String()
}

// longRecord returns a zone with a record of n directives before -all, each in a string of its own.
func longRecord(n int) string {
	return `example.net TXT "v=spf1"` + strings.Repeat(` " ip4:198.51.100.1"`, n) + ` " -all"`
}

func TestCheckHostWithoutDomain(t *testing.T) {
	t.Parallel()
	unknown := mail
	unknown.Client = netip.Addr{}
	for name, subject := range map[string]spf.Subject{
		"address literal in MAIL FROM": mailFrom("192.0.2.9", "user", ""),
		"address literal in HELO":      helo("[192.0.2.9]"),
		"IPv6 address literal in HELO": helo("[IPv6:2001:db8::1.2.3.4]"),
		"bare address in HELO":         helo("192.0.2.9"),
		"one label in HELO":            helo("localhost"),
		"too long label in HELO":       helo(strings.Repeat("a", 64) + ".example.net"),
		"no HELO":                      helo(""),
		"bytes over 127 in HELO":       helo("\xff.example.net"),
		"unknown client":               unknown,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := &checktest.Recorder{Resolver: checktest.NewZone(t, "")}
			got, err := spf.CheckHost(t.Context(), rec, subject)
			if got.Result != spf.None || got.Domain != "" || err != nil || len(rec.Asked()) > 0 {
				t.Errorf("%+v, %v, asked %v", got, err, rec.Asked())
			}
		})
	}
}

func TestExplanation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, txt, want string }{
		{"every macro", "%{s} %{l} %{o} %{d} %{i} %{h} %{c} %{r} %{t} %{v} %{p}",
			"a-b.c@example.net a-b.c example.net example.net 192.0.2.9 mail.example.com 192.0.2.9 mx.example.org 1795262400 in-addr unknown"},
		{"transformers", "%{lr-} %{l1-} %{d1} %{d2r} %{lr.-} %{d9}", "b.c.a b.c net net.example c.b.a example.net"},
		{"URL-escaped", "%{S} %{Lr-}%-%_%%", "a-b.c%40example.net b.c.a%20 %"},
		{"control characters", "a\\007b\\000", "a?b?"},
		{"bytes over 127", "caf\\195\\169", ""},
		{"unknown macro", "%{x}", ""},
		{"open macro", "why %{d", ""},
		{"lone percent", "100% sure", ""},
		{"zero parts", "%{d0}", ""},
		{"more parts than a name can have", "%{d99999999999999999999}", "example.net"},
		{"longer than a reply", strings.Repeat("%{s}", 60), strings.Repeat("a-b.c@example.net", 30)[:400]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			zone := checktest.NewZone(t, `example.net TXT "v=spf1 mx -all exp=why.%{d}"`+"\n"+`why.example.net TXT "`+c.txt+`"`)
			got, err := spf.CheckHost(t.Context(), zone, mailFrom("192.0.2.9", "a-b.c", "example.net"))
			if got.Result != spf.Fail || got.Explanation != c.want || err != nil {
				t.Errorf("%+v, %v\nwant %q", got, err, c.want)
			}
		})
	}
}

func TestTooWide(t *testing.T) {
	t.Parallel()
	six := mailFrom("2001:db8::9", "user", "example.net")
	for _, c := range []struct {
		name    string
		subject spf.Subject
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
		{"exists: of a fixed name", mail, "example.net TXT \"v=spf1 exists:example.com -all\"\nexample.com A 127.0.0.2", true, 2},
		{"exists: of the local part", mail, "example.net TXT \"v=spf1 exists:%{l}._spf.%{d} -all\"\nuser._spf.example.net A 127.0.0.2", false, 2},
		{"include: of the local part", mail, "example.net TXT \"v=spf1 include:%{L}._spf.example.net -all\"\nuser._spf.example.net TXT \"v=spf1 +all\"", false, 2},
		{"redirect= to the sender", mail, "example.net TXT \"v=spf1 redirect=%{s1-}.example.com\"\n*.example.com TXT \"v=spf1 +all\"", false, 2},
		{"exists: of the local part and all", mail, "example.net TXT \"v=spf1 exists:%{l}._spf.%{d} +all\"\nuser._spf.example.net A 127.0.0.2", true, 2},
		{"exists: of the local part of a HELO name", helo("example.net"), "example.net TXT \"v=spf1 exists:%{l}._spf.%{d} -all\"\npostmaster._spf.example.net A 127.0.0.2", true, 2},
		{"single hosts are not asked for", mail, "example.net TXT \"v=spf1 ip4:192.0.2.9 a mx ptr -all\"", false, 1},
		{"a softfail is not too wide", mail, `example.net TXT "v=spf1 ~all"`, false, 1},
		{"every IPv6 address", six, `example.net TXT "v=spf1 ip6:::/0 -all"`, true, 1},
		{"every global IPv6 address", six, `example.net TXT "v=spf1 ip6:2000::/3 -all"`, true, 1},
		{"IPv6 network, but every IPv4 address", six, `example.net TXT "v=spf1 ip6:2001:db8::/64 ip4:0.0.0.0/0"`, true, 1},
		{"IPv4 network, but every IPv6 address", mail, `example.net TXT "v=spf1 ip6:2000::/3 ip4:192.0.2.0/24"`, false, 1},
		{"IPv6 network", six, `example.net TXT "v=spf1 ip6:2001:db8::/32 -all"`, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec := &checktest.Recorder{Resolver: checktest.NewZone(t, c.zone)}
			ev, err := spf.CheckHost(t.Context(), rec, c.subject)
			if ev.TooWide != c.wide || ev.WidthErr != nil || err != nil {
				t.Errorf("%+v, %v", ev, err)
			}
			if asked := rec.Asked(); len(asked) != c.asked {
				t.Errorf("%d questions, want %d: %v", len(asked), c.asked, asked)
			}
			identifies, err := ev.Identifies()
			if want := ev.Result == spf.Pass && !c.wide; identifies != want || err != nil {
				t.Errorf("Identifies: %v, %v", identifies, err)
			}
		})
	}
}

func TestWidthError(t *testing.T) {
	t.Parallel()
	zone := checktest.NewZone(t, "!SERVFAIL example.com\nexample.net TXT \"v=spf1 ip4:192.0.2.9 include:example.com\"")
	ev, err := spf.CheckHost(t.Context(), zone, mail)
	if ev.Result != spf.Pass || err != nil {
		t.Fatalf("%+v, %v", ev, err)
	}
	if ev.TooWide || ev.WidthErr == nil {
		t.Errorf("%+v", ev)
	}
	if identifies, err := ev.Identifies(); identifies || err == nil {
		t.Errorf("Identifies: %v, %v", identifies, err)
	}
}

// TestLongRecords tests that an evaluation, which the session keeps, has short texts, and keeps no record in memory.
//
// It is not parallel: the heap is that of the whole process.
func TestLongRecords(t *testing.T) {
	const size, evaluations = 60_000, 50
	long := strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, size/250)
	for _, c := range []struct{ name, zone string }{
		{"redirect=", `example.net TXT "v=spf1 redirect=parked.example.com x="` + long + "\nparked.example.com TXT \"v=spf1 -all\""},
		{"an explanation", "example.net TXT \"v=spf1 mx -all exp=why.example.net\"\nwhy.example.net TXT" + long},
		{"a term that is wrong", `example.net TXT "v=spf1 "` + long},
	} {
		zone := checktest.NewZone(t, c.zone)
		kept := make([]spf.Evaluation, evaluations)
		before := heap()
		for i := range kept {
			kept[i], _ = spf.CheckHost(t.Context(), zone, mail)
		}
		if taken := heap() - before; taken > evaluations*size/2 {
			t.Errorf("%s: %d evaluations keep %d KiB", c.name, evaluations, taken>>10)
		}
		if ev := kept[0]; ev.Result != spf.Fail && ev.Result != spf.PermError || len(ev.Problem) > 1024 {
			t.Errorf("%s: %s, a problem of %d bytes", c.name, ev.Result, len(ev.Problem))
		}
		runtime.KeepAlive(kept)
	}
}

// heap returns the bytes in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestCheckHostWithDoneContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ev, err := spf.CheckHost(ctx, checktest.NewZone(t, `example.net TXT "v=spf1 -all"`), mail)
	if ev.Result != spf.TempError || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", ev, err)
	}
}

func BenchmarkCheckHost(b *testing.B) {
	for name, record := range map[string]string{
		"ip4":     "v=spf1 ip4:192.0.2.0/24 -all",
		"include": "v=spf1 include:a.example.net include:b.example.net ~all",
		"macro":   "v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all",
	} {
		b.Run(name, func(b *testing.B) {
			zone := checktest.NewZone(b, `example.net TXT "`+record+`"
a.example.net TXT "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 ip6:2001:db8::/32 ~all"
b.example.net TXT "v=spf1 ip4:192.0.2.0/24 ~all"
9.2.0.192.in-addr._spf.example.net A 127.0.0.2`)
			b.ReportAllocs()
			for b.Loop() {
				if ev, err := spf.CheckHost(b.Context(), zone, mail); ev.Result != spf.Pass || err != nil {
					b.Fatalf("%+v, %v", ev, err)
				}
			}
		})
	}
}

// TestAliases tests that the records of a name are those of the name that its CNAME record leads to, at each place of a record.
func TestAliases(t *testing.T) {
	t.Parallel()
	const policy = "\nspf.example.com TXT \"v=spf1 ip4:192.0.2.9 -all\""
	for _, c := range []struct{ name, zone string }{
		{"the domain", "example.net CNAME spf.example.com" + policy},
		{"an include: of _spf", "example.net TXT \"v=spf1 include:_spf.example.net -all\"\n_spf.example.net CNAME spf.example.com" + policy},
		{"a redirect= to _spf", "example.net TXT \"v=spf1 redirect=_spf.example.net\"\n_spf.example.net CNAME a.example.com\na.example.com CNAME spf.example.com" + policy},
		{"a host", "example.net TXT \"v=spf1 a:out.example.net -all\"\nout.example.net CNAME host.example.com\nhost.example.com A 192.0.2.9"},
		{"a mail host", "example.net TXT \"v=spf1 mx -all\"\nexample.net MX 10 mx.example.net\nmx.example.net CNAME host.example.com\nhost.example.com A 192.0.2.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ev, err := spf.CheckHost(t.Context(), checktest.NewZone(t, c.zone), mail)
			if ev.Result != spf.Pass || err != nil {
				t.Errorf("%+v, %v", ev, err)
			}
		})
	}
}
