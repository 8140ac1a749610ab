package callout

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may be done: "10/m" is ten times in each minute. The zero value is invalid.
type Rate string

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	if _, ok := Rate(text).limit(); !ok {
		return fmt.Errorf("%q is not a rate; want a number per s, m, h or d, such as 10/m", text)
	}
	*r = Rate(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r), nil }

// limit is a Rate as numbers.
type limit struct {
	n   int
	per time.Duration
}

func (r Rate) limit() (limit, bool) {
	number, unit, _ := strings.Cut(string(r), "/")
	per, ok := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	n, err := strconv.Atoi(number)
	return limit{n: n, per: per}, ok && err == nil && n > 0
}
