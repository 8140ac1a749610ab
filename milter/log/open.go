package log

import (
	"io"
	"log/syslog"

	"github.com/sirupsen/logrus"
	lsyslog "github.com/sirupsen/logrus/hooks/syslog"
)

// ToWriter starts a queue in front of a writer, as standard error. Lines of text begin with the time if stamp is set.
func ToWriter(w io.Writer, json, stamp bool) *Queue {
	return NewQueue(Formatter(json, stamp), func(e *logrus.Entry) error { return writeLine(w, e) }, nil)
}

// ToSyslog starts a queue in front of the local syslog. What syslog refuses later goes to fallback. The error says that
// there is no syslog at hand.
func ToSyslog(facility syslog.Priority, json bool, fallback io.Writer) (*Queue, error) {
	hook, err := lsyslog.NewSyslogHook("", "", facility|syslog.LOG_INFO, "milterd")
	if err != nil {
		return nil, err
	}
	return NewQueue(Formatter(json, false), hook.Fire, fallback), nil
}
