package facts_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"milterd/checks"
	"milterd/checks/facts"
)

func TestStableSender(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, from, want string }{
		{"null reverse-path", "<>", ""},
		{"a person", "Alice.Smith@Example.NET", "Alice.Smith@example.net"},
		{"a person with a number", "john1985@example.net", "john1985@example.net"},
		{"a number alone is a person", "491701234567@example.net", "491701234567@example.net"},
		{"a long name with a year", "christopherjohnson1985@example.net", "christopherjohnson1985@example.net"},
		{"a role", "no-reply@example.net", "no-reply@example.net"},
		{"a short word with a digit", "b2b-news@example.net", "b2b-news@example.net"},
		{"an address literal", "a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"a local part without domain", "root", "root"},
		{"no address", "a b@@", "a b@@"},

		{"+extension", "alice+shop@example.net", "alice@example.net"},
		{"+extension with VERP", "list-bounces+bob=example.org@lists.example.net", "list-bounces@lists.example.net"},
		{"a plus at the beginning", "+49170@example.net", "+#@example.net"},
		{"VERP with a number", "bounce-12345-678@example.net", "bounce-#@example.net"},
		{"VERP with the recipient", "bounces-42-bob=example.org@example.net", "bounces-#-bob=example.org@example.net"},
		{"a UUID", "4e48dd8b-0599-4a87-8084-b51c410b859b@example.net", "#@example.net"},
		{"Amazon SES", "0102016efd924cb8-4e48dd8b-0599-4a87-8084-b51c410b859b-000000@eu-west-1.amazonses.com", "#@eu-west-1.amazonses.com"},
		{"Mandrill", "bounce-md_10612303.5adf1f70.v1-0f662aa357fe4841870c6a233ce23b66@mandrill.example", "bounce-md_#.v1-#@mandrill.example"},
		{"X", "n01361f1607-0fe582ccfc934393-bob===example.org@bounce.x.com", "#-bob===example.org@bounce.x.com"},
		{"a hash alone", "a1b2c3d4e5f60718293a@example.net", "#@example.net"},
		{"a random token", "b.aB3dE6gH9kL2mN5p@example.net", "b.#@example.net"},

		{"BATV", "prvs=1234abcdef=alice@example.net", "alice@example.net"},
		{"BATV in capitals", "PRVS=1234ABCDEF=alice@example.net", "alice@example.net"},
		{"BATV in the order of an early draft", "prvs=alice=1234abcdef@example.net", "alice@example.net"},
		{"BATV of another length", "prvs=0123456=alice@example.net", "alice@example.net"},
		{"BATV with extension", "prvs=1234abcdef=alice+x@example.net", "alice@example.net"},
		{"BATV twice", "prvs=1234abcdef=prvs=2345abcdef=alice@example.net", "alice@example.net"},
		{"Barracuda", "btv1==0921abcd==alice@example.net", "alice@example.net"},
		{"Momentum", "msprvs1=17012abc=bounces-77@example.net", "bounces-#@example.net"},
		{"BATV without a user", "prvs=1234abcdef=@example.net", "prvs=#=@example.net"},
		{"not BATV", "prvs=alice@example.net", "prvs=alice@example.net"},

		{"SRS0", "SRS0=HHHH=TT=Example.COM=alice@forward.example", "SRS0=#=#=example.com=alice@forward.example"},
		{"SRS0 another day", "srs0=abCD=7x=example.com=alice@forward.example", "SRS0=#=#=example.com=alice@forward.example"},
		{"SRS0 with plus", "SRS0+HHHH=TT=example.com=alice@forward.example", "SRS0=#=#=example.com=alice@forward.example"},
		{"SRS0 of a VERP address", "SRS0=HHHH=TT=example.com=bounce-99@forward.example", "SRS0=#=#=example.com=bounce-#@forward.example"},
		{"SRS1", "SRS1=GGGG=First.example==HHHH=TT=example.com=alice@second.example", "SRS1=#=first.example==#=#=example.com=alice@second.example"},
		{"incomplete SRS0", "SRS0=HHHH=TT@forward.example", "SRS0=HHHH=TT@forward.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := facts.StableSender(checks.ParseAddress(c.from)); got != c.want {
				t.Errorf("%s: got %s, want %s", c.from, got, c.want)
			}
		})
	}
}

func TestMailbox(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"<>": "", "Alice@Example.NET": "alice@example.net", "alice+Shop@example.net": "alice@example.net",
		"prvs=1234abcdef=Alice@example.net": "alice@example.net", "bounce-17@example.net": "bounce-17@example.net",
		"Postmaster": "postmaster", "a@[192.0.2.1]": "a@[192.0.2.1]",
	} {
		if got := facts.Mailbox(checks.ParseAddress(from)); got != want {
			t.Errorf("%s: got %s, want %s", from, got, want)
		}
	}
}

func TestIsSRS(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]bool{
		"SRS0=HHHH=TT=example.com=a@f.example": true, "srs1=G=f.example==H=T=example.com=a@s.example": true,
		"srs0@example.net": false, "alice@example.net": false, "<>": false,
	} {
		if got := facts.IsSRS(checks.ParseAddress(from)); got != want {
			t.Errorf("%s: got %v", from, got)
		}
	}
}

// TestLongSRS tests that the cost of IsSRS has a limit: an address within an address is parsed again.
func TestLongSRS(t *testing.T) {
	a := checks.Address{Local: strings.Repeat("SRS0=a=b=c=", 1000) + "d", Domain: "example.net"}
	if n := testing.AllocsPerRun(1, func() { facts.IsSRS(a) }); n > 1000 {
		t.Errorf("%.0f allocations", n)
	}
}

func FuzzStableSender(f *testing.F) {
	for _, s := range []string{
		"alice+x@example.net", "prvs=1234abcdef=a+b@example.net", "SRS1=G=f.example==H=T=example.com=a-7@s.example", "SRS0=0==0=0A=0=A@s.example", "btv1==1==2==3",
		"0102016efd924cb8-4e48dd8b-0599@a.example", "#-#=#", "msprvs1=1=prvs=2=SRS0=a=b=c=d", "\"a b\"@example.net", "\xff@", "", strings.Repeat("\xff0", 100),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := checks.ParseAddress(text)
		stable, mailbox := facts.StableSender(a), facts.Mailbox(a)
		for _, got := range []string{stable, mailbox} {
			if len(got) > 320 || (got == "") != a.IsNull() {
				t.Errorf("%q: %q of %d bytes", text, got, len(got))
			}
		}
		if a.Local == "" || len(a.Local) > 320 {
			return
		}
		// The result for a result is the same.
		local := func(of func(checks.Address) string, local string) string {
			return of(checks.Address{Text: local, Local: local})
		}
		for _, of := range []func(checks.Address) string{facts.StableSender, facts.Mailbox} {
			once := local(of, a.Local)
			if twice := local(of, once); once == "" || twice != once {
				t.Errorf("%q: %q, then %q", a.Local, once, twice)
			}
			if utf8.ValidString(a.Local) && !utf8.ValidString(once) {
				t.Errorf("%q: %q is not UTF-8", a.Local, once)
			}
		}
		if !strings.ContainsAny(a.Local, "#=+0123456789") && a.Local == strings.ToLower(a.Local) && local(facts.StableSender, a.Local) != a.Local {
			t.Errorf("%q has no variable part: %q", a.Local, local(facts.StableSender, a.Local))
		}
	})
}

func BenchmarkStableSender(b *testing.B) {
	a := checks.ParseAddress("bounce-md_10612303.5adf1f70.v1-0f662aa357fe4841870c6a233ce23b66@mandrill.example")
	b.ReportAllocs()
	for b.Loop() {
		facts.StableSender(a)
	}
}
