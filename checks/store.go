package checks

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Store keeps small records that expire. All hosts that share it see the same records. It is safe for concurrent use.
//
// Keys and values are any bytes, up to MaxKey and MaxValue. By convention a key begins with the name of its check and a colon, and
// HashKey replaces long remote values in it. A record expires at the end of its time to live, with a resolution of one second.
//
// Each method returns within a limit that the driver sets: a stalled store is an error. After an error of a writing method
// the record may have been written or not.
type Store interface {
	// Get returns the value of a record. ok is false if there is none.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Put writes a record. It replaces an existing one and its time to live.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// PutNew writes a record unless there is one, and reports whether it did. Of several concurrent calls on any hosts, one
	// does.
	PutNew(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error)
	// Add adds n to a counter atomically and returns the sum. A counter begins at 0 and expires ttl after its first Add.
	// Get and Scan return its value as a decimal number.
	Add(ctx context.Context, key string, n int64, ttl time.Duration) (total int64, err error)
	// Delete deletes a record if there is one.
	Delete(ctx context.Context, key string) error
	// Scan iterates over the records whose keys begin with prefix, in no particular order. It may miss or include records
	// written meanwhile. An error is the last element, with the zero Record.
	Scan(ctx context.Context, prefix string) iter.Seq2[Record, error]
}

// ErrStoreDown is wrapped in the errors of a Store during an outage. The store logs when that begins and when it ends.
var ErrStoreDown = errors.New("the store is down")

// WarnOfStore logs an error of a Store as a warning, but not in an outage, when each message would have such a line.
func WarnOfStore(log *logrus.Entry, err error, message string) {
	if !errors.Is(err, ErrStoreDown) {
		log.WithError(err).Warn(message)
	}
}

// Limits of a record of a Store, in bytes. A longer key or value is an error.
const (
	MaxKey   = 4 << 10
	MaxValue = 64 << 10
)

// Record is one record of a Store.
type Record struct {
	Key     string
	Value   []byte
	Expires time.Time
}

// PutJSON writes a record with the JSON of a value, as Store.Put does.
func PutJSON(ctx context.Context, store Store, key string, value any, ttl time.Duration) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return store.Put(ctx, key, text, ttl)
}

// HashKey returns a hash of texts for a key of the Store: 22 characters, from which the texts cannot be read. It has 128 bits, so
// no sender can choose texts with the hash of others.
func HashKey(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
