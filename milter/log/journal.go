// Package log writes decisions to the log: one line for each reason that applied, one for each accepted message, and
// one for each check that failed. Journal makes the lines, Output writes them to syslog or standard error in the
// background. Start reading at Journal.
package log

import (
	"context"
	"errors"
	"strings"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Journal logs decisions and accepted messages. It implements milter.Journal. It is safe for concurrent use, and does
// not block if Log is the logger of an Output.
type Journal struct {
	Log *logrus.Logger
}

// Decided logs each outcome at level info with the action as message, and each failed check as a warning.
func (j Journal) Decided(s *checks.Request, d checks.Decision) {
	if j.Log.IsLevelEnabled(logrus.InfoLevel) {
		for _, o := range d.Outcomes {
			j.Log.WithFields(outcomeFields(s.Session, o)).Info(o.Action.String())
		}
	}
	for _, f := range d.Failures {
		j.failed(s, f)
	}
}

func outcomeFields(s *checks.Session, o checks.Outcome) logrus.Fields {
	f := s.LogFields()
	for name, value := range o.Detail {
		f[name] = checks.LogValue(value)
	}
	f["stage"] = o.Stage.String()
	f["check"] = o.Check
	f["reason"] = o.Reason.ID
	f["action"] = o.Action.String()
	f["code"] = o.Reply.Code
	f["text"] = o.Reply.Enhanced + " " + o.Reply.Text
	return f
}

func (j Journal) failed(s *checks.Request, f checks.Failure) {
	if errors.Is(f.Err, context.Canceled) {
		return // the MTA closed the connection, or the daemon stops
	}
	e := j.Log.WithFields(s.LogFields()).WithFields(logrus.Fields{"check": f.Check, "stage": f.Stage.String()}).WithError(f.Err)
	if p, ok := errors.AsType[*checks.PanicError](f.Err); ok {
		e.WithField("stack", string(p.Stack)).Error("check panicked")
		return
	}
	e.Warn("could not find out")
}

// maxRcpts is the number of recipients of an accepted message that the log names.
const maxRcpts = 10

// Accepted logs an accepted message. The field trusted marks a message that was not checked.
func (j Journal) Accepted(s *checks.Request) {
	if !j.Log.IsLevelEnabled(logrus.InfoLevel) {
		return
	}
	count := 0
	var names []string
	for _, r := range s.Envelope.Rcpts {
		if r.Refused != "" {
			continue
		}
		if count++; count <= maxRcpts {
			names = append(names, checks.LogValue(r.Text))
		}
	}
	f := s.LogFields()
	f["rcpt"], f["rcpts"] = strings.Join(names, ","), count
	if s.Trusted() {
		f["trusted"] = true
	}
	j.Log.WithFields(f).Info("accept")
}
