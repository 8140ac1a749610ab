package checks

import "slices"

// Macro is the name of an MTA's macro as the MTA spells it, "i" or "{auth_type}", and its value.
type Macro struct{ Name, Value string }

// Macros are the macros of a session, each name once. There are about a dozen, so a list is faster than a map. The zero
// value is empty.
type Macros []Macro

// Get returns the value of a macro, or "" if it is not set.
func (m Macros) Get(name string) string {
	for i := range m {
		if m[i].Name == name {
			return m[i].Value
		}
	}
	return ""
}

// Set sets a macro.
func (m *Macros) Set(name, value string) {
	for i := range *m {
		if (*m)[i].Name == name {
			(*m)[i].Value = value
			return
		}
	}
	*m = append(*m, Macro{Name: name, Value: value})
}

// Delete deletes a macro.
func (m *Macros) Delete(name string) {
	*m = slices.DeleteFunc(*m, func(c Macro) bool { return c.Name == name })
}
