package rdap

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/openrdap/rdap/bootstrap"
	"github.com/openrdap/rdap/bootstrap/cache"

	"milterd/checks"
)

const (
	// fileKey, with the name of a bootstrap file, is the key of the time when it was fetched, in seconds since 1970 as
	// 8 bytes, followed by the file, compressed with gzip.
	fileKey = "rdap:file:"
	// fileMaxAge is the age after which a file is fetched again, RFC 9224 section 8.
	fileMaxAge = bootstrap.DefaultCacheTimeout
	// fileTTL is how long a file is used if it cannot be fetched again.
	fileTTL = 90 * 24 * time.Hour
	// storeTimeout bounds operations of the store for which there is no context.
	storeTimeout = 5 * time.Second
)

// fileCache keeps bootstrap files in the store. It implements cache.RegistryCache. Like bootstrap.Client, it is not
// safe for concurrent use.
type fileCache struct {
	store  checks.Store
	now    func() time.Time
	loaded map[string]time.Time // when the files that the library has in memory were fetched
}

// get returns a compressed file and when it was fetched.
func (f *fileCache) get(filename string) (file []byte, fetched time.Time, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	value, ok, err := f.store.Get(ctx, fileKey+filename)
	switch {
	case err != nil:
		return nil, fetched, err
	case !ok:
		return nil, fetched, errors.New("not in the store")
	case len(value) < 8:
		return nil, fetched, errors.New("damaged record")
	}
	return value[8:], time.Unix(int64(binary.BigEndian.Uint64(value)), 0), nil
}

func (f *fileCache) setLoaded(filename string, fetched time.Time) {
	if f.loaded == nil {
		f.loaded = map[string]time.Time{}
	}
	f.loaded[filename] = fetched
}

// Load implements cache.RegistryCache.
func (f *fileCache) Load(filename string) ([]byte, error) {
	file, fetched, err := f.get(filename)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxBody))
	if err == nil {
		f.setLoaded(filename, fetched)
	}
	return text, err
}

// Save implements cache.RegistryCache.
func (f *fileCache) Save(filename string, data []byte) error {
	now := f.now()
	var b bytes.Buffer
	b.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Unix())))
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := f.store.Put(ctx, fileKey+filename, b.Bytes(), fileTTL); err != nil {
		return fmt.Errorf("storing %s: %w", filename, err)
	}
	f.setLoaded(filename, now)
	return nil
}

// State implements cache.RegistryCache.
func (f *fileCache) State(filename string) cache.FileState {
	_, fetched, err := f.get(filename)
	age := f.now().Sub(fetched)
	switch {
	case err != nil:
		return cache.Absent
	case age >= fileMaxAge:
		return cache.Expired
	case !f.loaded[filename].Equal(fetched):
		return cache.ShouldReload // another daemon fetched it, or this one before a restart
	default:
		return cache.Good
	}
}

// SetTimeout implements cache.RegistryCache. The timeout is fileMaxAge.
func (f *fileCache) SetTimeout(time.Duration) {}
