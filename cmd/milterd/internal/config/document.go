package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// document parses the YAML text and returns the root of its one document. The root is nil if the document is empty. ok is
// false if the text could not be parsed.
func (r *report) document(text []byte) (root *yaml.Node, ok bool) {
	if at, fault := textFault(text); fault != "" {
		r.fail(at, "", "%s", fault)
		return nil, false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil { // not possible without options
		r.syntax(text, err)
		return nil, false
	}
	var docs []*yaml.Node
	for {
		var doc yaml.Node
		err := loader.Load(&doc)
		switch {
		case errors.Is(err, io.EOF):
			return r.single(docs)
		case err != nil:
			r.syntax(text, err)
			return nil, false
		}
		docs = append(docs, &doc)
	}
}

// single returns the root of the only document.
func (r *report) single(docs []*yaml.Node) (root *yaml.Node, ok bool) {
	if len(docs) > 1 {
		r.fail(positionOf(docs[1]), "", `a second YAML document begins here; a configuration has one, so delete the line "---" before it`)
		return nil, false
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 || isNull(docs[0].Content[0]) {
		return nil, true
	}
	r.tree(docs[0].Content[0])
	return docs[0].Content[0], true
}

// tree reports unknown tags and duplicate keys, also in sections that are not decoded.
func (r *report) tree(n *yaml.Node) {
	switch n.Tag {
	case "", "!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge":
	default:
		r.fail(positionOf(n), "", "the YAML tag %s has no meaning in this file; delete it", quote(n.Tag))
	}
	if n.Kind == yaml.MappingNode {
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if line, twice := first[key.Value]; twice {
				r.fail(positionOf(key), "", "duplicate key %s, first given in line %d; delete one of them", quote(key.Value), line)
				continue
			}
			first[key.Value] = key.Line
		}
	}
	for _, c := range n.Content { // an alias has no content, so that nothing is visited twice
		r.tree(c)
	}
}

// textFault returns the first fault of the text below the level of YAML, with its position.
func textFault(text []byte) (at position, fault string) {
	if len(text) > maxFile {
		return beginning, fmt.Sprintf("the file is larger than %d MiB; is it a configuration?", maxFile>>20)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return beginning, "the file is encoded in UTF-16; save it as UTF-8"
	}
	at = beginning
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			return at, fmt.Sprintf("the byte 0x%02x is not valid UTF-8; save the file as UTF-8", text[i])
		case c == '\ufeff' && i == 0:
			i += n
			continue
		case !isAllowed(c):
			return at, fmt.Sprintf("the control character U+%04X is not allowed; delete it", c)
		}
		at = at.after(c, text[i+n:])
		i += n
	}
	return position{}, ""
}

// isAllowed reports whether a configuration may have the character c. It may not have control characters and those line
// breaks that editors do not count.
func isAllowed(c rune) bool {
	switch {
	case c == '\t' || c == '\n' || c == '\r':
		return true
	case c < 0x20 || c >= 0x7f && c < 0xa0:
		return false
	}
	return !strings.ContainsRune("\u2028\u2029\ufeff\ufffe\uffff", c)
}

// after returns the position after the character c, which rest follows.
func (p position) after(c rune, rest []byte) position {
	if c == '\n' || c == '\r' && !bytes.HasPrefix(rest, []byte("\n")) {
		return position{line: p.line + 1, col: 1}
	}
	return position{line: p.line, col: p.col + 1}
}

// positionOf returns the position of a node.
func positionOf(n *yaml.Node) position { return position{line: max(n.Line, 1), col: max(n.Column, 1)} }

// isNull reports whether a node is an empty value.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
