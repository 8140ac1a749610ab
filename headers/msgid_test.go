package headers

import (
	"strings"
	"testing"
)

var messageIDTests = []struct{ name, value, left, right, flags string }{
	{"ordinary", " <1234@local.machine.example>", "1234", "local.machine.example", ""},
	{"one label on the right", "<1234@localhost>", "1234", "localhost", ""},
	{"all of atext", "<!#$%&'*+-/=?^_`{|}~@a>", "!#$%&'*+-/=?^_`{|}~", "a", ""},
	{"no-fold-literal", "<a@[192.0.2.1]>", "a", "[192.0.2.1]", ""},
	{"literal with odd octets", `<a@[x(;"@<>y]>`, "a", `[x(;"@<>y]`, ""},
	{"comments around", "(a) <b@c> (d)", "b", "c", ""},
	{"8-bit comment around", "<b@c> (\xe9)", "b", "c", ""},
	{"folding before", "\n\t<b@c>", "b", "c", ""},
	{"file folding before", "\r\n <b@c>", "b", "c", ""},
	{"quoted left side", `<"a b\"c"@d>`, `"a b\"c"`, "d", "o"},
	{"words and quoted strings", `<a."b".c@d>`, `a."b".c`, "d", "o"},
	{"white space within", "< a . b @ c . d >", "a . b", "c . d", "o"},
	{"comments within", "<(x)a(y)@(z)b(w)>", "a", "b", "o"},
	{"space before a literal", "<a@ [b] >", "a", "[b]", "o"},
	{"folded literal", "<a@[b\n c]>", "a", "[b\n c]", "o"},
	{"quoted pair in a literal", `<a@[b\]]>`, "a", `[b\]]`, "o"},
	{"control in a literal", "<a@[\x01]>", "a", "[\x01]", "o"},
	{"leading dot", "<.a@b>", ".a", "b", "d"},
	{"trailing dot", "<a.@b>", "a.", "b", "d"},
	{"double dot", "<a..b@c>", "a..b", "c", "d"},
	{"dots on the right", "<a@.b..c.>", "a", ".b..c.", "d"},
	{"everything at once", `<"a". b..@c.>`, `"a". b..`, "c.", "od"},
}

var badMessageIDs = []struct{ name, value, want string }{
	{"empty", "", "octet 1: the message id is empty"},
	{"blank", " (x)", "octet 5: the message id is empty"},
	{"no brackets", "a@b", `octet 1: "a" where the opening < should be`},
	{"empty brackets", "<>", "octet 2: no @ in the message id"},
	{"no @", "<a>", "octet 3: no @ in the message id"},
	{"nothing on the left", "<@b>", "octet 2: nothing before the @"},
	{"only dots on the left", "<..@b>", "octet 4: nothing before the @"},
	{"nothing on the right", "<a@>", "octet 4: nothing after the @"},
	{"only dots on the right", "<a@.>", "octet 5: nothing after the @"},
	{"two @", "<a@b@c>", "octet 5: second @ in the message id"},
	{"two @ and a space", "<a@b @c>", "octet 6: second @ in the message id"},
	{"space on the left", "<a b@c>", "octet 4: two words without a dot between in the left side"},
	{"space on the right", "<a@b c>", "octet 6: two words without a dot between in the right side"},
	{"quoted string on the right", `<a@"b">`, `octet 4: "\"" where the right side should be`},
	{"control", "<a\x01@b>", `octet 3: "\x01" where the @ should be`},
	{"no end", "<a@b", "octet 5: the closing > is missing"},
	{"two closing brackets", "<a@b>>", `octet 6: ">" after the message id`},
	{"two opening brackets", "<<a@b>", `octet 2: "<" where the left side should be`},
	{"brackets on the right of an @", "<a@b[c]>", `octet 5: "[" where the closing > should be`},
	{"bracket in a literal", "<a@[b[c]>", `octet 6: "[" where the end of the domain literal should be`},
	{"literal without end", "<a@[b>", "octet 4: domain literal is not closed"},
	{"colon", "<a:b@c>", `octet 3: ":" where the @ should be`},
	{"square bracket that is not closed", "<[a@b>", `octet 6: ">" where the closing ] should be`},
	{"square bracket that is not opened", "<a@b]>", `octet 5: "]" where the closing > should be`},
	{"square brackets with nothing in them", "<[]>", `octet 3: "]" where the left side should be`},
	{"square brackets about a part", "<[a]@b>", `octet 4: "]" where the @ should be`},
	{"suffix", "<a@b>-suffix", `octet 6: "-suffix" after the message id`},
	{"second id", "<a@b> <c@d>", "octet 7: second message id"},
	{"text before", "id <a@b>", `octet 1: "i" where the opening < should be`},
	{"Latin-1", "<\xe9@b>", "octet 2: 8-bit octets in the message id that are not UTF-8"},
	{"NUL", "<a@b\x00>", `octet 5: "\x00" where the closing > should be`},
	{"quoted string without end", `<"a@b>`, "octet 2: quoted string is not closed"},
	{"long suffix is cut", "<a@b> " + strings.Repeat("é", 30), `octet 7: "` + strings.Repeat(`\u00e9`, 12) + `..." after the message id`},
}

func TestParseMessageID(t *testing.T) {
	t.Parallel()
	for _, tt := range messageIDTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, err := ParseMessageID(tt.value)
			if err != nil {
				t.Fatalf("%q: %v", tt.value, err)
			}
			want := MessageID{tt.left, tt.right, strings.Contains(tt.flags, "o"), strings.Contains(tt.flags, "d")}
			if id != want {
				t.Errorf("%q:\n got %+v\nwant %+v", tt.value, id, want)
			}
		})
	}
}

func TestParseMessageIDRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range badMessageIDs {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, err := ParseMessageID(tt.value)
			wantError(t, tt.value, err, tt.want)
			if id != (MessageID{}) {
				t.Errorf("%q: result with an error", tt.value)
			}
		})
	}
}

func TestParseMessageIDWithUTF8IsLax(t *testing.T) {
	t.Parallel()
	const value = "<a@münchen.example>"
	id, err := ParseMessageID(value)
	wantError(t, value, err, `octet 5: "\u00fc" in the message id is not ASCII`)
	if syntax := checkError(t, value, err); !syntax.Lax || id.Left != "a" || id.Right != "münchen.example" {
		t.Errorf("got %+v, lax %v", id, syntax.Lax)
	}
}

func TestParseMessageIDInSquareBracketsIsLax(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"<[83c4=@microsoft.example]>", "<[83c4=@[192.0.2.1]]>"} {
		id, err := ParseMessageID(value)
		wantError(t, value, err, "octet 2: square brackets around the message id")
		if syntax := checkError(t, value, err); !syntax.Lax || "<["+id.Left+"@"+id.Right+"]>" != value {
			t.Errorf("got %+v, lax %v", id, syntax.Lax)
		}
	}
}

func FuzzParseMessageID(f *testing.F) {
	for _, tt := range messageIDTests {
		f.Add(tt.value)
	}
	for _, tt := range badMessageIDs {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		id, err := ParseMessageID(value)
		if err := checkError(t, value, err); err != nil && !err.Lax {
			if id != (MessageID{}) {
				t.Errorf("%q: result with an error", value)
			}
			return
		}
		if id.Left == "" || id.Right == "" || !strings.Contains(value, id.Left) || !strings.Contains(value, id.Right) {
			t.Fatalf("%q: got %+v", value, id)
		}
		plain := "<" + id.Left + "@" + id.Right + ">"
		again, errAgain := ParseMessageID(plain)
		// A comment may have been all that was not ASCII.
		if err == nil && errAgain != nil || again.Left != id.Left || again.Right != id.Right || again.Dots != id.Dots {
			t.Errorf("%q: %q gives %+v, %v", value, plain, again, errAgain)
		}
		if again.Obsolete && !id.Obsolete {
			t.Errorf("%q: obsolete only without its surroundings", value)
		}
		if err == nil && index8bit(plain) >= 0 {
			t.Errorf("%q passed with 8-bit octets", value)
		}
		if !id.Obsolete && strings.ContainsAny(plain, "\r\n\t \x00\x7f") {
			t.Errorf("%q passed with control or space", value)
		}
	})
}
