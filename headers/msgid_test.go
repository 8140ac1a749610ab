package headers

import (
	"strings"
	"testing"
)

var messageIDTests = []struct{ name, value string }{
	{"ordinary", " <1234@local.machine.example>"},
	{"one label on the right", "<1234@localhost>"},
	{"all of atext", "<!#$%&'*+-/=?^_`{|}~@a>"},
	{"no-fold-literal", "<a@[192.0.2.1]>"},
	{"literal with odd octets", `<a@[x(;"@<>y]>`},
	{"comments around", "(a) <b@c> (d)"},
	{"8-bit comment around", "<b@c> (\xe9)"},
	{"folding before", "\n\t<b@c>"},
	{"file folding before", "\r\n <b@c>"},
	{"quoted left side", `<"a b\"c"@d>`},
	{"words and quoted strings", `<a."b".c@d>`},
	{"white space within", "< a . b @ c . d >"},
	{"comments within", "<(x)a(y)@(z)b(w)>"},
	{"space before a literal", "<a@ [b] >"},
	{"folded literal", "<a@[b\n c]>"},
	{"quoted pair in a literal", `<a@[b\]]>`},
	{"UTF-8", "<a@münchen.example>"},
	{"leading dot", "<.a@b>"},
	{"trailing dot", "<a.@b>"},
	{"double dot", "<a..b@c>"},
	{"dots on the right", "<a@.b..c.>"},
	{"everything at once", `<"a". b..@c.>`},
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
	{"space on the left", "<a b@c>", "octet 4: two words without a dot between them in the left side"},
	{"space on the right", "<a@b c>", "octet 6: two words without a dot between them in the right side"},
	{"quoted string on the right", `<a@"b">`, `octet 4: "\"" where the right side should be`},
	{"no end", "<a@b", "octet 5: the closing > is missing"},
	{"two closing brackets", "<a@b>>", `octet 6: ">" after the message id`},
	{"two opening brackets", "<<a@b>", `octet 2: "<" where the left side should be`},
	{"brackets on the right of an @", "<a@b[c]>", `octet 5: "[" where the closing > should be`},
	{"bracket in a literal", "<a@[b[c]>", `octet 6: "[" where the end of the domain literal should be`},
	{"literal without end", "<a@[b>", "octet 4: domain literal is not closed"},
	{"colon", "<a:b@c>", `octet 3: ":" where the @ should be`},
	{"square brackets around it", "<[a@b]>", `octet 2: "[" where the left side should be`},
	{"square bracket that is not opened", "<a@b]>", `octet 5: "]" where the closing > should be`},
	{"comma", "<a,b@c>", `octet 3: "," where the @ should be`},
	{"comma after it", "<a@b>,", `octet 6: "," after the message id`},
	{"suffix", "<a@b>-suffix", `octet 6: "-suffix" after the message id`},
	{"second id", "<a@b> <c@d>", "octet 7: second message id"},
	{"text before", "id <a@b>", `octet 1: "i" where the opening < should be`},
	{"Latin-1", "<\xe9@b>", "octet 2: 8-bit octets in the message id that are not UTF-8"},
	{"quoted string without end", `<"a@b>`, "octet 2: quoted string is not closed"},
	{"long suffix is cut", "<a@b> " + strings.Repeat("é", 30), `octet 7: "` + strings.Repeat(`\u00e9`, 12) + `..." after the message id`},
}

func TestCheckMessageID(t *testing.T) {
	t.Parallel()
	for _, tt := range messageIDTests {
		wantError(t, tt.value, CheckMessageID(tt.value), "")
	}
}

func TestCheckMessageIDLax(t *testing.T) {
	t.Parallel()
	for _, tt := range badMessageIDs {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := CheckMessageID(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); syntax != nil && !syntax.Lax {
				t.Errorf("%q is not lax", tt.value)
			}
		})
	}
}

func TestCheckMessageIDRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"control", "<a\x01@b>", `octet 3: control character "\x01" in the message id`},
		{"NUL", "<a@b\x00>", `octet 5: control character "\x00" in the message id`},
		{"DEL", "a\x7f", `octet 2: control character "\x7f" in the message id`},
		{"control in a literal", "<a@[\x01]>", `octet 5: control character "\x01" in the message id`},
		{"over 998 octets", " <" + strings.Repeat("a", 995) + "@b> ", "octet 1: the message id has 999 octets; at most 998 are allowed"},
		{"over 998 octets with another fault", strings.Repeat("a", 999), "octet 1: the message id has 999 octets; at most 998 are allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := CheckMessageID(tt.value)
			wantError(t, tt.value, err, tt.want)
			if syntax := checkError(t, tt.value, err); syntax != nil && syntax.Lax {
				t.Errorf("%q is lax", tt.value)
			}
		})
	}
	wantError(t, "998 octets", CheckMessageID("<"+strings.Repeat("a", 994)+"@b>"), "")
}

func FuzzCheckMessageID(f *testing.F) {
	for _, tt := range messageIDTests {
		f.Add(tt.value)
	}
	for _, tt := range badMessageIDs {
		f.Add(tt.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		err := checkError(t, value, CheckMessageID(value))
		if err != nil {
			return
		}
		if !strings.Contains(value, "<") || !strings.Contains(value, "@") || !strings.Contains(value, ">") {
			t.Errorf("%q passed", value)
		}
		around := CheckMessageID("(comment)\n " + value + " (\xe9)")
		if around != nil && len(value) < MaxLine/2 {
			t.Errorf("%q: white space and comments around it change the result to %v", value, around)
		}
	})
}
