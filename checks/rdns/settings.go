package rdns

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"milterd/checks"
)

// Settings configure the check.
type Settings struct {
	DynamicWords []string `yaml:"dynamic_words" doc:"Pool words beside the built-in ones (dyn, dhcp, dsl, ppp, pool and so on); a name with a pool word and its address below the organisational domain looks dynamically assigned." example:"[dynamisk, adressepool]"`
	DynamicAllow []string `yaml:"dynamic_allow" doc:"Host names, and .domains with all below them, that never look dynamically assigned." example:"[192-0-2-7.dsl.example.net, .dsl.example.org]"`
}

// Validate returns an error for words and names that never match.
func (c Settings) Validate() error {
	_, _, err := c.parse()
	return err
}

// wordForm is the form of the words that facts.DynamicWord compares.
var wordForm = regexp.MustCompile(`^[a-z]([a-z0-9]*[a-z])?$`)

// parse returns the additional pool words in lower case, and the names that never look dynamically assigned.
func (c Settings) parse() (words map[string]bool, allowed checks.NameSet, err error) {
	words = map[string]bool{}
	var faults []error
	for _, w := range c.DynamicWords {
		w = strings.ToLower(w)
		if !wordForm.MatchString(w) {
			faults = append(faults, fmt.Errorf("dynamic_words: %q is not a word; write letters, with digits between them only, such as dynip", w))
		}
		words[w] = true
	}
	for _, entry := range c.DynamicAllow {
		if !strings.Contains(strings.Trim(entry, "."), ".") || allowed.Add(entry) != nil {
			faults = append(faults, fmt.Errorf("dynamic_allow: %q is not a host name; write mail.example.org, or .example.org for all names below it", entry))
		}
	}
	return words, allowed, errors.Join(faults...)
}
