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
)

// keyOctets is the length of a key that is made, and the least of one that is read.
const keyOctets = 32

// NewKey makes a key.
func NewKey() []byte {
	key := make([]byte, keyOctets)
	_, _ = rand.Read(key) // never fails
	return key
}

// LoadKey reads the key in a file, hexadecimal digits, or makes both if there is no file. made tells so. A key that others
// than its owner and group can read is no secret: it is refused.
func LoadKey(path string) (key []byte, made bool, err error) {
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if made, err = writeKey(path, NewKey()); err != nil {
		return nil, false, err
	}
	key, err = readKey(path) // that of another process, if it was faster
	return key, made, err
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: everybody may use it; chmod 0600, and better make a new one", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) < keyOctets {
		return nil, fmt.Errorf("%s: want %d hexadecimal digits or more; remove the file to have a new one made", path, 2*keyOctets)
	}
	return key, nil
}

// writeKey makes the file in one step, so that nobody reads half a key. It tells whether it did: an existing file stays.
func writeKey(path string, key []byte) (made bool, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".explain-key-") // with 0600
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
