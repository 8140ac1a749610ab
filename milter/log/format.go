package log

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
)

// formatter returns a formatter for lines of text or JSON. It quotes remote bytes, so that no value can forge a field
// or a line. With stamp set, lines of text begin with the time, which syslog adds itself.
func formatter(json, stamp bool) logrus.Formatter {
	if json {
		return &logrus.JSONFormatter{DisableTimestamp: !stamp}
	}
	return &logrus.TextFormatter{
		DisableColors:    true,
		DisableTimestamp: !stamp,
		FullTimestamp:    true,
		SortingFunc:      sortFields,
		QuoteEmptyFields: true,
	}
}

// fieldOrder has the first fields of a line of text, in order. The other fields follow by name.
var fieldOrder = []string{
	logrus.FieldKeyTime, logrus.FieldKeyLevel, logrus.FieldKeyMsg,
	"session", "queue_id", "client", "client_name", "helo", "mail_from", "rcpt",
	"stage", "check", "reason", "suspicion", "action", "code", "text", "rcpts", "watched", "tagged", "quarantined", "waived",
}

// fieldRank has a number below 0 for each field of fieldOrder. The other fields have the rank 0 and so come later.
var fieldRank = func() map[string]int {
	ranks := make(map[string]int)
	for i, name := range fieldOrder {
		ranks[name] = i - len(fieldOrder)
	}
	return ranks
}()

func sortFields(names []string) {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(fieldRank[a], fieldRank[b]), strings.Compare(a, b))
	})
}
