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

// document reads the YAML text and returns the root of its one document, nil if that says nothing. It returns false if
// there is no reading it.
func (r *report) document(text []byte) (*yaml.Node, bool) {
	if at, fault := textFault(text); fault != "" {
		r.fail(at, "", "%s", fault)
		return nil, false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil { // only bad options are an error, and there are none
		r.fail(start, "", "%s", err)
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

// single is the root of the only document.
func (r *report) single(docs []*yaml.Node) (*yaml.Node, bool) {
	if len(docs) > 1 {
		r.fail(spotOf(docs[1]), "", "another YAML document begins here, and a configuration is one")
		return nil, false
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 || isNull(docs[0].Content[0]) {
		return nil, true
	}
	r.tree(docs[0].Content[0])
	return docs[0].Content[0], true
}

// tree looks for what is wrong in a mapping whatever it means: in parts that are not decoded too.
func (r *report) tree(n *yaml.Node) {
	switch n.Tag {
	case "", "!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge":
	default:
		r.fail(spotOf(n), "", "YAML tag %s has no meaning here", quote(n.Tag))
	}
	if n.Kind == yaml.MappingNode {
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if line, twice := first[key.Value]; twice {
				r.fail(spotOf(key), "", "duplicate key %s, first given in line %d", quote(key.Value), line)
				continue
			}
			first[key.Value] = key.Line
		}
	}
	for _, c := range n.Content { // that of an alias is not among them
		r.tree(c)
	}
}

// syntax reports why the text is no YAML.
func (r *report) syntax(text []byte, err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		r.fail(start, "", "not valid YAML: %s", err)
		return
	}
	at := spot{max(le.Mark.Line, 1), max(le.Mark.Column, 1)}
	if le.Mark.Line == 0 && le.ContextMark.Line > 0 {
		at = spot{le.ContextMark.Line, max(le.ContextMark.Column, 1)}
	}
	fault := le.Message
	if le.ContextMsg != "" {
		fault += " " + le.ContextMsg
		if m := le.ContextMark; m.Line > 0 && m.Line != at.line {
			fault += fmt.Sprintf(" that begins in line %d", m.Line)
		}
	}
	at, c := locate(text, at)
	if c == '\t' {
		fault = "a tab cannot indent YAML; use spaces"
	}
	r.fail(at, "", "not valid YAML: %s", fault)
}

// textFault says why octets are no text that an editor would show as it is, with the position.
func textFault(text []byte) (spot, string) {
	if len(text) > maxFile {
		return start, fmt.Sprintf("larger than %d MiB", maxFile>>20)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return start, "encoded in UTF-16; save it as UTF-8"
	}
	at := start
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			return at, fmt.Sprintf("octet 0x%02x is not valid in UTF-8", text[i])
		case c == '\ufeff' && i == 0:
			i += n
			continue
		case !plain(c):
			return at, fmt.Sprintf("control character U+%04X is not allowed", c)
		}
		at = at.after(c, text[i+n:])
		i += n
	}
	return spot{}, ""
}

// plain tells whether a character is neither a control character nor a line break that editors do not count.
func plain(c rune) bool {
	switch {
	case c == '\t' || c == '\n' || c == '\r':
		return true
	case c < 0x20 || c >= 0x7f && c < 0xa0:
		return false
	}
	return !strings.ContainsRune("\u2028\u2029\ufeff\ufffe\uffff", c)
}

// after is the position behind the character c, when rest follows.
func (s spot) after(c rune, rest []byte) spot {
	if c == '\n' || c == '\r' && !bytes.HasPrefix(rest, []byte("\n")) {
		return spot{s.line + 1, 1}
	}
	return spot{s.line, s.col + 1}
}

// locate finds the character at a position. Behind the end it is zero, at the end.
func locate(text []byte, at spot) (spot, rune) {
	here := start
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		if here == at {
			return here, c
		}
		text = text[n:]
		here = here.after(c, text)
	}
	return here, 0
}

// spotOf is where a node is.
func spotOf(n *yaml.Node) spot { return spot{max(n.Line, 1), max(n.Column, 1)} }

// isNull tells whether nothing is written where a value may be.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
