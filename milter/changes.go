package milter

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
)

// Packets that change an accepted message. They are sent before the response to its end.
const (
	insertField = 'i' // position, name, value
	changeField = 'm' // index among the fields of the name, name, value; without a value the field is deleted
	quarantine  = 'q' // reason
)

// headerActions are the actions that changes of the header section need.
const headerActions = gomilter.OptAddHeader | gomilter.OptChangeHeader

// maxMarks is how many fields say why a message was marked. A message with twice as many reasons is no more suspicious.
const maxMarks = 10

// changeActions returns the actions to ask for, of those that the MTA offers. It logs a warning if one is missing, once.
func (s *session) changeActions(offered gomilter.OptAction) (actions gomilter.OptAction) {
	quarantines := s.pipeline.UsesAction(checks.Quarantine)
	if s.edits = offered&headerActions == headerActions; s.edits {
		actions = headerActions
	} else if quarantines || s.pipeline.UsesAction(checks.Tag) || s.pipeline.TraceFields().Any() {
		s.srv.noChanges.Do(func() {
			s.srv.Log.Warn("the MTA does not let filters change the header: no message is tagged or gets trace fields")
		})
	}
	switch {
	case !quarantines:
	case offered&gomilter.OptQuarantine != 0:
		actions |= gomilter.OptQuarantine
	default:
		s.run.DisableQuarantine()
		s.srv.noQuarantine.Do(func() {
			s.srv.Log.Warn("the MTA does not let filters quarantine messages: they are tagged instead")
		})
	}
	return actions
}

// forgeries are the fields of one name in a message as received, and those of them that claim to be from this host.
type forgeries struct {
	seen  uint32   // number of fields of the name, forged or not
	found []uint32 // indexes of the forged ones among them, from 1 on; at most maxForged + 1
}

func (f *forgeries) add(forged bool) {
	f.seen++
	if forged && len(f.found) <= maxForged {
		f.found = append(f.found, f.seen)
	}
}

// findForged notes whether a field claims to be from this host. A trusted client may be another host of this site with its
// own marks.
func (s *session) findForged(name, value string) {
	name = strings.TrimRight(name, " \t") // the MTAs count such a field too
	switch want := s.pipeline.TraceFields(); {
	case !s.edits:
	case want.AuthenticationResults && strings.EqualFold(name, resultsField):
		// A comparison with U-labels takes up to 0.3 ms. No honest message has that many fields.
		unknown := s.forgedResults.seen >= maxForged && mayHaveULabels(value)
		s.forgedResults.add(unknown || ownResults(value, want.AuthServID))
	case strings.EqualFold(name, checks.MarkField):
		s.forgedMarks.add(!s.run.Request().Trusted())
	}
}

// deferForFields returns a reply if the message has too many forged fields, or one of shownFields was dropped.
func (s *session) deferForFields() *checks.Reply {
	what := ""
	switch {
	case len(s.forgedResults.found) > maxForged:
		what = "too many " + resultsField + " fields that claim to be from this host"
	case len(s.forgedMarks.found) > maxForged:
		what = "too many " + checks.MarkField + " fields that claim to be from this host"
	case s.lost != "" && !s.run.Request().Trusted():
		what = "header section too large: a " + s.lost + " field at its end cannot be checked"
	default:
		return nil
	}
	s.srv.Log.WithFields(s.LogFields()).Warnf("%s: message deferred", what)
	return &checks.Reply{Code: 451, Enhanced: "4.6.0", Text: what}
}

// changes returns the packets that change the accepted message: they remove forged fields, insert our own ones, put the
// prefix before the subject, and quarantine the message.
func (s *session) changes(ctx context.Context) (to []byte) {
	marks := s.run.Request().Marks()
	if s.edits {
		to = s.removeForged(to, resultsField, s.forgedResults)
		to = s.removeForged(to, checks.MarkField, s.forgedMarks)
		to = s.traceFields(ctx, to)
		for _, o := range slices.Backward(marks[:min(len(marks), maxMarks)]) { // each is inserted above those before it
			to = s.appendChange(to, insertField, 0, checks.MarkField, o.Mark())
		}
		if len(marks) > 0 {
			to = s.changeSubject(to, s.pipeline.SubjectPrefix())
		}
	}
	if len(marks) > 0 && marks[0].Action == checks.Quarantine {
		to = appendPacket(to, quarantine, marks[0].Mark()+"\x00")
	}
	return to
}

// removeForged appends the packets that remove the forged fields of a name.
func (s *session) removeForged(to []byte, name string, f forgeries) []byte {
	for _, i := range slices.Backward(f.found) { // a removal changes the indexes after it
		to = s.appendChange(to, changeField, i, name, "")
	}
	return to
}

// changeSubject appends the packets that put a prefix before the subject, or add a Subject field.
func (s *session) changeSubject(to []byte, prefix string) []byte {
	if strings.TrimSpace(prefix) == "" {
		return to
	}
	seen := uint32(0)
	for _, f := range s.Envelope.Header {
		if seen < maxForged && strings.EqualFold(strings.TrimRight(f.Name, " \t"), subjectField) {
			seen++
			if value := markedSubject(prefix, f.Value); value != "" {
				to = s.appendChange(to, changeField, seen, subjectField, value)
			}
		}
	}
	if seen == 0 {
		to = s.appendChange(to, insertField, 0, subjectField, markedSubject(prefix, ""))
	}
	return to
}

// appendChange appends a packet that inserts, changes or deletes a header field.
func (s *session) appendChange(to []byte, code byte, index uint32, name, value string) []byte {
	if value != "" && s.protocol&gomilter.OptHeaderLeadingSpace != 0 {
		value = " " + value
	}
	return appendPacket(to, code, string(binary.BigEndian.AppendUint32(nil, index))+name+"\x00"+value+"\x00")
}

// appendPacket appends a packet of the milter protocol.
func appendPacket(to []byte, code byte, data string) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(1+len(data)))
	return append(append(to, code), data...)
}
