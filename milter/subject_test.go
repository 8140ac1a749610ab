package milter

import (
	"mime"
	"strings"
	"testing"
)

// TestMarkedSubject shows the value of a Subject field with a prefix. The values have no leading space.
func TestMarkedSubject(t *testing.T) {
	t.Parallel()
	const word = "=?utf-8?q?caf=C3=A9?="
	long := strings.Repeat("x", 60)
	for _, c := range []struct{ name, prefix, value, want string }{
		{"plain", "[suspicious] ", " Hello", "[suspicious] Hello"},
		{"without leading space", "[suspicious] ", "Hello", "[suspicious] Hello"},
		{"a prefix without a space", "SPAM:", " Hello", "SPAM:Hello"},
		{"empty", "[suspicious] ", "", "[suspicious]"},
		{"white space", "[suspicious] ", "  ", "[suspicious]"},
		{"has the prefix", "[suspicious] ", " [suspicious] Hello", ""},
		{"has the prefix alone", "[suspicious] ", " [suspicious]", ""},
		{"has the prefix in an encoded-word", "[suspicious] ", " =?utf-8?q?[suspicious]_caf=C3=A9?=", ""},
		{"has the prefix in an unknown charset", "[suspicious] ", " =?x-unknown?b?W3N1c3BpY2lvdXNdIGE=?=", ""},
		{"has the prefix in a fold", "[suspicious] ", "\n [suspicious] Hello", ""},
		{"has the prefix in the middle", "[suspicious] ", " Re: [suspicious] Hello", "[suspicious] Re: [suspicious] Hello"},
		{"an encoded-word", "[suspicious] ", " " + word, "[suspicious] " + word},
		{"an encoded-word after a prefix without a space", "SPAM:", " " + word, "SPAM: " + word},
		{"a prefix that is encoded", "[verdächtig] ", " Hello", "=?utf-8?q?[verd=C3=A4chtig]?= Hello"},
		{"a prefix that is encoded, and an encoded-word", "[verdächtig] ", " " + word, "=?utf-8?q?[verd=C3=A4chtig]_?= " + word},
		{"has an encoded prefix", "[verdächtig] ", " =?utf-8?q?[verd=C3=A4chtig]?= Hello", ""},
		{"folded", "[suspicious] ", " a\n\tb", "[suspicious] a\n\tb"},
		{"folded at once", "[suspicious] ", "\n\tb", "[suspicious]\n\tb"},
		{"folded at once with CRLF", "[suspicious] ", "\r\n\tb", "[suspicious]\r\n\tb"},
		{"a long line", "[suspicious] ", " " + long, "[suspicious]\n " + long},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := markedSubject(c.prefix, c.value); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want != "" && markedSubject(c.prefix, " "+c.want) != "" {
				t.Error("the prefix is put twice")
			}
		})
	}
}

func TestLongEncodedPrefix(t *testing.T) {
	t.Parallel()
	got := markedSubject(strings.Repeat("ä", 30)+" ", " Hello")
	for line := range strings.SplitSeq(subjectField+": "+got, "\n") {
		if len(line) > maxEncodedLine+len(subjectField)+2 {
			t.Errorf("%d bytes: %q", len(line), line)
		}
	}
	if decoded, err := new(mime.WordDecoder).DecodeHeader(strings.ReplaceAll(got, "\n", "")); err != nil || decoded != strings.Repeat("ä", 30)+" Hello" {
		t.Errorf("%q, %v", decoded, err)
	}
}

// FuzzMarkedSubject shows that the value stays whole, and that each line after the first begins with white space.
func FuzzMarkedSubject(f *testing.F) {
	f.Add("[suspicious] ", " =?utf-8?q?a?=\n\tb")
	f.Add("[ä] ", "\r\n =?")
	f.Fuzz(func(t *testing.T, prefix, value string) {
		if strings.TrimSpace(prefix) == "" || strings.ContainsAny(prefix, "\r\n") {
			return
		}
		got := markedSubject(prefix, value)
		if got != "" && !strings.HasSuffix(got, strings.TrimLeft(value, " \t")) {
			t.Errorf("%q: lost the end of %q", got, value)
		}
		for i := range len(got) - 1 {
			if got[i] == '\n' && !strings.Contains(value, got[i:i+2]) && got[i+1] != ' ' && got[i+1] != '\t' {
				t.Errorf("%q: a new line at %d", got, i)
			}
		}
	})
}
