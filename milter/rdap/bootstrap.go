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
	// fileKey begins the record of a bootstrap file: when it was fetched, in seconds since 1970 as 8 octets, and the file,
	// compressed, as it is larger than records should be.
	fileKey = "rdap:file:"
	// fileFresh is how old it may become before a new one is fetched (RFC 9224 section 8).
	fileFresh = bootstrap.DefaultCacheTimeout
	// fileKept is how long an old one serves if there is no new one.
	fileKept = 90 * 24 * time.Hour
	// storeTimeout is for the library, whose cache knows no context.
	storeTimeout = 5 * time.Second
)

// fileCache keeps bootstrap files in the store. It implements cache.RegistryCache and is not for concurrent use, as
// bootstrap.Client is not.
type fileCache struct {
	store  checks.Store
	now    func() time.Time
	loaded map[string]time.Time // when those were fetched that the library has
}

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
		return nil, fetched, errors.New("broken record")
	}
	return value[8:], time.Unix(int64(binary.BigEndian.Uint64(value)), 0), nil
}

func (f *fileCache) has(filename string, fetched time.Time) {
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
		f.has(filename, fetched)
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
	if err := f.store.Put(ctx, fileKey+filename, b.Bytes(), fileKept); err != nil {
		return fmt.Errorf("keeping %s: %w", filename, err)
	}
	f.has(filename, now)
	return nil
}

// State implements cache.RegistryCache.
func (f *fileCache) State(filename string) cache.FileState {
	_, fetched, err := f.get(filename)
	age := f.now().Sub(fetched)
	switch {
	case err != nil:
		return cache.Absent
	case age >= fileFresh:
		return cache.Expired
	case !f.loaded[filename].Equal(fetched):
		return cache.ShouldReload // another daemon fetched it, or this one before its last start
	default:
		return cache.Good
	}
}

// SetTimeout implements cache.RegistryCache. The timeout is fileFresh.
func (f *fileCache) SetTimeout(time.Duration) {}
