package checks

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RateLimit is how often something may happen: N times in each Per, which is a second, a minute, an hour or a day. In the
// configuration it is "10/s", "10/m", "10/h" or "10/d". The zero value is no valid limit.
type RateLimit struct {
	N   int64
	Per time.Duration
}

// ratePeriods are the values of RateLimit.Per, by their letters.
var ratePeriods = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// maxRate is the highest RateLimit.N, which fits the counters of the store many times.
const maxRate = 1_000_000_000

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *RateLimit) UnmarshalText(text []byte) error {
	number, unit, _ := strings.Cut(string(text), "/")
	n, err := strconv.ParseInt(number, 10, 64)
	per, ok := ratePeriods[unit]
	if err != nil || !ok || n < 1 || n > maxRate {
		return fmt.Errorf("%.60q is not a rate; write a number per s, m, h or d, such as 10/m", text)
	}
	*l = RateLimit{N: n, Per: per}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l RateLimit) MarshalText() ([]byte, error) {
	for unit, per := range ratePeriods {
		if per == l.Per {
			return fmt.Appendf(nil, "%d/%s", l.N, unit), nil
		}
	}
	return nil, fmt.Errorf("checks: no letter for a rate limit per %s", l.Per)
}
