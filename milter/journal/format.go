package journal

import (
	"cmp"
	"slices"

	"github.com/sirupsen/logrus"
)

// Formatter makes lines of text or JSON: every line on one line, remote bytes quoted, so that none can be forged. With
// stamp set, lines of text begin with the time, which syslog puts there itself.
func Formatter(json, stamp bool) logrus.Formatter {
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

func sortFields(keys []string) {
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(order[a], order[b]), cmp.Compare(a, b))
	})
}
