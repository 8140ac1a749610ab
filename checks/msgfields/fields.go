package msgfields

import (
	"strconv"
	"strings"

	"milterd/checks"
	"milterd/headers"
)

// checkMessageID checks the Message-ID field.
func checkMessageID(f *findings, h []headers.Field) {
	field, ok := headers.First(h, "Message-ID")
	if !ok {
		f.add(checks.Verdict{Reason: msgidMissing})
		return
	}
	if fault := syntaxError(headers.CheckMessageID(field.Value)); fault != nil {
		f.addFault(fault, msgidInvalid, msgidLax, "message_id", strings.TrimSpace(field.Value))
	}
}

// checkFrom checks the From field. An empty field is invalid, not missing; Sendmail removes it before a filter sees it.
func checkFrom(f *findings, h []headers.Field) {
	field, ok := headers.First(h, "From")
	if !ok {
		f.add(checks.Verdict{Reason: fromMissing})
		return
	}
	list, err := headers.ParseMailboxList(field.Value)
	value, fault := strings.TrimSpace(field.Value), syntaxError(err)
	switch {
	case value == "":
		fault = &headers.SyntaxError{Cause: "the field is empty"}
	case fault == nil && len(list) > 0:
		return
	case fault == nil:
		fault = &headers.SyntaxError{Cause: "no address in the group"}
	}
	f.addFault(fault, fromInvalid, fromLax, "from", value)
}

// shownFields are fields that may occur once and that readers are shown: two of them that differ are refused. RFC 5322 section
// 3.6 has more single fields, but honest programs repeat those: git send-email In-Reply-To and References, mailing lists
// Message-ID. Resent- fields may be repeated (section 3.6.6).
var shownFields = [...]string{"From", "Sender", "Date", "Subject"}

// addressFields are fields that may occur once and that honest programs write once for each address.
var addressFields = [...]string{"To", "Cc", "Bcc", "Reply-To"}

// checkRepetitions checks how often fields occur.
func checkRepetitions(f *findings, h []headers.Field) {
	add := func(reason *checks.Reason, name string, count int) {
		f.add(checks.Verdict{Reason: reason, Detail: map[string]string{"field": name, "count": strconv.Itoa(count)}})
	}
	for _, name := range shownFields {
		switch count, differ := occurrences(h, name); {
		case differ:
			add(fieldDuplicate, name, count)
		case count > 1:
			add(fieldRepeated, name, count)
		}
	}
	for _, name := range addressFields {
		if count, _ := occurrences(h, name); count > 1 {
			add(fieldRepeated, name, count)
		}
	}
}

// occurrences returns how often a field occurs, and whether two that are not empty differ after unfolding and joining white
// space.
func occurrences(h []headers.Field, name string) (count int, differ bool) {
	first, joined := "", ""
	for _, field := range h {
		if !field.Is(name) {
			continue
		}
		count++
		switch {
		case field.IsEmpty():
		case first == "":
			first = field.Value
		default:
			if joined == "" {
				joined = joinSpace(first)
			}
			differ = differ || joinSpace(field.Value) != joined
		}
	}
	return count, differ
}

func joinSpace(s string) string { return strings.Join(strings.Fields(s), " ") }

// checkSyntax checks the bytes of one field, whatever its name.
func checkSyntax(f *findings, field headers.Field) {
	if n := headers.LongestLine(field); n > headers.MaxLine {
		f.add(checks.Verdict{Reason: fieldTooLong, Detail: map[string]string{"field": field.Name, "length": strconv.Itoa(n)}})
	}
	if headers.Has8bit(field) {
		f.add(checks.Verdict{Reason: field8bit, Detail: map[string]string{"field": field.Name}})
	}
	if fault := syntaxError(headers.CheckField(field)); fault != nil {
		f.add(checks.Verdict{Reason: fieldSyntax, Detail: map[string]string{"field": field.Name, "fault": fault.Cause}})
	}
}
