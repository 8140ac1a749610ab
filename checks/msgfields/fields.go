package msgfields

import (
	"errors"
	"strconv"
	"strings"

	"milterd/headers"
)

// messageIDs judges every Message-ID field.
func messageIDs(f *findings, h []headers.Field) {
	found := false
	for _, field := range h {
		if !field.Is("Message-ID") {
			continue
		}
		found = true
		err := headers.CheckMessageID(field.Value)
		// A lax fault is UTF-8, which is right in a message sent with SMTPUTF8, or what only honest senders write.
		if fault, ok := errors.AsType[*headers.SyntaxError](err); ok && !fault.Lax {
			f.add(msgidInvalid, map[string]string{"message_id": strings.TrimSpace(field.Value), "fault": fault.Cause})
		}
	}
	if !found {
		f.add(msgidMissing, nil)
	}
}

// authors judges every From field. An empty one is there, but invalid; Sendmail drops such before a filter sees them.
func authors(f *findings, h []headers.Field) {
	found := false
	for _, field := range h {
		if !field.Is("From") {
			continue
		}
		found = true
		if _, err := headers.ParseMailboxList(field.Value); err != nil {
			f.add(fromInvalid, map[string]string{"from": strings.TrimSpace(field.Value), "fault": cause(err)})
		}
	}
	if !found {
		f.add(fromMissing, nil)
	}
}

// singles are the fields of which one is the most. RFC 5322 section 3.6 has more of them, but honest programs repeat
// those: git send-email In-Reply-To and References, mailing lists Message-ID.
var singles = [...]string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject"}

// duplicates judges how often fields are there. The Resent- fields of RFC 5322 section 3.6.6 may be repeated.
func duplicates(f *findings, h []headers.Field) {
	var count [len(singles)]int
	for _, field := range h {
		for i, name := range singles {
			if field.Is(name) {
				count[i]++
				break
			}
		}
	}
	for i, n := range count {
		if n > 1 {
			f.add(fieldDuplicate, map[string]string{"field": singles[i], "count": strconv.Itoa(n)})
		}
	}
}

// lines judges the octets of one field, whatever its name.
func lines(f *findings, field headers.Field) {
	if n := headers.LongestLine(field); n > headers.MaxLine {
		f.add(fieldTooLong, map[string]string{"field": field.Name, "length": strconv.Itoa(n)})
	}
	if headers.Has8bit(field) {
		f.add(field8bit, map[string]string{"field": field.Name})
	}
	if err := headers.CheckField(field); err != nil {
		f.add(fieldSyntax, map[string]string{"field": field.Name, "fault": cause(err)})
	}
}
