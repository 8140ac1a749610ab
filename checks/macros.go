package checks

import "slices"

// Macro is a name that the MTA spells as it does, "i" or "{auth_type}", with what it stands for.
type Macro struct{ Name, Value string }

// Macros are what the MTA has told of a session besides its commands, each name once. They are a dozen, which are found sooner by
// looking at each than in a map. The zero value is empty.
type Macros []Macro

// Get is the value of a macro; empty if it was not told.
func (m Macros) Get(name string) string {
	for i := range m {
		if m[i].Name == name {
			return m[i].Value
		}
	}
	return ""
}

// Set notes a macro in the place of an older one.
func (m *Macros) Set(name, value string) {
	for i := range *m {
		if (*m)[i].Name == name {
			(*m)[i].Value = value
			return
		}
	}
	*m = append(*m, Macro{name, value})
}

// Delete forgets a macro.
func (m *Macros) Delete(name string) {
	*m = slices.DeleteFunc(*m, func(c Macro) bool { return c.Name == name })
}
