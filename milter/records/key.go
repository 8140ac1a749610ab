package records

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"milterd/checks"
)

// keyLength is the length of a new key, and the least length of a key that is read.
const keyLength = 32 // bytes

// NewKey returns a random key.
func NewKey() []byte {
	key := make([]byte, keyLength)
	_, _ = rand.Read(key) // never fails
	return key
}

// LoadKey reads a key from a file, in hexadecimal. If there is no file, it makes one with a new key, and made is true.
// It fails if the file has permissions for users other than its owner and group.
func LoadKey(path string) (key []byte, made bool, err error) {
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, checks.WithoutCall(err)
	}
	if made, err = writeKey(path, NewKey()); err != nil {
		return nil, false, checks.WithoutCall(err)
	}
	key, err = readKey(path) // another process may have made the file first
	return key, made, err
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: other users can access the key: remove the file to get a new one, or chmod it to 0600", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) < keyLength {
		return nil, fmt.Errorf("%s: want %d hexadecimal digits or more: remove the file to get a new key", path, 2*keyLength)
	}
	return key, nil
}

// writeKey makes the file atomically. It reports whether it did; an existing file stays as it is.
func writeKey(path string, key []byte) (made bool, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".explain-key-") // with mode 0600
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = fmt.Fprintf(f, "%x\n", key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}
