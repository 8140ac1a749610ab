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
	raw, err := lookup(db, formatKey)
	if raw == nil || err != nil {
		return err
	}
	value, _, _ := decode(raw)
	if found, err := strconv.Atoi(string(value)); err == nil && found > format { // an unreadable number is overwritten
		return fmt.Errorf("format %d, and this version knows formats up to %d: %w", found, format, errNewerFormat)
	}
	return nil
}

// newerDatabase adds errNewerFormat to an error of the library about a format of its own that it does not know.
func newerDatabase(err error) error {
	if strings.Contains(err.Error(), "unknown format major version") { // the library has no variable for it
		return fmt.Errorf("%w: %w", err, errNewerFormat)
	}
	return err
}

// saveFormat adds the format to a batch.
func saveFormat(batch *pebble.Batch, deadline int64) error {
	return batch.Set([]byte(formatKey), encode(nil, strconv.AppendInt(nil, format, 10), deadline), nil)
}

// isReserved reports whether a record is the store's own: its clock or its format.
func isReserved(key string) bool { return key == clockKey || key == formatKey }
