package checks

import (
	"context"
	"iter"
	"time"
)

// Store keeps small records that expire, for all hosts that share it. It is safe for concurrent use.
//
// Keys and values are any octets; by custom a key begins with the name of its check and a colon, and holds what came
// from outside as a hash where it may be long. A record is gone when its time to live is over, to the second.
//
// Every method returns quickly: within the limit that the driver sets, a stalled store is an error. An error means "could
// not find out": what was to be written may be written or not.
type Store interface {
	// Get returns the value of a record; ok is false if there is none.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Put writes a record. The one before it is gone, its time to live too.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// PutNew writes a record if there is none, and tells whether it did: of many that try at the same time, on any host,
	// one does.
	PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error)
	// Add adds n to a counter, in one step on all hosts, and returns what it is then. A counter begins at 0 and expires
	// its time to live after its first Add. Its value, to Get and Scan, is the decimal number.
	Add(ctx context.Context, key string, n int64, ttl time.Duration) (total int64, err error)
	// Delete removes a record if there is one.
	Delete(ctx context.Context, key string) error
	// Scan goes through the records whose keys begin with prefix, in no order. What is written meanwhile may be seen or
	// not. The error comes with the zero Record, and last.
	Scan(ctx context.Context, prefix string) iter.Seq2[Record, error]
}

// Record is what Scan finds.
type Record struct {
	Key     string
	Value   []byte
	Expires time.Time
}
