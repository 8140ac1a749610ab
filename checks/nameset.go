package checks

import (
	"fmt"
	"strings"
)

// NameSet is a set of domain names, from a setting. The zero value is empty.
type NameSet struct {
	names, domains map[string]bool // lower case; domains without the leading dot
}

// Add adds an entry: "example.net" is that name, ".example.net" the domain and all names below it. A name may have an
// underscore.
func (s *NameSet) Add(entry string) error {
	name, isDomain := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(entry, ".")), ".")
	if !IsHostName(name) {
		return fmt.Errorf("%q is neither a domain name nor a .domain", entry)
	}
	if s.names == nil {
		s.names, s.domains = map[string]bool{}, map[string]bool{}
	}
	if isDomain {
		s.domains[name] = true
	} else {
		s.names[name] = true
	}
	return nil
}

// Empty reports whether the set has no entries.
func (s NameSet) Empty() bool { return len(s.names)+len(s.domains) == 0 }

// Has reports whether the set has a name, or a domain that contains it. The name is in lower case, without trailing dot.
func (s NameSet) Has(name string) bool {
	if s.names[name] {
		return true
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if s.domains[name] {
			return true
		}
	}
	return false
}
