package milter

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"milterd/checks"
)

const resultsField = "Authentication-Results"

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

// traceFields appends the packets that insert our own fields. A message of a trusted client receives none.
func (s *session) traceFields(ctx context.Context, to []byte) []byte {
	want := s.pipeline.TraceFields()
	if !want.Any() || s.run.Request().Trusted() {
		return to
	}
	results := s.run.Authenticate(ctx)
	if want.ReceivedSPF {
		if line := receivedSPF(&s.Session, want.AuthServID, results); line != "" {
			to = s.appendChange(to, insertField, 0, "Received-SPF", line)
		}
	}
	if want.AuthenticationResults {
		to = s.appendChange(to, insertField, 0, resultsField, authenticationResults(want.AuthServID, results))
	}
	return to
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
