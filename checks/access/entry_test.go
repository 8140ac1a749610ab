package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	const form = " is not a network, address, host name, .domain, user@, user@domain, @domain or @.domain"
	const follow = `: only until=2027-01-31 and why="..." may follow an entry`
	for _, c := range []struct{ line, want string }{
		{"192.0.2.0/33", `"192.0.2.0/33" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
		{"192.0.2/24", `"192.0.2/24" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
		{"fe80::%eth0/64", `"fe80::%eth0/64" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
		{"192.0.2.300", `"192.0.2.300"` + form},
		{"192.0.2.", `"192.0.2."` + form},
		{"2001:db8::g", `"2001:db8::g"` + form},
		{"fe80::1%eth0", `"fe80::1%eth0"` + form},
		{"exa mple.net", `"mple.net"` + follow},
		{"-bad-.example.net", `"-bad-.example.net"` + form},
		{"example..net", `"example..net"` + form},
		{"..example.net", `"..example.net"` + form},
		{".", `"."` + form},
		{"@", `"@"` + form},
		{"@@example.net", `"@@example.net"` + form},
		{"user@@example.net", `"user@@example.net"` + form},
		{"us er@example.net", `"er@example.net"` + follow},
		{"<user@example.net>", `"<user@example.net>"` + form},
		{"user@[192.0.2.1]", `"user@[192.0.2.1]"` + form},
		{"user@.example.net", `"user@.example.net"` + form},
		{"*.example.net", `"*.example.net": wildcards are not supported; .example.net matches the domain and all names below it`},
		{"*@example.net", `"*@example.net": wildcards are not supported; .example.net matches the domain and all names below it`},
		{"example.net until=tomorrow", `"until=tomorrow": want one date, such as until=2027-01-31`},
		{"example.net until=2027-02-30", `"until=2027-02-30": want one date, such as until=2027-01-31`},
		{"example.net until=2027-01-31 until=2027-01-31", `"until=2027-01-31": want one date, such as until=2027-01-31`},
		{`example.net why=""`, `"why=\"\"": want one text, such as why="sends to spam traps"`},
		{`example.net why=a why=b`, `"why=b": want one text, such as why="sends to spam traps"`},
		{`example.net why="no end`, `a " has no closing "`},
		{`example.net spam`, `"spam"` + follow},
		{`example.net Until=2027-01-31`, `"Until=2027-01-31"` + follow},
		{"news@#comment", `"news@#comment"` + form},
		{"192.0.2.1,192.0.2.2", `"192.0.2.1,192.0.2.2"` + form},
		{"\x00\x1b[31m", `"??[31m"` + form},
		{strings.Repeat("a", 2001), "the line has 2001 bytes; at most 2000 are allowed"},
		{strings.Repeat("a", 100), `"` + strings.Repeat("a", 57) + `..."` + form},
	} {
		if _, faults := parse("list.txt", "# head\n"+c.line+"\n192.0.2.1\n", false); len(faults) != 1 || faults[0].Error() != "list.txt:2: "+c.want {
			t.Errorf("%s: got %v, want %s", c.line, faults, c.want)
		}
	}
}

// TestTooWideForAllow tests that entries which would exempt everybody are faults in an allow list.
func TestTooWideForAllow(t *testing.T) {
	t.Parallel()
	const suffix = " is a public suffix; in an allow list it exempts everybody with a domain below it"
	for line, want := range map[string]string{
		"user@":            "user@ in an allow list exempts everybody who uses that local part; want user@domain",
		".com":             ".com" + suffix,
		".co.uk":           ".co.uk" + suffix,
		"@.com":            "@.com" + suffix,
		"gateway":          "", // a resolver may know hosts of the own network by such names
		"@example.com":     "",
		"@.example.com":    "",
		".example.co.uk":   "",
		"user@example.com": "",
		"192.0.2.0/24":     "",
	} {
		if _, faults := parse("deny.txt", line, false); len(faults) > 0 {
			t.Errorf("deny: %v", faults)
		}
		_, faults := parse("allow.txt", line, true)
		switch {
		case want == "" && len(faults) > 0:
			t.Error(faults)
		case want != "" && (len(faults) != 1 || faults[0].Error() != "allow.txt:1: "+want):
			t.Errorf("%s: got %v, want %s", line, faults, want)
		}
	}
}

func TestParseLine(t *testing.T) {
	t.Parallel()
	day := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		line, entry, why string
		until            time.Time
	}{
		{line: "192.0.2.7", entry: "192.0.2.7"},
		{line: "  192.0.2.7\t\r", entry: "192.0.2.7"},
		{line: "\ufeff192.0.2.7", entry: "192.0.2.7"},
		{line: "192.0.2.7/24 # the office", entry: "192.0.2.0/24"},
		{line: "2001:DB8::1/32", entry: "2001:db8::/32"},
		{line: "2001:db8::1", entry: "2001:db8::1"},
		{line: "::ffff:192.0.2.0/120", entry: "192.0.2.0/24"},
		{line: "Example.NET.", entry: "example.net"},
		{line: ".bücher.example", entry: ".xn--bcher-kva.example"},
		{line: "my_host.example.net", entry: "my_host.example.net"},
		{line: "us#er@example.net", entry: "us#er@example.net"},
		{line: "a/b@example.net", entry: "a/b@example.net"},
		{line: "news@ # a comment", entry: "news@"},
		{line: "a.example until=2027-01-31", entry: "a.example", until: day},
		{line: `a.example why=spam until=2027-01-31`, entry: "a.example", why: "spam", until: day},
		{line: `a.example until=2027-01-31 why="it says \"buy\" \\ # often" # seen`, entry: "a.example", why: `it says "buy" \ # often`, until: day},
		{line: ""},
		{line: "  # a comment"},
		{line: "#192.0.2.7"},
		{line: "\r"},
	} {
		e, ok, err := parseLine(c.line, false)
		if err != nil || ok != (c.entry != "") || ok && e.String() != c.entry || e.why != c.why || !e.until.Equal(c.until) {
			t.Errorf("%q: got %v %q %s, %v, %v", c.line, e, e.why, e.until, ok, err)
		}
	}
}

// FuzzParse tests that each line is an entry, a fault or empty, whatever the other lines are, and that lookups find each entry.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"192.0.2.7", "192.0.2.0/24 # x", "::ffff:192.0.2.0/120", "2001:db8::/32 until=2027-01-31", "example.net", ".example.net why=\"a b\"",
		"user@example.net", "user@", "@example.net", "@.example.net", "\"a b\"@example.net", "example.net why=\"", "\x00", "\ufeff#", "a\r\nb\n\n#c",
	} {
		f.Add(line)
	}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		for _, allow := range []bool{false, true} {
			l, faults := parse("f", text, allow)
			good, bad, n := 0, 0, 0
			for line := range strings.Lines(text) {
				n++
				e, ok, err := parseLine(strings.TrimSuffix(line, "\n"), allow)
				switch {
				case err != nil && ok:
					t.Fatalf("%q is both an entry and a fault", line)
				case err != nil:
					if bad >= len(faults) || faults[bad].line != n || faults[bad].err.Error() != err.Error() {
						t.Fatalf("%q is a fault of line %d, got %v", line, n, faults)
					}
					bad++
				case ok:
					good++
					checkFound(t, l, e, now)
				}
			}
			if good != l.entries || bad != len(faults) {
				t.Fatalf("%d entries and %d faults, got %d and %d", good, bad, l.entries, len(faults))
			}
		}
	})
}

// checkFound fails the test if e is in force and a lookup does not find it, or if it is not in its canonical form.
func checkFound(t *testing.T, l *list, e entry, now time.Time) {
	t.Helper()
	ok := false
	if e.prefix.IsValid() {
		if e.prefix != e.prefix.Masked() || e.prefix.Addr().Is4In6() {
			t.Fatalf("%s is not in its canonical form", e.prefix)
		}
		_, ok = l.addr(e.prefix.Addr(), now)
	} else {
		_, ok = l.key(e.key, now)
		var again entry
		if err := again.setSubject(e.String()); err != nil || again.key != e.key {
			t.Fatalf("%q is shown as %q, which reads as %q, %v", e.key, e, again.key, err)
		}
	}
	if e.inForce(now) && !ok {
		t.Fatalf("%s is in force but not found", e)
	}
}

func TestFaultsOfSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, lines := range map[string]string{"deny": "192.0.2.1\nb@d@\n", "allow": "user@\n.com\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	faults := Settings{Deny: []string{filepath.Join(dir, "deny")}, Allow: []string{filepath.Join(dir, "allow")}}.Faults()
	if len(faults) != 3 {
		t.Fatalf("got %v", faults)
	}
	if f, ok := faults[0].(fault); !ok || f.line != 2 || f.file != filepath.Join(dir, "deny") || !strings.Contains(f.Error(), "b@d@") {
		t.Errorf("got %v", faults[0])
	}
}
