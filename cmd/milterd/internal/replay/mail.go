package replay

import (
	"io"
	"strings"

	"milterd/cmd/milterd/internal/mailbox"
	"milterd/cmd/milterd/internal/received"
	"milterd/cmd/milterd/internal/session"
	"milterd/headers"
)

// mail is a stored message, or an attempt to deliver one that milterd recorded.
type mail struct {
	file    string
	number  int              // in the file, from 1; 0 in a file of its own
	header  []headers.Field  // nil of an attempt
	body    io.Reader        // of a signed message, if a check needs it; else empty. Nil until the message is read from the archive
	attempt *mailbox.Attempt // nil of a stored message
}

func newMail(m mailbox.Message) *mail {
	if m.Attempt != nil {
		return &mail{file: m.File, number: m.Number, attempt: m.Attempt}
	}
	fields, _ := session.Split(m.Head)
	return &mail{file: m.File, number: m.Number, header: fields}
}

// isSigned reports whether a header section has a DKIM-Signature field.
func isSigned(head string) bool {
	fields, _ := session.Split(head)
	_, ok := headers.First(fields, "DKIM-Signature")
	return ok
}

// messageID returns the Message-ID as the field has it, with white space joined.
func (m *mail) messageID() string {
	field, _ := headers.First(m.header, "Message-ID")
	return strings.Join(strings.Fields(field.Value), " ")
}

// facts returns what is known of the SMTP session at the border of a site.
func (m *mail) facts(site received.Site) received.Facts {
	if m.attempt != nil {
		return factsOf(m.attempt)
	}
	f := received.Read(m.header, site)
	f.Known |= received.Content
	f.Time = f.Time.UTC()
	return f
}

// factsOf returns the facts of a recorded attempt. It has no header section.
func factsOf(a *mailbox.Attempt) received.Facts {
	f := received.Facts{
		Client: a.Client, ClientName: a.ClientName, Helo: a.Helo, From: a.From, To: a.To, Time: a.Time.UTC(), QueueID: a.QueueID,
		Local: !a.Client.IsValid(),
	}
	if a.Client.IsValid() {
		f.Known |= received.Client | received.Helo // an empty HELO name: the client sent none
	}
	if a.To != "" || a.From != "" {
		f.Known |= received.Sender
	}
	if a.To != "" {
		f.Known |= received.Recipient
	}
	if !a.Time.IsZero() {
		f.Known |= received.Time
	}
	return f
}
