package config

import (
	"regexp"
	"slices"
	"strings"
)

// notYet is what is said of a key that a later version has. A file written for that version works with this one.
const notYet = "this version does not have it yet, it has no effect"

// laterKeys are the keys of the contract that this version does not have. A key of a check that is registered, or of its
// settings, counts as had whatever stands here.
var laterKeys = [...]string{
	"admin.password",
}

var listIndex = regexp.MustCompile(`\[[0-9]+\]`)

func isLaterKey(path string) bool {
	return slices.Contains(laterKeys[:], listIndex.ReplaceAllString(path, "[]"))
}

// laterKeysIn lists the later keys of the section at path.
func laterKeysIn(path string) []string {
	section := listIndex.ReplaceAllString(path, "[]")
	var keys []string
	for _, k := range laterKeys {
		if i := strings.LastIndexByte(k, '.'); i < 0 && section == "" || i >= 0 && k[:i] == section {
			keys = append(keys, k[i+1:])
		}
	}
	return keys
}
