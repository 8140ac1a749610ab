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

// The modifications of a message, which precede the answer to its end.
const (
	insertField = 'i' // position, name, value
	changeField = 'm' // index among the fields of the name, name, value; without a value the field is deleted
)

const resultsField = "Authentication-Results"

// traceActions are what the MTA must allow for trace fields.
const traceActions = gomilter.OptAddHeader | gomilter.OptChangeHeader

// ownResults tells whether an Authentication-Results field bears our authserv-id. It is lenient, as those who believe such
// fields may be: comments, a quoted id, any version, whatever follows (RFC 8601 sections 2.2 and 5).
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

// commentEnd is where the comment ends with which a text begins, RFC 5322 section 3.2.2.
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

// trace appends the packets that remove forged results and insert ours. forged are the indexes of fields that are not ours,
// each among the fields of its name from 1 on.
func (s *session) trace(ctx context.Context, to []byte, forged []uint32) []byte {
	want := s.pipeline.TraceFields()
	for _, i := range slices.Backward(forged) { // so that no index moves before it is used
		to = s.field(to, changeField, i, resultsField, "")
	}
	results := s.judge.Authenticate(ctx)
	if want.ReceivedSPF {
		if line := receivedSPF(&s.Session, want.AuthServID, results); line != "" {
			to = s.field(to, insertField, 0, "Received-SPF", line)
		}
	}
	if want.AuthenticationResults && !s.judge.Request().Trusted() {
		to = s.field(to, insertField, 0, resultsField, authenticationResults(want.AuthServID, results))
	}
	return to
}

// field appends a packet about a header field.
func (s *session) field(to []byte, code byte, index uint32, name, value string) []byte {
	if value != "" && s.protocol&gomilter.OptHeaderLeadingSpace != 0 {
		value = " " + value
	}
	to = binary.BigEndian.AppendUint32(to, uint32(1+4+len(name)+1+len(value)+1))
	to = binary.BigEndian.AppendUint32(append(to, code), index)
	to = append(append(to, name...), 0)
	return append(append(to, value...), 0)
}

// authenticationResults is the value of the field, RFC 8601 section 2.2, one result a line.
func authenticationResults(id string, results []checks.Authentication) string {
	if len(results) == 0 {
		return authres.Format(id, nil)
	}
	text := id
	for _, r := range results {
		one := authres.Format("", []authres.Result{&authres.GenericResult{
			Method: r.Method, Value: authres.ResultValue(r.Result), Params: clean(r.Properties),
		}})
		text += ";\n\t" + strings.TrimSpace(strings.TrimPrefix(one, ";"))
	}
	return text
}

// maxProperty is the longest value that is written, in octets; a domain has no more.
const maxProperty = 255

// clean leaves out what cannot be the value of a property of ours, a domain or an address: some of those who read such fields
// split them at any semicolon, in quotes or not.
func clean(properties map[string]string) map[string]string {
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

// receivedSPF is the value of the field, RFC 7208 section 9.1; empty if there is no SPF result.
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
