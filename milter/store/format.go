package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// format is the number of the format of the embedded store: of keys and values, whichever package writes them. It becomes
// larger when a version writes what older versions would misread; that version converts older stores when it opens them.
const format = 1

// formatKey is the record with the format, as a decimal number. Scan skips it. A store without it has format 1.
const formatKey = "store:format"

// errNewerFormat is returned by Open for a folder whose store a later version of milterd wrote. The folder is not changed.
var errNewerFormat = errors.New("a later version of milterd wrote this store; install that version again, or use another folder")

// checkFormat returns errNewerFormat if the database has a format that this version does not know.
func checkFormat(db *pebble.DB) error {
	found, err := number(db, formatKey)
	if found > format {
		return fmt.Errorf("format %d, and this version knows formats up to %d: %w", found, format, errNewerFormat)
	}
	return err
}

// newerDatabase adds errNewerFormat to an error of the library about a format of its own that it does not know.
func newerDatabase(err error) error {
	if strings.Contains(err.Error(), "unknown format major version") { // the library has no variable for it
		return fmt.Errorf("%w: %w", err, errNewerFormat)
	}
	return err
}

// isReserved reports whether a record is the store's own: its clock or its format.
func isReserved(key string) bool { return key == clockKey || key == formatKey }

// number returns the number in a record of the store's own. It is 0 if there is none, or if it cannot be read: the next write
// replaces it.
func number(db *pebble.DB, key string) (int64, error) {
	raw, err := rawValue(db, key)
	value, _, _ := decode(raw)
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return n, nil
	}
	return 0, err
}

// setNumber adds a record of the store's own to a batch.
func setNumber(batch *pebble.Batch, key string, n, deadline int64) error {
	return batch.Set([]byte(key), encode(nil, strconv.AppendInt(nil, n, 10), deadline), nil)
}
