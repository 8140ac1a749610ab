package rate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits are how many recipients are allowed in which times: "200/h 1000/d" are 200 in an hour and 1000 in a day. The zero value
// is no limit.
type Limits string

// limit is a number of recipients in a time.
type limit struct {
	n   int64
	per time.Duration
}

// units are the units of times in limits.
var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// maxLimit is the highest number in a limit.
const maxLimit = 1_000_000_000

// parse returns the limits, or what is wrong with the text.
func (l Limits) parse() ([]limit, error) {
	var list []limit
	for word := range strings.FieldsSeq(string(l)) {
		number, unit, _ := strings.Cut(word, "/")
		n, err := strconv.ParseInt(number, 10, 64)
		per, ok := units[unit]
		switch {
		case err != nil || !ok || n < 1 || n > maxLimit:
			return nil, fmt.Errorf("%.60q is not a limit; write a number per s, m, h or d, such as 200/h, or several: 200/h 1000/d", word)
		case slices.ContainsFunc(list, func(other limit) bool { return other.per == per }):
			return nil, fmt.Errorf("%.60q has two limits per %s; delete one of them", string(l), unit)
		}
		list = append(list, limit{n: n, per: per})
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
	if l.n == 1 {
		return "1 recipient in " + l.period()
	}
	return fmt.Sprintf("%d recipients in %s", l.n, l.period())
}

// period returns the length of the window for people: "an hour".
func (l limit) period() string {
	return map[time.Duration]string{time.Second: "a second", time.Minute: "a minute", time.Hour: "an hour", 24 * time.Hour: "a day"}[l.per]
}

// window returns the window of the limit that has a time: its number, and its end.
func (l limit) window(now time.Time) (number int64, end time.Time) {
	seconds := int64(l.per / time.Second)
	number = now.Unix() / seconds
	return number, time.Unix((number+1)*seconds, 0)
}
