package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"milterd/checks"
)

// recipients parses patterns of recipients and those in the files that they name.
func (c *compiler) recipients(patterns []string, path string) checks.RecipientSet {
	var all []string
	for at, p := range items(c, path, patterns) {
		if name, ok := strings.CutPrefix(p, "file:"); ok {
			all = append(all, c.recipientFile(name, at)...)
		} else if err := checkRecipient(p); err != nil {
			c.failAt(at, "%s", err)
		} else {
			all = append(all, p)
		}
	}
	set, err := checks.ParseRecipients(all)
	if err != nil { // not possible: each was parsed before
		c.failAt(path, "%s", err)
	}
	return set
}

// recipientFile returns the patterns in a file, one per line. A comment begins with #.
func (c *compiler) recipientFile(name, path string) []string {
	if name == "" {
		c.failAt(path, `"file:" has no path; write file:/path`)
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(c.dir, name)
	}
	c.recipientFiles = append(c.recipientFiles, name)
	text, err := c.read(name)
	if err != nil {
		c.failAt(path, "cannot read %s: %s; correct the path or the file, or delete the entry", quote(name), cause(err))
		return nil
	}
	var patterns []string
	for n := 1; len(text) > 0 && !c.full(); n++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		pattern, col := stripComment(line)
		if pattern == "" {
			continue
		}
		if err := checkRecipient(pattern); err != nil {
			c.add(Problem{File: name, Line: n, Col: col, Text: err.Error()})
			continue
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

// stripComment returns a line without its comment and white space around it, and the column in which the rest begins. The
// local part of an address may have a #, so a comment must follow white space.
func stripComment(line []byte) (string, int) {
	for i, c := range line {
		if c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	rest := bytes.TrimLeft(line, " \t\r\ufeff")
	col := utf8.RuneCount(line[:len(line)-len(rest)]) + 1
	return string(bytes.TrimRight(rest, " \t\r")), col
}

// checkRecipient returns an error if p is not a pattern.
func checkRecipient(p string) error {
	const maxPattern = 64 + 1 + 255 // bytes, RFC 5321 section 4.5.3.1
	if len(p) > maxPattern || !utf8.ValidString(p) {
		return errors.New(quote(p) + " is not a recipient; write user, user@domain or @domain")
	}
	_, err := checks.ParseRecipients([]string{p})
	return err
}
