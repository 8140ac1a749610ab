package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is an amount of memory in bytes. It is written as a number with the unit K, M or G (powers of 1024), or as
// bytes without a unit.
type byteSize int64

// fewestBytes is the smallest memory without a warning. It has room for the largest header sections of four messages; with half of it,
// two large messages at a time let others wait.
const fewestBytes = 16 << 20

// sizeUnits are the units of a byteSize, largest first.
var sizeUnits = [...]struct {
	letter string
	size   int64
}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler. The error quotes the text and says how to write it.
func (s *byteSize) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(strings.ToUpper(string(text)), u.letter)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		switch {
		case err != nil:
			return fmt.Errorf("%s is not a size; write it as 512M, 2G or 0", quote(string(text)))
		case n > uint64(math.MaxInt64/u.size):
			return fmt.Errorf("%s is too large", quote(string(text)))
		}
		*s = byteSize(int64(n) * u.size)
		return nil
	}
	return nil // not reached: the last unit is empty
}

// MarshalText implements encoding.TextMarshaler. It uses the largest unit without a fraction.
func (s byteSize) MarshalText() ([]byte, error) {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.size == 0 {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.size, u.letter), nil
		}
	}
	return []byte("0"), nil
}
