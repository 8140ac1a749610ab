package checks

import (
	"fmt"
	"strings"
)

// NameSet is a set of domain names, from a setting. The zero value is empty.
type NameSet map[string]bool // keys are entries in lower case, without a dot at the end

// Add adds an entry: "example.net" is that name, ".example.net" the domain and all names below it. A name may have an
// underscore.
func (s *NameSet) Add(entry string) error {
	key := strings.ToLower(strings.TrimSuffix(entry, "."))
	if !IsHostName(strings.TrimPrefix(key, ".")) {
		return fmt.Errorf("%q is not a domain name; write it as example.org, or as .example.org for all names below it", entry)
	}
	if *s == nil {
		*s = NameSet{}
	}
	(*s)[key] = true
	return nil
}

// Has reports whether the set has a name, or a domain that contains it. The name is in lower case, without trailing dot.
func (s NameSet) Has(name string) bool {
	if s[name] {
		return true
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if s["."+name] {
			return true
		}
	}
	return false
}
