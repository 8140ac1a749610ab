// Package log writes decisions to the log: one line for each recipient that was refused or deferred, one for each
// accepted message, and one for each check that failed. Mail of trusted clients has none. Journal makes the lines,
// Output writes them to syslog or standard error in the background. Start reading at Journal.
package log

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"milterd/checks"
)

// Journal logs decisions and accepted messages. It implements milter.Journal. It is safe for concurrent use, and does
// not block if Log is the logger of an Output.
type Journal struct {
	Log *logrus.Logger
}

// Decided logs each recipient that is refused or deferred at level info, with the action as message, and each failure of
// checks as a warning. Checks that failed for the same reason, such as one silent name server, are in one line.
func (j Journal) Decided(r *checks.Request, d checks.Decision) {
	if d.Reply != nil && j.Log.IsLevelEnabled(logrus.InfoLevel) {
		j.refused(r.Session, d.Outcomes[len(d.Outcomes)-1])
	}
	for i, f := range d.Failures {
		same := func(other checks.Failure) bool { return other.Err.Error() == f.Err.Error() }
		if slices.ContainsFunc(d.Failures[:i], same) {
			continue // in the line of the first one
		}
		var names []string
		for _, other := range d.Failures[i:] {
			if same(other) && !slices.Contains(names, other.Check) {
				names = append(names, other.Check)
			}
		}
		f.Check = strings.Join(names, ",")
		j.failed(r, f)
	}
}

// maxLines is the number of lines about the refusal of one message. Few messages have as many recipients.
const maxLines = 100

// refused logs the outcome that refused the last recipient, or from the end of the header on, all accepted ones.
func (j Journal) refused(s *checks.Session, o checks.Outcome) {
	action := o.Action
	if o.Reason.Greylisting {
		action = checks.Greylist
	}
	rcpts := []string{checks.LogValue(s.Rcpt().Text)}
	if o.Stage >= checks.EndOfHeader {
		rcpts, _ = accepted(s, maxLines)
	}
	for _, rcpt := range rcpts {
		f := outcomeFields(s, o)
		f["rcpt"], f["action"] = rcpt, action.String()
		j.Log.WithFields(f).Info(action.String())
	}
}

// accepted returns the first accepted recipients, and the number of all.
func accepted(s *checks.Session, most int) (rcpts []string, all int) {
	for _, r := range s.Envelope.Rcpts {
		if r.Refused != "" {
			continue
		}
		if all++; all <= most {
			rcpts = append(rcpts, checks.LogValue(r.Text))
		}
	}
	return rcpts, all
}

func outcomeFields(s *checks.Session, o checks.Outcome) logrus.Fields {
	f := s.LogFields()
	for name, value := range o.Detail {
		f[name] = checks.LogValue(value)
	}
	f["stage"] = o.Stage.String()
	f["check"] = o.Check
	f["reason"] = o.Reason.ID
	f["code"] = o.Reply.Code
	f["text"] = o.Reply.Enhanced + " " + o.Reply.Text
	return f
}

func (j Journal) failed(r *checks.Request, f checks.Failure) {
	if errors.Is(f.Err, context.Canceled) {
		return // the MTA closed the connection, or the daemon stops
	}
	e := j.Log.WithFields(r.LogFields()).WithFields(logrus.Fields{
		"check": f.Check, "stage": f.Stage.String(), logrus.ErrorKey: checks.LogValue(f.Err.Error()),
	})
	if p, ok := errors.AsType[*checks.PanicError](f.Err); ok {
		e.WithField("stack", string(p.Stack)).Error("check panicked")
		return
	}
	e.Warn("could not find out")
}

// maxRcpts is the number of recipients of an accepted message that the log names.
const maxRcpts = 10

// Accepted logs an accepted message, with the reasons that applied to it. A message that was not checked is not logged.
func (j Journal) Accepted(r *checks.Request) {
	if r.Trusted() || !j.Log.IsLevelEnabled(logrus.InfoLevel) {
		return
	}
	rcpts, count := accepted(r.Session, maxRcpts)
	f := r.LogFields()
	f["rcpt"], f["rcpts"] = strings.Join(rcpts, ","), count
	addReasons(f, "watched", r.Watched())
	addReasons(f, "tagged", marked(r, checks.Tag))
	addReasons(f, "quarantined", marked(r, checks.Quarantine))
	addReasons(f, "waived", r.Waived())
	j.Log.WithFields(f).Info("accept")
}

// marked returns the reasons for which the message was marked by an action.
func marked(r *checks.Request, by checks.Action) []*checks.Reason {
	var reasons []*checks.Reason
	for _, o := range r.Marks() {
		if o.Action == by {
			reasons = append(reasons, o.Reason)
		}
	}
	return reasons
}

// addReasons adds the ids of reasons, joined by commas. It adds no field if there are none.
func addReasons(f logrus.Fields, name string, reasons []*checks.Reason) {
	if len(reasons) == 0 {
		return
	}
	ids := make([]string, len(reasons))
	for i, r := range reasons {
		ids[i] = r.ID
	}
	f[name] = strings.Join(ids, ",")
}
