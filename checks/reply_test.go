package checks_test

import (
	"context"
	"strings"
	"testing"

	"milterd/checks"
)

func TestTemporary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, out checks.Reply }{
		{checks.Reply{Code: 550, Enhanced: "5.7.25"}, checks.Reply{Code: 450, Enhanced: "4.7.25"}},
		{checks.Reply{Code: 501, Enhanced: "5.5.2"}, checks.Reply{Code: 451, Enhanced: "4.5.2"}},
		{checks.Reply{Code: 553, Enhanced: "5.1.7"}, checks.Reply{Code: 451, Enhanced: "4.1.7"}},
		{checks.Reply{Code: 451, Enhanced: "4.7.24"}, checks.Reply{Code: 451, Enhanced: "4.7.24"}},
	} {
		if got := c.in.Temporary(); got != c.out {
			t.Errorf("%v: got %v, want %v", c.in, got, c.out)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, out string }{
		{"plain", "mail.example.org", "mail.example.org"},
		{"line ends become one space", "a\r\n550 5.7.1 b", "a 550 5.7.1 b"},
		{"no space at the edges", " \t a \n", "a"},
		{"control characters and 8 bit", "a\x00b\x1b[31m\xff", "a?b?[31m?"},
		{"percent stays: the milter doubles it", "100%d", "100%d"},
		{"too long", strings.Repeat("x", 50), strings.Repeat("x", 37) + "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := checks.Clean(c.in, 40); got != c.out {
				t.Errorf("got %q, want %q", got, c.out)
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	r := checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "short"}
	if got := r.Lines(); len(got) != 1 || got[0] != "550 5.7.1 short" {
		t.Errorf("got %q", got)
	}
	r.Text = strings.Repeat("word ", 100)
	got := r.Lines()
	if len(got) < 2 || !strings.HasPrefix(got[0], "550-5.7.1 word") || !strings.HasPrefix(got[len(got)-1], "550 5.7.1 ") {
		t.Errorf("got %q", got)
	}
	if all := strings.Count(strings.Join(got, " "), "word"); all != 100 {
		t.Errorf("%d words of 100 left", all)
	}
}

// checkLines fails the test unless an MTA accepts the lines as a reply.
func checkLines(t *testing.T, r checks.Reply) {
	t.Helper()
	lines := r.Lines()
	if len(lines) == 0 || len(lines) > 6 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if len(l)+len("\r\n")+262 > 512 {
			t.Errorf("line of %d bytes: %q", len(l), l)
		}
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		if !strings.HasPrefix(l, "550"+sep+"5.7.1 ") {
			t.Errorf("line %q has no codes", l)
		}
		for _, c := range []byte(l) {
			if c < ' ' || c > '~' {
				t.Errorf("byte %#x in %q", c, l)
			}
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("{client} {helo}", "a\r\n250 ok", "%s%n")
	f.Add("{helo", "{client}", strings.Repeat("é", 300))
	f.Add(strings.Repeat("x", 3000), "", "")
	f.Fuzz(func(t *testing.T, text, helo, detail string) {
		r := &checks.Reason{ID: "r", Reply: checks.Reply{Code: 550, Enhanced: "5.7.1", Text: text}}
		one := newFake("one", atConnect, r)
		one.say = func(context.Context, *checks.Request) ([]checks.Verdict, error) {
			return []checks.Verdict{{Reason: r, Detail: map[string]string{"detail": detail}}}, nil
		}
		talk := begin(pipeline(t, nil, nil, one), "192.0.2.9")
		talk.helo(helo)
		talk.mail(detail)
		d := talk.rcpt("u@example.org")
		if d.Reply == nil {
			t.Fatal("not refused")
		}
		checkLines(t, *d.Reply)
	})
}

func BenchmarkLines(b *testing.B) {
	r := checks.Reply{
		Code: 550, Enhanced: "5.7.25", Text: "192.0.2.9 has no reverse DNS name",
		Link: "https://mx.example.org/why/rdns-missing?r=" + strings.Repeat("x", 48),
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(r.Lines()) != 2 {
			b.Fatal(r.Lines())
		}
	}
}

// TestTextParts tests how the text of a reply is split at its placeholders.
func TestTextParts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "|",
		"no value":                   "no value|",
		"HELO {helo} is {what}":      "HELO |helo, is |what,|",
		"{client}{helo}, not closed": "|client,|helo,, not closed|",
		"{client} not {closed":       "|client, not {closed|",
	} {
		var parts []string
		for literal, name := range checks.TextParts(text) {
			parts = append(parts, literal+"|"+name)
		}
		if got := strings.Join(parts, ","); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestALinkHasTheLastLineForItself(t *testing.T) {
	t.Parallel()
	const link = "https://mx.example.org/why/rdns-missing?r=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
	for _, c := range []struct {
		name, text, link string
		lines            int
		last             string
	}{
		{"short", "192.0.2.9 has no reverse DNS name", link, 2, link},
		{"long", strings.Repeat("word ", 100), link, 4, link},
		{"far too long", strings.Repeat("word ", 1000), link, 6, link},
		{"one long word", strings.Repeat("x", 2000), link, 6, link},
		{"no link", "192.0.2.9 has no reverse DNS name", "", 1, "192.0.2.9 has no reverse DNS name"},
		{"too long a link", "no", "https://" + strings.Repeat("x", 300), 1, "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := checks.Reply{Code: 550, Enhanced: "5.7.1", Text: c.text, Link: c.link}
			checkLines(t, r)
			lines := r.Lines()
			if len(lines) != c.lines || lines[len(lines)-1] != "550 5.7.1 "+c.last {
				t.Errorf("got %q", lines)
			}
			if c.last == c.link && c.name == "short" && lines[0] != "550-5.7.1 "+c.text+";" {
				t.Errorf("got %q", lines)
			}
		})
	}
	r := checks.Reply{Code: 550, Enhanced: "5.7.1", Text: "no", Link: link}
	if got := r.String(); got != "550 5.7.1 no; "+link {
		t.Error(got)
	}
	if got := r.Temporary(); got.Link != link {
		t.Errorf("%+v", got)
	}
}
