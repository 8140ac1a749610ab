package rdns

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"milterd/checks/facts"
	"milterd/headers"
)

// Settings configure the check.
type Settings struct {
	DynamicWords []string `yaml:"dynamic_words" doc:"Words for pools of dynamic addresses beside the built-in ones (dyn, dhcp, dsl, ppp, pool and so on); they count below the organisational domain and beside the address." example:"[dynamisk, adressepool]"`
	DynamicAllow []string `yaml:"dynamic_allow" doc:"Host names, and .domains with all below them, that are never taken for dynamically assigned." example:"[mail-192-0-2-7.dsl.example.net, .dsl.example.org]"`
}

// Validate finds words and names that could never match.
func (c Settings) Validate() error {
	_, err := c.patterns()
	return err
}

// wordForm is what DynamicWord looks for: what stands between dots, hyphens and underscores, without digits at its ends.
var wordForm = regexp.MustCompile(`^[a-z]([a-z0-9]*[a-z])?$`)

// patterns is what the operator says of dynamic names.
type patterns struct {
	words          map[string]bool
	hosts, domains map[string]bool // that are never dynamic
}

func (c Settings) patterns() (patterns, error) {
	p := patterns{words: map[string]bool{}, hosts: map[string]bool{}, domains: map[string]bool{}}
	var faults []error
	for _, w := range c.DynamicWords {
		w = strings.ToLower(w)
		if !wordForm.MatchString(w) {
			faults = append(faults, fmt.Errorf("dynamic_words: %q is no word: want letters, and digits inside, as they stand between dots and hyphens", w))
		}
		p.words[w] = true
	}
	for _, entry := range c.DynamicAllow {
		name, domain := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(entry, ".")), ".")
		if !isHostName(name) || !strings.Contains(name, ".") {
			faults = append(faults, fmt.Errorf("dynamic_allow: %q is no host name and no .domain", entry))
		}
		if domain {
			p.domains[name] = true
		} else {
			p.hosts[name] = true
		}
	}
	return p, errors.Join(faults...)
}

// isHostName tells whether the DNS has such names of hosts: an underscore occurs in them.
func isHostName(name string) bool {
	err := headers.CheckDomain(name)
	fault, ok := errors.AsType[*headers.SyntaxError](err)
	return err == nil || ok && fault.Lax
}

// word is the pool word of a name that looks dynamically assigned. The name is in the form of facts.ClientNames.
func (p patterns) word(a netip.Addr, name string) string {
	if p.hosts[name] {
		return ""
	}
	for more, up := true, name; more; _, up, more = strings.Cut(up, ".") {
		if p.domains[up] {
			return ""
		}
	}
	return facts.DynamicWord(a, name, p.words)
}
