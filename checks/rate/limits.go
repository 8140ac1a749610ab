package rate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"milterd/checks"
)

// Limits are how many recipients are allowed in which times: "200/h 1000/d" are 200 in an hour and 1000 in a day. The zero value
// is no limit.
type Limits string

// limit is a number of recipients in a time.
type limit checks.RateLimit

// parse returns the limits, or what is wrong with the text.
func (l Limits) parse() ([]limit, error) {
	var list []limit
	for word := range strings.FieldsSeq(string(l)) {
		var parsed checks.RateLimit
		switch err := parsed.UnmarshalText([]byte(word)); {
		case err != nil:
			return nil, fmt.Errorf("%.60q is not a limit; write a number per s, m, h or d, such as 200/h, or several: 200/h 1000/d", word)
		case slices.ContainsFunc(list, func(other limit) bool { return other.Per == parsed.Per }):
			return nil, fmt.Errorf("%.60q has two limits per %s; delete one of them", string(l), word[len(word)-1:])
		}
		list = append(list, limit(parsed))
	}
	return list, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Limits) UnmarshalText(text []byte) error {
	if _, err := Limits(text).parse(); err != nil {
		return err
	}
	*l = Limits(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l Limits) MarshalText() ([]byte, error) { return []byte(l), nil }

// String returns the limit for people: "200 recipients in an hour".
func (l limit) String() string {
	if l.N == 1 {
		return "1 recipient in " + l.period()
	}
	return fmt.Sprintf("%d recipients in %s", l.N, l.period())
}

// period returns the length of the window for people: "an hour".
func (l limit) period() string {
	return map[time.Duration]string{time.Second: "a second", time.Minute: "a minute", time.Hour: "an hour", 24 * time.Hour: "a day"}[l.Per]
}
