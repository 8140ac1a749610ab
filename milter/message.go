package milter

import (
	"cmp"
	"net/textproto"
	"slices"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
	"milterd/headers"
)

// usualFields is the number of header fields that are kept without another allocation: 1 KiB.
const usualFields = 32

// shownFields are the fields that decide what a reader sees. A mail program may show the last of several From fields, which no check has
// seen if it was dropped.
var shownFields = [...]string{"From", "Subject", "Content-Type"}

// keepField adds a header field to the transaction, up to maxHeaderBytes. It notes a field beyond them that readers are shown.
func (s *session) keepField(name, value string) {
	if s.protocol&gomilter.OptHeaderLeadingSpace == 0 && !strings.HasPrefix(value, "\t") {
		value = " " + value // the MTA has dropped a space, which signatures with simple canonicalisation cover
	}
	field := headers.Field{Name: name, Value: value}
	size := len(name) + len(value) + entryOverhead
	s.truncated = s.truncated || s.headerBytes+size > maxHeaderBytes
	switch {
	case s.truncated:
		if i := slices.IndexFunc(shownFields[:], field.Is); i >= 0 {
			s.lost = shownFields[i]
		}
	case s.noMemory || !s.reserve(size):
		s.noMemory = true
	default:
		if s.Envelope.Header == nil {
			s.Envelope.Header = make([]headers.Field, 0, usualFields)
		}
		s.Envelope.Header = append(s.Envelope.Header, field)
		s.headerBytes += size
	}
	s.findForged(name, value)
}

// Headers implements gomilter.Milter: the end of the header section, which is judged at the end of the message.
func (s *session) Headers(_ textproto.MIMEHeader, _ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(gomilter.OptNoEOHReply, func() *checks.Reply {
		s.mergeMacros()
		if s.conn.inTransaction.Load() {
			s.failure = s.protect(s.beginBody)
		}
		return nil
	})
}

// beginBody ends the header section.
func (s *session) beginBody() {
	if s.truncated {
		// No MTA accepts as much by default. The fields that were kept are judged: padding must not skip the checks.
		s.srv.Log.WithFields(s.LogFields()).Warn("header section too large: only its beginning is checked")
	}
	s.Time = s.srv.now()
	s.body = s.run.BeginBody()
}

// writeBody passes on a part of the body. After a panic it drops the rest, as an incomplete body must not be judged:
// the message is deferred.
func (s *session) writeBody(chunk []byte) {
	if s.body == nil {
		return
	}
	s.failure = s.protect(func() { _, _ = s.body.Write(chunk) }) // the checks have the error
	if s.failure != nil {
		s.body = nil
	}
}

// Body implements gomilter.Milter: the end of the message.
func (s *session) Body(_ *gomilter.Modifier) (gomilter.Response, error) {
	return s.answer(0, func() *checks.Reply {
		defer s.reset() // also after a panic, or the next MAIL or ABORT would count as a RSET of the client
		return s.endMessage()
	})
}

func (s *session) endMessage() *checks.Reply {
	s.mergeMacros()
	if !s.conn.inTransaction.Load() {
		return nil // there is no transaction
	}
	if reply := cmp.Or(s.deferForFields(), s.failure); reply != nil {
		return reply
	}
	ctx, cancel := s.pipeline.Within(s.conn.ctx) // one budget for the checks, the trace fields and the observers
	defer cancel()
	s.run.LackMemory(s.noMemory)
	if d := s.judge(ctx, checks.EndOfMessage); d.Reply != nil {
		return d.Reply
	}
	s.modifications = s.changes(ctx)
	_ = s.protect(func() { s.srv.Journal.Accepted(s.run.Request()) })
	s.run.Observe(ctx, checks.Event{Kind: checks.Accepted})
	return nil
}
