package session

import (
	"strings"

	"milterd/headers"
)

// Split splits a message into its header fields and its body, as an MTA does for its filters. A value is everything after the
// colon, with LF as line end. The body has CRLF as line end. A line without a colon ends the header section and begins the
// body.
func Split(message string) (fields []headers.Field, body string) {
	for message != "" {
		line, rest, _ := strings.Cut(message, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			message = rest
			break
		}
		if n := len(fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
			fields[n-1].Value += "\n" + line
			message = rest
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			break
		}
		fields = append(fields, headers.Field{Name: name, Value: value})
		message = rest
	}
	if !strings.Contains(message, "\r\n") {
		message = strings.ReplaceAll(message, "\n", "\r\n")
	}
	return fields, message
}

// joinLines returns lines as text, with CRLF at the end of each.
func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}
