package access

import (
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
)

// Settings configure the check.
type Settings struct {
	Deny  []string `yaml:"deny" doc:"Files of clients and senders to refuse, one entry a line: a network or address, a host name or .domain, user@domain, user@, @domain or @.domain; until=2027-01-31 and why=\"...\" may follow." example:"[/etc/milterd/deny.txt]"`
	Allow []string `yaml:"allow" doc:"Files of clients and senders to exempt from all checks, with the same entries: the address of the client, a confirmed name of it, or a sender for which it may send. They win over deny." example:"[/etc/milterd/allow.txt]"`
}

// Validate returns an error for empty and repeated file names. It does not read the files, see Faults.
func (c Settings) Validate() error {
	var faults []error
	for key, names := range c.lists() {
		for i, name := range names {
			switch {
			case name == "":
				faults = append(faults, fmt.Errorf(`%s[%d]: "" is not a file; write a path such as /etc/milterd/%[1]s.txt, or delete the entry`, key, i))
			case slices.Contains(names[:i], name):
				faults = append(faults, fmt.Errorf("%s[%d]: %s is in the list twice; delete one of them", key, i, quote(name)))
			}
		}
	}
	for i, name := range c.Deny {
		if name != "" && slices.Contains(c.Allow, name) {
			faults = append(faults, fmt.Errorf("deny[%d]: %s is in allow too; delete one of them", i, quote(name)))
		}
	}
	return errors.Join(faults...)
}

// lists yields the files of each list, by its key.
func (c Settings) lists() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		_ = yield(listDeny, c.Deny) && yield(listAllow, c.Allow)
	}
}

// RelativeTo makes relative file names relative to a folder, that of the configuration file.
func (c *Settings) RelativeTo(folder string) {
	for _, names := range []*[]string{&c.Deny, &c.Allow} {
		*names = slices.Clone(*names)
		for i, name := range *names {
			if name != "" && !filepath.IsAbs(name) {
				(*names)[i] = filepath.Join(folder, name)
			}
		}
	}
}

// Faults reads the files, for a test of the configuration. It returns an error for each file that cannot be read, and an error with
// a method Line for each line that would be left out.
func (c Settings) Faults() []error {
	var errs []error
	for key, files := range c.lists() {
		for i, name := range files {
			if name == "" || slices.Contains(files[:i], name) {
				continue // an error of Validate
			}
			text, _, err := read(name)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s[%d]: cannot read %w; correct the path or the file, or remove it from the list", key, i, err))
				continue
			}
			_, faults := parse(name, text, key == listAllow)
			for _, f := range faults {
				errs = append(errs, f)
			}
		}
	}
	return errs
}
