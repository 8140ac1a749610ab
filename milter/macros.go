package milter

import (
	"slices"
	"strings"
)

// Limits above what MTAs send. What exceeds them is dropped.
const (
	maxMacros      = 256
	maxMacroLength = 4096     // bytes of name and value
	maxMacroBytes  = 64 << 10 // of the macros of a packet; a session that has more takes no new names
)

// macro is a macro of the MTA. Its name has braces if it is longer than a letter.
type macro struct{ name, value string }

// size returns the memory that the macro takes in bytes.
func (m macro) size() int { return len(m.name) + len(m.value) + entryOverhead }

// setMacros stores the macros of the next command: names and values, each with a NUL at its end.
func (s *session) setMacros(text string) {
	s.dropCommandMacros()
	size, kept := len(text), 0
	for text != "" && len(s.commandMacros) < maxMacros && kept <= maxMacroBytes {
		var m macro
		m.name, text, _ = strings.Cut(text, "\x00")
		m.value, text, _ = strings.Cut(text, "\x00")
		if len(m.name)+len(m.value) > maxMacroLength {
			continue
		}
		if size > maxMacroLength { // do not keep all of text
			m.name, m.value = strings.Clone(m.name), strings.Clone(m.value)
		}
		s.commandMacros = append(s.commandMacros, m)
		kept += len(m.name) + len(m.value)
	}
}

// commandMacro returns the value of a macro of the current command, or "".
func (s *session) commandMacro(name string) string {
	for _, m := range slices.Backward(s.commandMacros) {
		if m.name == name {
			return m.value
		}
	}
	return ""
}

// dropCommandMacros forgets the macros of the current command.
func (s *session) dropCommandMacros() {
	clear(s.commandMacros)
	s.commandMacros = s.commandMacros[:0]
}

// mergeMacros adds commandMacros to the macros of the Session.
func (s *session) mergeMacros() {
	room := s.macroBytes <= maxMacroBytes
	for _, m := range s.commandMacros {
		old, known := s.Macros[m.name]
		switch {
		case known && old == m.value, !known && (!room || len(s.Macros) >= maxMacros):
			continue
		case known:
			s.macroBytes -= macro{m.name, old}.size()
		}
		s.Macros[m.name] = m.value
		s.macroBytes += m.size()
	}
	s.Envelope.QueueID = s.Macros["i"]
}

// forgetMacro removes a macro from those of the Session.
func (s *session) forgetMacro(name string) {
	if value, known := s.Macros[name]; known {
		s.macroBytes -= macro{name, value}.size()
		delete(s.Macros, name)
	}
}
