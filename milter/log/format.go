package log

import (
	"cmp"
	"slices"
	"strings"

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
	type ranked struct {
		rank int
		key  string
	}
	var room [32]ranked
	list := room[:0]
	for _, k := range keys {
		list = append(list, ranked{order[k], k})
	}
	slices.SortFunc(list, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.key, b.key)) })
	for i, r := range list {
		keys[i] = r.key
	}
}
