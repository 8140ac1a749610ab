// Package journal writes what milterd decides to the log: one line for every decision that is not plain acceptance, one
// for every accepted message, and one for every check that could not find out.
package log

import (
	"context"
	"errors"
	"strings"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Journal writes to a logger. It implements milter.Journal and is safe for concurrent use, if the logger does not block.
type Journal struct {
	Log   *logrus.Logger
	Queue *Queue // behind Log; nil: mail waits until a line is put together
}

// Decided logs every outcome at level info under the word of its action, and every failure as a warning.
func (j Journal) Decided(s *checks.Session, d checks.Decision) {
	for _, o := range d.Outcomes {
		who := s.LogWho()
		o.Detail = short(o.Detail) // the line may wait
		j.info(o.Action.String(), func(f logrus.Fields) {
			who.Fields(f)
			outcomeFields(f, o)
		})
	}
	for _, f := range d.Failures {
		if errors.Is(f.Err, context.Canceled) {
			continue // the MTA went away, or we are stopped: nobody waits for the verdict
		}
		e := j.Log.WithFields(s.LogFields()).WithFields(logrus.Fields{"check": f.Check, "stage": f.Stage.String()}).WithError(f.Err)
		if p, ok := errors.AsType[*checks.PanicError](f.Err); ok {
			e.WithField("stack", string(p.Stack)).Error("check panicked")
			continue
		}
		e.Warn("could not find out")
	}
}

// info logs a line. fill uses nothing that changes.
func (j Journal) info(message string, fill func(logrus.Fields)) {
	switch {
	case !j.Log.IsLevelEnabled(logrus.InfoLevel):
	case j.Queue != nil:
		j.Queue.info(message, fill)
	default:
		fields := logrus.Fields{}
		fill(fields)
		j.Log.WithFields(fields).Info(message)
	}
}

// short has values as the log has them, and keeps nothing of what they were cut from: a date of a few octets may be part of a
// field of a hundred thousand.
func short(detail map[string]string) map[string]string {
	m := make(map[string]string, len(detail))
	for k, v := range detail {
		m[k] = strings.Clone(checks.LogValue(v))
	}
	return m
}

func outcomeFields(f logrus.Fields, o checks.Outcome) {
	for k, v := range o.Detail {
		f[k] = v
	}
	f["stage"] = o.Stage.String()
	f["check"] = o.Check
	f["reason"] = o.Reason.ID
	f["action"] = o.Action.String()
	f["code"] = o.Reply.Code
	f["text"] = o.Reply.Enhanced + " " + o.Reply.Text
}

// maxLogged is how many recipients of an accepted message are named.
const maxLogged = 10

// Accepted logs an accepted message. One of a client that was not checked is marked so.
func (j Journal) Accepted(s *checks.Session) {
	who, trusted, n := s.LogWho(), s.Trusted, 0
	var names []string
	for _, r := range s.Envelope.Rcpts {
		if r.Refused != "" {
			continue
		}
		if n++; n <= maxLogged {
			names = append(names, checks.LogValue(r.Text))
		}
	}
	j.info("accept", func(f logrus.Fields) {
		who.Fields(f)
		f["rcpt"], f["rcpts"] = strings.Join(names, ","), n
		if trusted {
			f["trusted"] = true
		}
	})
}

// order is the order of the fields in a line of text: who, then what. Others follow by name.
var order = func() map[string]int {
	m := make(map[string]int)
	for i, f := range []string{
		logrus.FieldKeyTime, logrus.FieldKeyLevel, logrus.FieldKeyMsg,
		"session", "queue_id", "client", "client_name", "helo", "mail_from", "rcpt",
		"stage", "check", "reason", "action", "code", "text",
	} {
		m[f] = i - 100
	}
	return m
}()
