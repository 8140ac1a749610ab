package headers

import (
	"strings"
	"testing"
)

// wellFormed has values of ordinary mail. allocs is the number of allocations that the parser may make.
var wellFormed = []struct {
	name   string
	allocs float64
	parse  func() error
}{
	{"Date", 0, func() error { _, err := ParseDate(" Fri, 21 Nov 1997 09:55:06 -0600 (CST)"); return err }},
	{"DateObsolete", 0, func() error { _, err := ParseDate(" Fri, 21 Nov 97 09:55:06 GMT"); return err }},
	// time.FixedZone caches zones of whole hours only. Another one is a Location of three parts.
	{"DateHalfHourZone", 3, func() error { _, err := ParseDate(" Fri, 21 Nov 1997 09:55:06 +0530"); return err }},
	{"MessageID", 0, func() error { return CheckMessageID(" <CAF.1234+abc@mail.example.org>") }},
	// The slice of the result.
	{"MailboxList", 1, func() error { _, err := ParseMailboxList(` "Doe, John" <jdoe@example.org>`); return err }},
	{"Path", 0, func() error { _, err := ParsePath("<bounce+user=example.org@lists.example.org>"); return err }},
	{"PathLiteral", 0, func() error { _, err := ParsePath("a@[IPv6:2001:db8::1]"); return err }},
	{"PathQuoted", 0, func() error { _, err := ParsePath(`"john doe"@example.org`); return err }},
	{"PathUTF8", 0, func() error { _, err := ParsePath("用户@例子.example"); return err }},
	{"Domain", 0, func() error { return CheckDomain("mail-12.outbound.example.org") }},
	{"Literal", 0, func() error { _, err := ParseLiteral("[192.0.2.1]"); return err }},
	{"Field", 0, func() error {
		f := Field{Name: "Subject", Value: " a subject of usual length,\n\tfolded once"}
		if !f.Is("subject") || LongestLine(f) > MaxLine || Has8bit(f) {
			return &SyntaxError{}
		}
		return CheckField(f)
	}},
}

// TestAllocations is not parallel: testing.AllocsPerRun counts for the whole process.
func TestAllocations(t *testing.T) {
	for _, tt := range wellFormed {
		if err := tt.parse(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := testing.AllocsPerRun(100, func() { _ = tt.parse() }); got > tt.allocs {
			t.Errorf("%s: %v allocations, %v are enough", tt.name, got, tt.allocs)
		}
	}
}

// TestHostileBrackets tests that a field full of brackets without an address does not format faults for each.
func TestHostileBrackets(t *testing.T) {
	const brackets = 10_000
	for _, unit := range []string{"<", "<>", "<a>", "<a b>"} {
		value := "a <" + strings.Repeat(unit, brackets)
		if got := testing.AllocsPerRun(1, func() { _, _ = ParseMailboxList(value) }); got > 4*brackets+50 {
			t.Errorf("%q: %v allocations for %d brackets", unit, got, brackets)
		}
	}
}

func BenchmarkWellFormed(b *testing.B) {
	for _, tt := range wellFormed {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = tt.parse()
			}
		})
	}
}

// TestHostileDate tests that a field full of encoded-words is not decoded to its end, as a date is short.
func TestHostileDate(t *testing.T) {
	value := strings.Repeat("=?utf-8?q?a?= ", 10_000)
	if got := testing.AllocsPerRun(1, func() { _, _ = ParseDate(value) }); got > 3_000 {
		t.Errorf("%v allocations", got)
	}
}
