package msgfields

import (
	"errors"
	"strconv"
	"strings"

	"milterd/checks"
	"milterd/headers"
)

// checkMessageIDs checks every Message-ID field. A lax fault passes: it is UTF-8, which SMTPUTF8 permits, or an error that
// only honest senders make.
func checkMessageIDs(f *findings, h []headers.Field) {
	found := false
	for _, field := range h {
		if !field.Is("Message-ID") {
			continue
		}
		found = true
		err := headers.CheckMessageID(field.Value)
		if fault, ok := errors.AsType[*headers.SyntaxError](err); ok && !fault.Lax {
			f.add(checks.Verdict{Reason: msgidInvalid, Detail: map[string]string{
				"message_id": strings.TrimSpace(field.Value), "fault": fault.Cause,
			}})
		}
	}
	if !found {
		f.add(checks.Verdict{Reason: msgidMissing})
	}
}

// checkFrom checks every From field. An empty field is invalid, not missing; Sendmail removes it before a filter sees it.
func checkFrom(f *findings, h []headers.Field) {
	found := false
	for _, field := range h {
		if !field.Is("From") {
			continue
		}
		found = true
		if _, err := headers.ParseMailboxList(field.Value); err != nil {
			f.add(checks.Verdict{Reason: fromInvalid, Detail: map[string]string{
				"from": strings.TrimSpace(field.Value), "fault": cause(err),
			}})
		}
	}
	if !found {
		f.add(checks.Verdict{Reason: fromMissing})
	}
}

// singleFields are the fields that may occur once. RFC 5322 section 3.6 has more, but honest programs repeat those: git
// send-email In-Reply-To and References, mailing lists Message-ID. Resent- fields may be repeated (section 3.6.6).
var singleFields = [...]string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject"}

// checkRepetitions checks how often fields occur.
func checkRepetitions(f *findings, h []headers.Field) {
	var counts [len(singleFields)]int
	for _, field := range h {
		for i, name := range singleFields {
			if field.Is(name) {
				counts[i]++
				break
			}
		}
	}
	for i, n := range counts {
		if n > 1 {
			f.add(checks.Verdict{Reason: fieldDuplicate, Detail: map[string]string{
				"field": singleFields[i], "count": strconv.Itoa(n),
			}})
		}
	}
}

// checkSyntax checks the bytes of one field, whatever its name.
func checkSyntax(f *findings, field headers.Field) {
	if n := headers.LongestLine(field); n > headers.MaxLine {
		f.add(checks.Verdict{Reason: fieldTooLong, Detail: map[string]string{"field": field.Name, "length": strconv.Itoa(n)}})
	}
	if headers.Has8bit(field) {
		f.add(checks.Verdict{Reason: field8bit, Detail: map[string]string{"field": field.Name}})
	}
	if err := headers.CheckField(field); err != nil {
		f.add(checks.Verdict{Reason: fieldSyntax, Detail: map[string]string{"field": field.Name, "fault": cause(err)}})
	}
}
