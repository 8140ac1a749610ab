package store

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// maxTTL is the longest time to live: longer ones could overflow a deadline in milliseconds.
const maxTTL = 100 * 365 * 24 * time.Hour

// millis converts a time to live to milliseconds, rounded up.
func millis(ttl time.Duration) int64 {
	if ttl <= 0 {
		return 0
	}
	return int64((min(ttl, maxTTL) + time.Millisecond - 1) / time.Millisecond)
}

// sum adds n to the decimal number of a counter.
func sum(old []byte, n int64) (int64, error) {
	v, err := strconv.ParseInt(string(old), 10, 64)
	// Like Redis, do not accept "+5" and "05".
	if err != nil || strconv.FormatInt(v, 10) != string(old) {
		return 0, errNotCounter
	}
	if n > 0 && v > math.MaxInt64-n || n < 0 && v < math.MinInt64-n {
		return 0, errNotCounter
	}
	return v + n, nil
}

// deadlineBytes is the size of the deadline in front of each value in the embedded database, big endian.
const deadlineBytes = 8

// overhead is the estimated memory of a record beside its key and value, in bytes.
const overhead = 128

// encode appends a record in the format of the embedded database to dst.
func encode(dst []byte, value []byte, deadline int64) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(deadline)), value...)
}

// decode returns the parts of an encoded record; value is a part of raw. ok is false if raw is no such record.
func decode(raw []byte) (value []byte, deadline int64, ok bool) {
	if len(raw) < deadlineBytes {
		return nil, 0, false
	}
	return raw[deadlineBytes:], int64(binary.BigEndian.Uint64(raw)), true
}
