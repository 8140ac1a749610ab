package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"milterd/checks"
)

// recipients reads patterns of recipients and the files that they name.
func (c *compiler) recipients(patterns []string, path string) checks.RecipientSet {
	var all []string
	for i, p := range patterns {
		at := c.item(path, i)
		if c.broken[at] {
			continue
		}
		if name, ok := strings.CutPrefix(p, "file:"); ok {
			all = append(all, c.recipientFile(name, at)...)
		} else if err := checkRecipient(p); err != nil {
			c.fail(c.where(at), at, "%s", err)
		} else {
			all = append(all, p)
		}
	}
	set, err := checks.ParseRecipients(all)
	if err != nil { // cannot be: each was tried
		c.fail(c.where(path), path, "%s", err)
	}
	return set
}

// recipientFile reads a file with one pattern a line; # begins a comment.
func (c *compiler) recipientFile(name, path string) []string {
	if name == "" {
		c.fail(c.where(path), path, "file: wants a path behind it")
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(c.dir, name)
	}
	text, err := c.read(name)
	if err != nil {
		c.fail(c.where(path), path, "cannot read %s: %s", quote(name), cause(err))
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

// stripComment returns what a line says and the column where it begins. The local part of an address may hold a #, so
// only one behind white space begins a comment.
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

// checkRecipient tries one pattern.
func checkRecipient(p string) error {
	const longest = 64 + 1 + 255 // octets, RFC 5321 section 4.5.3.1
	if len(p) > longest || !utf8.ValidString(p) {
		return errors.New(quote(p) + " is no recipient: want user, user@domain or @domain")
	}
	_, err := checks.ParseRecipients([]string{p})
	return err
}
