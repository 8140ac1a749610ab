package milter

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	gomilter "github.com/emersion/go-milter"
	"github.com/emersion/go-msgauth/authres"

	"milterd/checks"
)

// The modifications of a message. They precede the response to its end.
const (
	insertField = 'i' // position, name, value
	changeField = 'm' // index among the fields of the name, name, value; without a value the field is deleted
)

const resultsField = "Authentication-Results"

// traceActions are the actions that trace fields need.
const traceActions = gomilter.OptAddHeader | gomilter.OptChangeHeader

// ownResults reports whether an Authentication-Results field has our authserv-id. It accepts what a lenient reader of such fields
// might accept: comments, a quoted id, any version, and any text after them (RFC 8601 sections 2.2 and 5).
func ownResults(value, id string) bool {
	text := strings.TrimLeft(value, " \t\r\n")
	for strings.HasPrefix(text, "(") {
		text = strings.TrimLeft(text[commentEnd(text):], " \t\r\n")
	}
	quoted := strings.HasPrefix(text, `"`)
	if quoted {
		text, _, _ = strings.Cut(text[1:], `"`)
		text = strings.ReplaceAll(text, `\`, "")
	} else if end := strings.IndexAny(text, " \t\r\n;("); end >= 0 {
		text = text[:end]
	}
	return strings.EqualFold(strings.TrimSuffix(strings.TrimSpace(text), "."), id)
}

// commentEnd returns the end of the comment at the beginning of text, RFC 5322 section 3.2.2.
func commentEnd(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// traceFields returns the packets that remove forged results and insert our own fields. A message of a trusted client receives
// none of our own.
func (s *session) traceFields(ctx context.Context) []byte {
	want := s.pipeline.TraceFields()
	var to []byte
	for _, i := range slices.Backward(s.forged) { // a removal changes the indexes after it
		to = s.appendModification(to, changeField, i, resultsField, "")
	}
	results := s.run.Authenticate(ctx)
	if want.ReceivedSPF {
		if line := receivedSPF(&s.Session, want.AuthServID, results); line != "" {
			to = s.appendModification(to, insertField, 0, "Received-SPF", line)
		}
	}
	if want.AuthenticationResults && !s.run.Request().Trusted() {
		to = s.appendModification(to, insertField, 0, resultsField, authenticationResults(want.AuthServID, results))
	}
	return to
}

// appendModification appends a packet that inserts or deletes a header field.
func (s *session) appendModification(to []byte, code byte, index uint32, name, value string) []byte {
	if value != "" && s.protocol&gomilter.OptHeaderLeadingSpace != 0 {
		value = " " + value
	}
	to = binary.BigEndian.AppendUint32(to, uint32(1+4+len(name)+1+len(value)+1))
	to = binary.BigEndian.AppendUint32(append(to, code), index)
	to = append(append(to, name...), 0)
	return append(append(to, value...), 0)
}

// authenticationResults returns the value of the field, RFC 8601 section 2.2, with one result on each line.
func authenticationResults(id string, results []checks.Authentication) string {
	if len(results) == 0 {
		return authres.Format(id, nil)
	}
	text := id
	for _, r := range results {
		one := authres.Format("", []authres.Result{&authres.GenericResult{
			Method: r.Method, Value: authres.ResultValue(r.Result), Params: safeProperties(r.Properties),
		}})
		text += ";\n\t" + strings.TrimSpace(strings.TrimPrefix(one, ";"))
	}
	return text
}

// maxProperty is the length of the longest value that is written, in bytes. A domain name is not longer.
const maxProperty = 255

// safeProperties returns the properties without those whose value is neither a domain nor an address: some readers split the
// field at any semicolon, quoted or not.
func safeProperties(properties map[string]string) map[string]string {
	odd := func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-._:", c)
	}
	m := properties
	for k, v := range properties {
		if len(v) <= maxProperty && !strings.ContainsFunc(v, odd) {
			continue
		}
		if len(m) == len(properties) {
			m = maps.Clone(properties)
		}
		delete(m, k)
	}
	return m
}

// receivedSPF returns the value of the field, RFC 7208 section 9.1, or "" without an SPF result.
func receivedSPF(s *checks.Session, receiver string, results []checks.Authentication) string {
	i := slices.IndexFunc(results, func(r checks.Authentication) bool { return r.Method == "spf" })
	if i < 0 {
		return ""
	}
	identity := "mailfrom"
	if results[i].Properties["smtp.helo"] != "" {
		identity = "helo"
	}
	quote := func(text string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(checks.Clean(text, maxProperty)) + `"`
	}
	return fmt.Sprintf("%s\n\treceiver=%s; identity=%s;\n\tclient-ip=%s;\n\tenvelope-from=%s;\n\thelo=%s",
		cmp.Or(results[i].Result, "none"), receiver, identity, s.Client, quote(s.Envelope.MailFrom.Text), quote(s.Helo))
}
