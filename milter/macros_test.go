package milter

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"milterd/checks"
)

// TestMacrosKeepNoPackets shows that a stored macro does not keep its packet, of up to 1 MiB, in memory.
func TestMacrosKeepNoPackets(t *testing.T) { // not parallel: it measures the heap
	s := &session{Session: checks.Session{Macros: map[string]string{}}}
	before := heap()
	for i := range maxMacros / 2 {
		s.setMacros(fmt.Sprintf("m%d\x00value\x00long\x00%s\x00", i, strings.Repeat("x", maxPacket-100)))
		s.mergeMacros()
	}
	if grown := int64(heap() - before); grown > 10<<20 || s.Macros["m7"] != "value" || s.Macros["long"] != "" {
		t.Errorf("%d bytes kept, m7=%q", grown, s.Macros["m7"])
	}
}

// TestMacroBytes compares the memory that is counted for macros with that of the macros that the Session has.
func TestMacroBytes(t *testing.T) {
	t.Parallel()
	many := func(n, length int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "m%d\x00%s\x00", i, strings.Repeat("x", length))
		}
		return b.String()
	}
	for _, c := range []struct {
		name    string
		packets []string
		want    map[string]string // nil: only the limits
	}{
		{"names and values", []string{"j\x00mx.test\x00i\x00Q1\x00"}, map[string]string{"j": "mx.test"}},
		{"another value", []string{"j\x00mx.test\x00", "j\x00mx2.test\x00", "j\x00\x00"}, map[string]string{"j": ""}},
		{"the same value", []string{"j\x00mx.test\x00", "j\x00mx.test\x00"}, map[string]string{"j": "mx.test"}},
		{"twice in a packet", []string{"j\x00a\x00j\x00bcd\x00"}, map[string]string{"j": "bcd"}},
		{"a name alone", []string{"j"}, map[string]string{"j": ""}},
		{"too long", []string{"j\x00" + strings.Repeat("x", maxMacroLength) + "\x00v\x001\x00"}, map[string]string{"v": "1"}},
		{"more than the limit", []string{many(maxMacros+10, 1)}, nil},
		{"more bytes than the limit", []string{many(maxMacros/2, 4000), many(maxMacros, 1)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &session{Session: checks.Session{Macros: map[string]string{}}}
			for _, packet := range c.packets {
				s.setMacros(packet)
				s.mergeMacros()
			}
			s.forgetMacro("i")
			s.forgetMacro("never sent")
			if c.want != nil && !maps.Equal(s.Macros, c.want) {
				t.Errorf("%q", s.Macros)
			}
			size := 0
			for name, value := range s.Macros {
				size += macro{name, value}.size()
			}
			if s.macroBytes != size || len(s.Macros) > maxMacros || size > 2*maxMacroBytes+maxMacros*entryOverhead {
				t.Errorf("%d bytes counted for %d macros of %d bytes", s.macroBytes, len(s.Macros), size)
			}
		})
	}
}
