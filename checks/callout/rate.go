package callout

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"milterd/headers"
)

// names is a set of domain names. The zero value is empty.
type names struct{ exact, under map[string]bool }

// parseNames reads entries: "example.net" is that name, ".example.net" the domain with all below it.
func parseNames(entries []string) (names, error) {
	n := names{map[string]bool{}, map[string]bool{}}
	for _, e := range entries {
		name, under := strings.CutPrefix(strings.ToLower(e), ".")
		switch {
		case headers.CheckDomain(name) != nil:
			return names{}, fmt.Errorf("%q is no domain name and no .domain", e)
		case under:
			n.under[name] = true
		default:
			n.exact[name] = true
		}
	}
	return n, nil
}

func (n names) empty() bool { return len(n.exact)+len(n.under) == 0 }

// has takes a name in lower case.
func (n names) has(name string) bool {
	if n.exact[name] {
		return true
	}
	for more := true; more; _, name, more = strings.Cut(name, ".") {
		if n.under[name] {
			return true
		}
	}
	return false
}

// Rate is how often something may be done: "10/m" is ten times in each minute. The zero value is no rate.
type Rate string

// UnmarshalText reads "10/m".
func (r *Rate) UnmarshalText(text []byte) error {
	if _, ok := Rate(text).limit(); !ok {
		return fmt.Errorf("%q is no rate; want a number per s, m, h or d, such as 10/m", text)
	}
	*r = Rate(text)
	return nil
}

// MarshalText is the rate itself.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r), nil }

// limit is a rate in numbers.
type limit struct {
	n   int
	per time.Duration
}

func (r Rate) limit() (limit, bool) {
	number, unit, _ := strings.Cut(string(r), "/")
	per, ok := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	n, err := strconv.Atoi(number)
	return limit{n, per}, ok && err == nil && n > 0
}
