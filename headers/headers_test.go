package headers

import (
	"errors"
	"strings"
	"testing"
)

// checkError fails the test unless err is nil or a *SyntaxError that keeps its promises about input.
func checkError(t *testing.T, input string, err error) *SyntaxError {
	t.Helper()
	if err == nil {
		return nil
	}
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax == nil {
		t.Fatalf("%q: error is a %T", input, err)
	}
	if syntax.Pos < 0 || syntax.Pos > len(input) {
		t.Errorf("%q: position %d is outside of %d octets", input, syntax.Pos, len(input))
	}
	if syntax.Cause == "" || len(syntax.Cause) > 160 {
		t.Errorf("%q: cause of %d octets", input, len(syntax.Cause))
	}
	for _, c := range []byte(syntax.Error()) {
		if c < ' ' || c > '~' {
			t.Fatalf("%q: error %q is not printable US-ASCII", input, syntax.Error())
		}
	}
	return syntax
}

// wantError fails the test unless err reads as want; an empty want is for no error.
func wantError(t *testing.T, input string, err error, want string) {
	t.Helper()
	checkError(t, input, err)
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%q:\n got %q\nwant %q", input, got, want)
	}
}

func TestCheckField(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		field Field
		want  string
	}{
		{"ordinary field", Field{"Subject", " hello"}, ""},
		{"empty value", Field{"Subject", ""}, ""},
		{"milter folding", Field{"Subject", " a\n\tb"}, ""},
		{"file folding", Field{"Subject", " a\r\n b"}, ""},
		{"all printable octets", Field{"!#$%&'*+-./09;<=>?@AZ[\\]^_`az{|}~", ""}, ""},
		{"white space before the colon", Field{"Subject \t", " a"}, ""},
		{"8-bit value", Field{"Subject", " M\xfcnchen"}, ""},
		{"empty name", Field{"", " a"}, "octet 1: field name is empty"},
		{"blank name", Field{" ", " a"}, "octet 1: field name is empty"},
		{"space in the name", Field{"Sub ject", " a"}, `octet 4: " " is not allowed in a field name`},
		{"space before the name", Field{" Subject", " a"}, `octet 1: " " is not allowed in a field name`},
		{"colon in the name", Field{"Sub:ject", ""}, `octet 4: ":" is not allowed in a field name`},
		{"8-bit name", Field{"Ämne", " a"}, `octet 1: "\u00c4" is not allowed in a field name`},
		{"control in the name", Field{"A\x7f", " a"}, `octet 2: "\x7f" is not allowed in a field name`},
		{"NUL in the name", Field{"A\x00", " a"}, `octet 2: "\x00" is not allowed in a field name`},
		{"NUL in the value", Field{"A", " \x00"}, `octet 4: NUL in the field "A"`},
		{"bare CR", Field{"A", " a\rb"}, `octet 5: CR without LF in the field "A"`},
		{"bare CR at the end", Field{"A", " a\r"}, `octet 5: CR without LF in the field "A"`},
		{"two CR before LF", Field{"A", "\r\r\n b"}, `octet 3: CR without LF in the field "A"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, tt.field.Name+":"+tt.field.Value, CheckField(tt.field), tt.want)
		})
	}
}

func TestFieldIs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"From", "FROM", "from", "From ", "From\t "} {
		if !(Field{Name: name}).Is("From") {
			t.Errorf("%q is not From", name)
		}
	}
	for _, name := range []string{"", "Fro", "From2", " From"} {
		if (Field{Name: name}).Is("From") {
			t.Errorf("%q is From", name)
		}
	}
}

func TestLongestLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		field Field
		want  int
	}{
		{"zero field is a colon", Field{}, 1},
		{"one line", Field{"Subject", " hi"}, 11},
		{"first of two lines", Field{"Subject", " hi\n\tyou"}, 11},
		{"second of two lines", Field{"A", " hi\n\tmy friend"}, 10},
		{"CR is no part of a line", Field{"A", " hi\r\n\tmy friend\r\n x"}, 10},
		{"line end at the end", Field{"A", " hi\n"}, 5},
		{"just right", Field{"A", strings.Repeat("x", 996)}, MaxLine},
		{"one too long", Field{"A", strings.Repeat("x", 997)}, MaxLine + 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := LongestLine(tt.field); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestHas8bit(t *testing.T) {
	t.Parallel()
	if Has8bit(Field{"Subject", " plain \x7f"}) {
		t.Error("US-ASCII has 8-bit octets")
	}
	if !Has8bit(Field{"Subject", " \x80"}) || !Has8bit(Field{"\xff", ""}) {
		t.Error("8-bit octet not seen")
	}
}

func FuzzCheckField(f *testing.F) {
	f.Add("Subject", " hello\n\tyou")
	f.Add("Sub ject", " a\r")
	f.Add("", "\x00\xff\r\n ")
	f.Fuzz(func(t *testing.T, name, value string) {
		field := Field{name, value}
		line := name + ":" + value
		err := checkError(t, line, CheckField(field))
		if err == nil && strings.ContainsAny(line, "\x00") {
			t.Errorf("%q passed with a NUL", line)
		}
		if err == nil && strings.Contains(strings.ReplaceAll(line, "\r\n", ""), "\r") {
			t.Errorf("%q passed with a bare CR", line)
		}
		if n := LongestLine(field); n > len(line) || strings.Count(line, "\n") == 0 && !strings.HasSuffix(line, "\r") && n != len(line) {
			t.Errorf("%q: longest line of %d octets", line, n)
		}
		if _, after, folded := strings.Cut(value, "\n"); folded && LongestLine(field) < LongestLine(Field{"", after})-1 {
			t.Errorf("%q: rest is longer than the whole", line)
		}
	})
}

func TestCommentEnd(t *testing.T) {
	t.Parallel()
	for text, rest := range map[string]string{
		"(a) b":     " b",
		"(a(b)c)d)": "d)",
		`(a\)b) c`:  " c",
		`(a\\) b`:   " b",
		"()":        "",
		"(a(b)":     "",
		`(a\`:       "",
		"(":         "",
		"":          "",
	} {
		if got := text[CommentEnd(text):]; got != rest {
			t.Errorf("%q: got the rest %q, want %q", text, got, rest)
		}
	}
}
