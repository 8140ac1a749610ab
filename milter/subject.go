package milter

import (
	"io"
	"mime"
	"strings"
)

const subjectField = "Subject"

const (
	// maxEncodedLine is the length of a line with an encoded-word, in bytes, RFC 2047 section 2.
	maxEncodedLine = 76
	// maxPrefixSearch is how much of a subject is searched for the prefix, in bytes: more than the longest prefix takes in
	// any encoding.
	maxPrefixSearch = 512
)

// markedSubject returns the value of a Subject field with the prefix, or "" if it has the prefix already. It keeps the
// encoded-words of the value.
func markedSubject(prefix, value string) string {
	text := strings.TrimLeft(value, " \t")
	if strings.HasPrefix(decodedStart(text), strings.TrimSpace(prefix)) {
		return ""
	}
	lead := strings.TrimRight(prefix, " ")
	spaced := lead != prefix
	encoded := strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "=?")
	if isASCII(lead) {
		spaced = spaced || encoded // an encoded-word is a word of its own
	} else {
		if spaced && encoded {
			lead += " " // the white space between encoded-words is not shown, RFC 2047 section 6.2
		}
		lead = strings.ReplaceAll(mime.QEncoding.Encode("utf-8", lead), "?= =?", "?=\n =?")
		spaced = true
	}
	return join(lead, text, spaced)
}

// join puts lead before text, in a line of its own if the line would be long.
func join(lead, text string, spaced bool) string {
	line, _, _ := strings.Cut(text, "\n")
	switch {
	case line == "" || line == "\r" || !spaced: // the text is empty, or begins with a fold
		return lead + text
	case len(subjectField)+len(": ")+len(lead)+len(" ")+len(line) > maxEncodedLine:
		return lead + "\n " + text
	default:
		return lead + " " + text
	}
}

// decodedStart returns the start of a subject as a reader sees it.
func decodedStart(text string) string {
	text = strings.NewReplacer("\r", "", "\n", "").Replace(text[:min(len(text), maxPrefixSearch)])
	raw := func(_ string, input io.Reader) (io.Reader, error) { return input, nil } // the prefix does not need the charset
	decoded, err := (&mime.WordDecoder{CharsetReader: raw}).DecodeHeader(text)
	if err != nil {
		decoded = text
	}
	return strings.TrimSpace(decoded)
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > '~' })
}
