package headers

import (
	"slices"
	"strings"
	"testing"
)

var mailboxTests = []struct {
	name  string
	value string
	want  []Mailbox
}{
	{"address", " jdoe@machine.example", []Mailbox{{"", "jdoe", "machine.example"}}},
	{"angle address", "<jdoe@machine.example>", []Mailbox{{"", "jdoe", "machine.example"}}},
	{"name and address", "John Doe <jdoe@machine.example>", []Mailbox{{"John Doe", "jdoe", "machine.example"}}},
	{"no space before the angle", "John<jdoe@machine.example>", []Mailbox{{"John", "jdoe", "machine.example"}}},
	{"quoted name", `"Doe, John" <jdoe@machine.example>`, []Mailbox{{"Doe, John", "jdoe", "machine.example"}}},
	{"quoted pairs", `"Joe \"Q\" \\ Public" <a@b>`, []Mailbox{{`Joe "Q" \ Public`, "a", "b"}}},
	{"words of both kinds", `Joe "Q. P." Doe <a@b>`, []Mailbox{{"Joe Q. P. Doe", "a", "b"}}},
	{"empty quoted name", `"" <a@b>`, []Mailbox{{"", "a", "b"}}},
	{"encoded word", "=?utf-8?q?J=C3=B6rg?= <a@b>", []Mailbox{{"=?utf-8?q?J=C3=B6rg?=", "a", "b"}}},
	{"dots in the name", "John Q. Public Jr. <a@b>", []Mailbox{{"John Q. Public Jr.", "a", "b"}}},
	{"many spaces in the name", "John  \n\t Doe <a@b>", []Mailbox{{"John Doe", "a", "b"}}},
	{"comment in the name", "John (the) Doe <a@b>", []Mailbox{{"John Doe", "a", "b"}}},
	{"comment after the address", "a@b (John Doe)", []Mailbox{{"", "a", "b"}}},
	{"comments everywhere", "(1)John(2)<(3)a(4)@(5)b(6).(7)c(8)>(9)", []Mailbox{{"John", "a", "b.c"}}},
	{"two mailboxes", "a@b, C <d@e>", []Mailbox{{"", "a", "b"}, {"C", "d", "e"}}},
	{"folded list", "a@b,\n\tc@d", []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"empty elements", ", ,a@b,(x),\n c@d,", []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"quoted local part", `"a \"b"@c`, []Mailbox{{"", `a "b`, "c"}}},
	{"folded quoted string", "\"a\n b\"@c", []Mailbox{{"", "a b", "c"}}},
	{"empty quoted local part", `""@c`, []Mailbox{{"", "", "c"}}},
	{"obsolete local part", `a . "b c" . d @ e . f`, []Mailbox{{"", "a.b c.d", "e.f"}}},
	{"address literal", "a@[192.0.2.1]", []Mailbox{{"", "a", "[192.0.2.1]"}}},
	{"folded literal", "a@ [ 192.0.2.1\n\t] ", []Mailbox{{"", "a", "[192.0.2.1]"}}},
	{"literal with quoted pairs and parentheses", `a@[ (\ \]"]`, []Mailbox{{"", "a", `[(\ \]"]`}}},
	{"route", "John <@a.example,@b.example:c@d>", []Mailbox{{"John", "c", "d"}}},
	{"route with gaps", "< , (x) @a , , @[1] : c@d>", []Mailbox{{"", "c", "d"}}},
	{"group", "A Group:Ed <joe@where.test>,a@b;", []Mailbox{{"Ed", "joe", "where.test"}, {"", "a", "b"}}},
	{"empty group", "Undisclosed recipients:;", nil},
	{"group of comments and commas", "X: , (y) ,; (z)", nil},
	{"group and mailboxes", "a@b, G: c@d; , e@f", []Mailbox{{"", "a", "b"}, {"", "c", "d"}, {"", "e", "f"}}},
	{"UTF-8", "<jörg@münchen.example> (Jörg)", []Mailbox{{"", "jörg", "münchen.example"}}},
	{"control in a quoted name", "\"\x01\" <a@b>", []Mailbox{{"\x01", "a", "b"}}},
	{"underscore in the domain", "a@b_c", []Mailbox{{"", "a", "b_c"}}},
}

// laxMailboxes have a fault, and an address or one word in its place.
var laxMailboxes = []struct {
	name, value, want string
	found             []Mailbox
}{
	{"word", "root", `octet 1: "root" is not an address, it has no @`, nil},
	{"word with dots", "mail.daemon (x)", `octet 1: "mail.daemon" is not an address, it has no @`, nil},
	{"quoted word", `"root"`, `octet 1: "\"root\"" is not an address, it has no @`, nil},
	{"word in the angle", "John <john>", "octet 11: no @ in the address", nil},
	{"word in the angle alone", "<MAILER-DAEMON>", "octet 15: no @ in the address", nil},
	{"word in the angle, address in the name", "a@b <root>", "octet 5: < after an address; a display name with @ in it must be quoted", []Mailbox{{"", "a", "b"}}},
	{"name after an address", "a@b, John Doe", `octet 6: "John Doe" is not an address, it has no @`, []Mailbox{{"", "a", "b"}}},
	{"comma in the name", "Doe, John <a@b>", `octet 1: "Doe" is not an address, it has no @`, []Mailbox{{"Doe, John", "a", "b"}}},
	{"colon in the name", "Re: John <a@b>", "octet 3: group has no ; at its end", []Mailbox{{"Re: John", "a", "b"}}},
	{"@ in the name", "c@d <a@b>", "octet 5: < after an address; a display name with @ in it must be quoted", []Mailbox{{"c@d", "a", "b"}}},
	{"no angles", "John Doe a@b", "octet 6: two words without a dot between them in the local part", []Mailbox{{"", "a", "b"}}},
	{"two addresses without comma", "a@b c@d", "octet 5: two words without a dot between them in the domain", []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"two angles", "<a@b> <c@d>", "octet 7: < after an address; a display name with @ in it must be quoted", []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"semicolon between", "a@b; c@d", `octet 4: "; c@d" after an address`, []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"text after", "<a@b> John", `octet 7: "John" after an address`, []Mailbox{{"", "a", "b"}}},
	{"no closing angle", "<a@b", "octet 5: the closing > is missing", []Mailbox{{"", "a", "b"}}},
	{"two opening angles", "John <<a@b>>", `octet 7: "<" where the @ should be`, []Mailbox{{"", "a", "b"}}},
	{"route and a name with a comma", "Doe, John <@x,@y:a@b>", `octet 1: "Doe" is not an address, it has no @`, []Mailbox{{"Doe, John", "a", "b"}}},
	{"leading dot", ".a@b", "octet 1: stray dot in the local part", []Mailbox{{"", ".a", "b"}}},
	{"trailing dot", "<a.@b>", "octet 3: stray dot in the local part", []Mailbox{{"", "a.", "b"}}},
	{"double dot", "a..b@c", "octet 3: stray dot in the local part", []Mailbox{{"", "a..b", "c"}}},
	{"dot after the domain", "<a@b.>", "octet 5: stray dot in the domain", []Mailbox{{"", "a", "b"}}},
	{"double dot in the domain", "Jane <a@b..c>", "octet 11: stray dot in the domain", []Mailbox{{"Jane", "a", "b.c"}}},
	{"dot before the domain", "a@.b.c", "octet 3: stray dot in the domain", []Mailbox{{"", "a", "b.c"}}},
	{"dots after the domain", "<a@b.c...>", "octet 8: stray dot in the domain", []Mailbox{{"", "a", "b.c"}}},
	{"name begins with a dot", ". a <b@c>", "octet 1: display name begins with a dot; it must be quoted", []Mailbox{{". a", "b", "c"}}},
	{"square brackets in the name", "[a] <b@c>", `octet 1: "[" where an address should be`, []Mailbox{{"[a]", "b", "c"}}},
	{"group without end", "G: a@b", "octet 2: group has no ; at its end", []Mailbox{{"", "a", "b"}}},
	{"group within a group", "G: H: a@b;;", "octet 5: group within a group", []Mailbox{{"", "a", "b"}}},
	{"group without a name", ": a@b;", `octet 1: ":" where an address should be`, []Mailbox{{"", "a", "b"}}},
	{"text in a group", "G: <a@b> c;", `octet 10: "c;" after an address`, []Mailbox{{"G:", "a", "b"}}},
	{"open quote", `"John <a@b>`, "octet 1: quoted string is not closed", []Mailbox{{"John", "a", "b"}}},
	{"quote after the name", `John" <a@b>`, "octet 5: quoted string is not closed", []Mailbox{{"John", "a", "b"}}},
	{"odd quotes around the angle", `John" <a@b> "`, `octet 1: "John\" <a@b> \"" is not an address, it has no @`, []Mailbox{{"John", "a", "b"}}},
	{"brackets in a quoted name", `"John <x@y>", Doe <a@b>`, `octet 1: "\"John <x@y>\"" is not an address, it has no @`, []Mailbox{{`John <x@y>", Doe`, "a", "b"}}},
	{"open comment", "John (x <a@b>", "octet 6: comment is not closed", []Mailbox{{"John (x", "a", "b"}}},
	{"a field that is encoded as a whole", "=?utf-8?q?Jane?= =?utf-8?q?_Doe_=3Cjane=40example.com=3E?=",
		`octet 1: "=?utf-8?q?Jane?= =?utf-8..." is not an address, it has no @`, nil},
	{"a field that is encoded twice", "=?utf-8?B?PT91dGYtOD9CP1NtRnVaUT09?= =?utf-8?B?Pz0gPGphbmVAeC5leGFtcGxlPg==?=",
		`octet 1: "=?utf-8?B?PT91dGYtOD9CP1..." is not an address, it has no @`, nil},
	{"UTF-8 name", "Jörg <a@b>", "octet 2: display name has octets over 127 that are not encoded", []Mailbox{{"Jörg", "a", "b"}}},
	{"Latin-1 name", "J\xf6rg <a@b>", "octet 2: display name has octets over 127 that are not encoded", []Mailbox{{"J\xf6rg", "a", "b"}}},
	{"8-bit specials", "“Jörg” [x] <a@b>", `octet 13: "[" where an address should be`, []Mailbox{{"“Jörg” [x]", "a", "b"}}},
	{"line break without folding", "a@b,\nc@d", "octet 5: line break without white space after it", []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"an address before a name with a comma", "c@d, Doe, J <a@b>", `octet 6: "Doe" is not an address, it has no @`, []Mailbox{{"", "c", "d"}, {"c@d, Doe, J", "a", "b"}}},
	{"an address before an open quote", `c@d, "x <a@b>`, "octet 6: quoted string is not closed", []Mailbox{{"", "c", "d"}, {`c@d, "x`, "a", "b"}}},
	{"an address before a semicolon", "c@d; <a@b>", `octet 4: "; <a@b>" after an address`, []Mailbox{{"", "c", "d"}, {"c@d", "a", "b"}}},
	{"an address after an open quote", `<a@b>, "x, c@d`, "octet 8: quoted string is not closed", []Mailbox{{"", "a", "b"}, {"", "c", "d"}}},
	{"an address in a quoted name with commas", `"x, c@d, y" [z] <a@b>`, `octet 13: "[" where an address should be`, []Mailbox{{"x, c@d, y\" [z]", "a", "b"}}},
	{"a space in an address beside another", "<c e@d> <a@b>", "octet 4: two words without a dot between them in the local part", []Mailbox{{"", "a", "b"}, {"", "ce", "d"}}},
	{"mailto", "Doe, <mailto:a@b> <c@d>", `octet 1: "Doe" is not an address, it has no @`, []Mailbox{{"", "c", "d"}}},
}

// badMailboxes have neither an address nor one word.
var badMailboxes = []struct{ name, value, want string }{
	{"empty", "", "octet 1: no address"},
	{"blank", " (x) ", "octet 6: no address"},
	{"only commas", ",,", "octet 3: no address"},
	{"free text", "John Doe", `octet 1: "John Doe" is not an address, it has no @`},
	{"quoted free text", `"John Doe"`, `octet 1: "\"John Doe\"" is not an address, it has no @`},
	{"encoded addresses with a malformed encoded-word between", "=?utf-8?q?x=40evil.example?= =?a? =?utf-8?q?=3Cceo=40bank.example=3E?=",
		`octet 1: "=?utf-8?q?x=40evil.examp..." is not an address, it has no @`},
	{"two words in the angle", "x <John Doe>", "octet 12: no @ in the address"},
	{"empty angle", "John <>", "octet 7: nothing between < and >"},
	{"empty angle alone", "<>", "octet 2: nothing between < and >"},
	{"empty angle, address in the name", "a@b <>", "octet 5: < after an address; a display name with @ in it must be quoted"},
	{"nothing before the @", "@b", "octet 1: nothing before the @"},
	{"nothing before the @ in the angle", "<@b>", `octet 4: ">" where the colon after the route should be`},
	{"nothing after the @", "a@", "octet 3: the domain is missing"},
	{"nothing after the @ in the angle", "<a@>", `octet 4: ">" where the domain should be`},
	{"two @", "a@b@c", `octet 4: "@c" after an address`},
	{"only dots in the domain", "<a@..>", "octet 4: stray dot in the domain"},
	{"space in the local part", "<a b@c>", "octet 4: two words without a dot between them in the local part"},
	{"open literal", "a@[b", "octet 3: domain literal is not closed"},
	{"NUL", "a\x00@b", `octet 2: "\x00" where an address should be`},
}

func TestParseMailboxList(t *testing.T) {
	t.Parallel()
	for _, tt := range mailboxTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseMailboxList(tt.value)
			if err != nil {
				t.Fatalf("%q: %v", tt.value, err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q:\n got %q\nwant %q", tt.value, got, tt.want)
			}
		})
	}
}

func TestParseMailboxListLax(t *testing.T) {
	t.Parallel()
	for _, tt := range laxMailboxes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseMailboxList(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); syntax == nil || !syntax.Lax || !slices.Equal(got, tt.found) {
				t.Errorf("%q: got %q, %+v, want %q", tt.value, got, syntax, tt.found)
			}
		})
	}
}

func TestParseMailboxListRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range badMailboxes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseMailboxList(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); got != nil || syntax == nil || syntax.Lax {
				t.Errorf("%q: lax or with a result", tt.value)
			}
		})
	}
}

// quoted writes any text as a quoted-string.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if strings.IndexByte("\"\\\r\n\x00", s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func FuzzParseMailboxList(f *testing.F) {
	for _, tt := range mailboxTests {
		f.Add(tt.value)
	}
	for _, tt := range badMailboxes {
		f.Add(tt.value)
	}
	for _, tt := range laxMailboxes {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		list, err := ParseMailboxList(value)
		syntax := checkError(t, value, err)
		if syntax != nil && !syntax.Lax && list != nil {
			t.Errorf("%q: a fault that is not lax, with a result", value)
		}
		var again []string
		for _, m := range list {
			if m.Domain == "" || m.Domain[0] != '[' && slices.Contains(strings.Split(m.Domain, "."), "") {
				t.Errorf("%q: domain %q", value, m.Domain)
			}
			again = append(again, quoted(m.Name)+" <"+quoted(m.Local)+"@"+m.Domain+">")
		}
		if list == nil {
			return
		}
		line := strings.Join(again, ",")
		if syntax != nil {
			return
		}
		if got, err := ParseMailboxList(line); err != nil || !slices.Equal(got, list) {
			t.Errorf("%q: %q parses as %q, %v", value, line, got, err)
		}
	})
}

// TestRoutedDomains tests fields that Sendmail 8.17 rewrites, and fields that it leaves as they are.
func TestRoutedDomains(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		" al%bank.example":                        "bank.example",
		"Al <al%bank.example>":                    "bank.example",
		"al % bank(c) . example":                  "bank.example",
		`"al"%"bank.example"`:                     "bank.example",
		`\al%bank\.example.`:                      "bank.example.",
		"al%x.example%bank.example":               "bank.example",
		"bank.example!al":                         "bank.example",
		"Al <bank.example ! al":                   "bank.example",
		"bank.example!al%x.example":               "bank.example x.example",
		"G: al%bank.example;":                     "bank.example",
		"<@x.example:al%bank.example>":            "bank.example",
		"x@x.example, al%bank.example":            "bank.example",
		"al%bank.example, X <x@x.example>":        "bank.example",
		"Al <al%bank.example>, X <x@x.example>":   "bank.example",
		`"open al%bank.example`:                   "bank.example",
		"al%bank.example@x.example":               "",
		"bank.example!al@x.example":               "",
		"50%bank.example! <x@x.example>":          "",
		`"al%bank.example"`:                       "",
		`"al%bank.example, b!c", X <x@x.example>`: "",
		"(al%bank.example) root":                  "",
		"bank.example!":                           "",
		"":                                        "",
	} {
		if got := strings.Join(RoutedDomains(value), " "); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}
