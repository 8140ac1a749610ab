package store

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// forever is the longest time to live; beyond it, milliseconds of some clock might overflow.
const forever = 100 * 365 * 24 * time.Hour

// millis is a time to live in milliseconds, rounded up: what lives at all lives one.
func millis(ttl time.Duration) int64 {
	if ttl <= 0 {
		return 0
	}
	return int64((min(ttl, forever) + time.Millisecond - 1) / time.Millisecond)
}

// deadline is when a record written now expires, in milliseconds since 1970.
func deadline(now time.Time, ttl time.Duration) int64 { return now.UnixMilli() + millis(ttl) }

// sum adds to a counter's decimal number.
func sum(old []byte, n int64) (int64, error) {
	v, err := strconv.ParseInt(string(old), 10, 64)
	// Redis takes no other spelling of a number either: "+5" and "05" are none.
	if err != nil || strconv.FormatInt(v, 10) != string(old) {
		return 0, ErrNotCounter
	}
	if n > 0 && v > math.MaxInt64-n || n < 0 && v < math.MinInt64-n {
		return 0, ErrNotCounter
	}
	return v + n, nil
}

// header is what precedes a value in the embedded database: the deadline, 8 octets, big endian.
const header = 8

// encode appends a record as the embedded database keeps it.
func encode(to []byte, value []byte, expires int64) []byte {
	return append(binary.BigEndian.AppendUint64(to, uint64(expires)), value...)
}

// decode is the reverse of encode; the value is a part of raw. ok is false for what encode did not make.
func decode(raw []byte) (value []byte, expires int64, ok bool) {
	if len(raw) < header {
		return nil, 0, false
	}
	return raw[header:], int64(binary.BigEndian.Uint64(raw)), true
}
