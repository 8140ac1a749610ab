package store

import (
	"context"
	"hash/maphash"
)

// keyLocks are locks for keys. Keys with the same hash share one. A lock is a channel of size 1, so that waiting for it
// ends with the context.
type keyLocks struct {
	seed  maphash.Seed
	locks [256]chan struct{}
}

func newKeyLocks() keyLocks {
	k := keyLocks{seed: maphash.MakeSeed()}
	for i := range k.locks {
		k.locks[i] = make(chan struct{}, 1)
	}
	return k
}

// with runs f while no other goroutine changes the key.
func (k *keyLocks) with(ctx context.Context, key string, f func() error) error {
	lock := k.locks[maphash.String(k.seed, key)%uint64(len(k.locks))]
	select {
	case lock <- struct{}{}:
	default: // only a wait needs a timer, see checks.WithTimeout
		select {
		case lock <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-lock }()
	return f()
}
